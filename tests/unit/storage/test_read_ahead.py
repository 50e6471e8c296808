"""A process that lists and reads ahead changes nothing but the time: its own failures cost only that.

Each test runs in a process of its own: reading ahead begins with a fork, and only where there is one thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="reading ahead needs Linux and two cores",
)

BEGIN = """
import os, signal, sys
from briquette.errors import SourceChanged
from briquette.storage import read_ahead
from briquette.storage.local.store import LocalStore
from briquette.model import RawObject
root = sys.argv[1]
plain = LocalStore.get_pinned

def refuse(self, item):
    raise AssertionError(f"{item.key} was read here")

def begun(*, bodies=True):
    store = LocalStore(root)
    reading = read_ahead.reading_ahead(store, "", bodies=bodies)
    reading.__enter__()
    assert store.read_ahead is not None
    return store, lambda: reading.__exit__(None, None, None)

def objects(found):
    return [RawObject(s.key, s.size_bytes, s.etag) for s in found]

def read(store, items):
    return dict(zip((o.key for o in items), store.get_many(items), strict=True))

def expected():
    return {n: open(os.path.join(root, n), "rb").read() for n in os.listdir(root)}
"""


def run(script: str, root: Path) -> str:
    """What a process of its own prints."""
    text = BEGIN + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", text, str(root)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def day(tmp_path: Path) -> Path:
    for n in range(1_500):
        (tmp_path / f"{n:04}.json").write_bytes(b'{"n":%d}' % n)
    (tmp_path / "large.json").write_bytes(b'{"n":1}\n' * 5_000)
    (tmp_path / "none.json").write_bytes(b"")
    return tmp_path


def test_listing_and_small_files_come_from_the_other_process_and_are_the_same(day: Path) -> None:
    said = run(
        """
        store, end = begun()
        found = list(store.list(""))
        assert found == list(LocalStore(root).list(""))
        assert [s.modified_seconds for s in found] == [s.modified_seconds for s in LocalStore(root).list("")]
        small = [o for o in objects(found) if o.size_bytes < read_ahead.SMALL_BYTES]
        LocalStore.get_pinned = refuse
        bodies = read(store, small)
        LocalStore.get_pinned = plain
        bodies.update(read(store, [o for o in objects(found) if o not in small]))
        assert bodies == expected()
        print(len(small), store.requests["GET"], store.requests["LIST"])
        end()
        """,
        day,
    )
    assert said == "1501 1502 1"


def test_threads_share_what_was_read(day: Path) -> None:
    run(
        """
        store, end = begun()
        found = objects(store.list(""))
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as threads:
            quarters = list(threads.map(lambda n: read(store, found[n::4]), range(4)))
        assert {k: v for quarter in quarters for k, v in quarter.items()} == expected()
        end()
        """,
        day,
    )


def test_everything_is_handed_over_once_and_then_read_here(day: Path) -> None:
    run(
        """
        store, end = begun()
        first = list(store.list(""))
        read(store, objects(first))
        with open(os.path.join(root, "0007.json"), "w") as file:
            file.write('{"n":"another"}')
        second = list(store.list(""))
        assert first != second == list(LocalStore(root).list(""))
        assert read(store, objects(second)) == expected()
        end()
        """,
        day,
    )


def test_a_file_that_was_changed_after_it_was_listed_is_no_body(day: Path) -> None:
    said = run(
        """
        def altered(self, item):
            if item.key == "0700.json":  # in the other process, between the listing and the read
                with open(os.path.join(root, item.key), "w") as file:
                    file.write('{"n":0}')
            return plain(self, item)

        LocalStore.get_pinned = altered
        store, end = begun()
        LocalStore.get_pinned = plain
        found = objects(store.list(""))
        try:
            read(store, found)
        except SourceChanged as error:
            print(error.message[-60:])
        end()
        """,
        day,
    )
    assert "now 7 bytes" in said


def test_a_body_is_only_for_the_state_that_was_listed(day: Path) -> None:
    run(
        """
        store, end = begun()
        found = objects(store.list(""))
        other = RawObject(found[0].key, found[0].size_bytes, "another-etag")
        assert store.read_ahead.bodies([other, found[1]]) == [None, b'{"n":1}']
        end()
        """,
        day,
    )


@pytest.mark.parametrize("when", ["before the listing", "after the listing", "after the first body"])
def test_the_other_process_may_die_at_any_time(day: Path, when: str) -> None:
    run(
        f"""
        when = {when!r}
        store, end = begun()
        process = store.read_ahead._process
        if when == "before the listing":
            os.kill(process, signal.SIGKILL)
        found = objects(store.list(""))
        if when == "after the listing":
            os.kill(process, signal.SIGKILL)
        first = read(store, found[:1])
        if when == "after the first body":
            os.kill(process, signal.SIGKILL)
        assert first | read(store, found[1:]) == expected()
        end()
        """,
        day,
    )


def test_no_bodies_are_read_where_none_were_asked_for_and_no_more_than_the_cap(day: Path) -> None:
    run(
        """
        store, end = begun(bodies=False)
        found = objects(store.list(""))
        assert store.read_ahead.bodies(found[:1]) == [None]
        end()
        read_ahead.MOST_BYTES = 5_000
        store, end = begun()
        found = objects(store.list(""))
        assert [b is None for b in store.read_ahead.bodies([found[0], found[1_400]])] == [False, True]
        assert read(store, found) == expected()
        end()
        """,
        day,
    )


def test_another_prefix_is_listed_here(day: Path) -> None:
    run(
        """
        store, end = begun()
        assert [s.key for s in store.list("000")] == [f"000{n}.json" for n in range(10)]
        end()
        """,
        day,
    )


def test_the_other_process_is_gone_behind_the_block_also_after_an_error(day: Path) -> None:
    run(
        """
        store = LocalStore(root)
        try:
            with read_ahead.reading_ahead(store, "", bodies=True):
                process = store.read_ahead._process
                descriptors = {store.read_ahead._answers, store.read_ahead._memory}
                raise KeyError
        except KeyError:
            pass
        assert store.read_ahead is None
        for descriptor in descriptors:
            try:
                os.fstat(descriptor)
            except OSError:
                continue
            sys.exit("a descriptor is open")
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            sys.exit(0)
        sys.exit("it is still there")
        """,
        day,
    )


def test_it_goes_with_the_command_that_is_killed_and_holds_no_pipe_of_it(day: Path) -> None:
    script = "store, end = begun(); print(store.read_ahead._process, flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + script, str(day)], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        process = int(command.stdout.readline())
        command.send_signal(signal.SIGKILL)
        command.wait()
        assert command.stdout.read() == ""
    for _ in range(200):
        if (
            not Path(f"/proc/{process}").exists()
            or "Z" in Path(f"/proc/{process}/stat").read_text().split()[2]
        ):
            return
        time.sleep(0.05)
    pytest.fail("the other process lives on")


def test_a_process_with_a_thread_does_not_fork(day: Path) -> None:
    run(
        """
        import threading
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        store = LocalStore(root)
        with read_ahead.reading_ahead(store, "", bodies=True):
            assert store.read_ahead is None
        stop.set()
        """,
        day,
    )


def test_the_command_reads_ahead_a_day_that_is_not_published_yet(day: Path, tmp_path_factory: Any) -> None:
    """Its own GETs are forbidden: all small bodies come from the other process."""
    out = tmp_path_factory.mktemp("out")
    (day / "large.json").unlink()
    script = f"""
        from briquette.cli.main import program
        from briquette.storage import local
        forked = os.fork
        def fork():
            process = forked()
            if process:
                local.LocalStore.get_pinned = refuse
            return process
        os.fork = fork
        out = {str(out)!r}
        schema = os.path.join(out, "n.toml")
        with open(schema, "w") as file:
            file.write('name = "a.b"\\n[columns]\\nn = "int64"\\n')
        words = ["--input", root, "--output", out + "/ds", "--schema", schema, "--json"]
        sys.argv = ["briquette", "compact", *words]
        program()
    """
    assert '"PUBLISHED"' in run(script, day)


def test_nothing_is_listed_where_nothing_is(tmp_path: Path) -> None:
    run(
        """
        store, end = begun()
        assert list(store.list("")) == []
        end()
        """,
        tmp_path,
    )
