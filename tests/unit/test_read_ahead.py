"""A process that lists and reads ahead changes nothing but the time: its own failures cost only that.

Each test runs in a process of its own: reading ahead begins with a fork, before the first thread.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or len(os.sched_getaffinity(0)) < 2,
    reason="reading ahead needs Linux and two cores",
)

BEGIN = """
import os, signal, sys
from engine.stores import read_ahead
from engine.stores.local import LocalStore
from engine.model import RawObject
root = sys.argv[1]
plain = LocalStore.get_pinned

def refuse(self, item):
    raise AssertionError(f"{item.key} was read here")

def begun(*, bodies=True):
    read_ahead.begin()
    ahead = read_ahead.current()
    assert ahead is not None
    ahead.ask(root, "", bodies=bodies)
    store = LocalStore(root)
    store.read_ahead = ahead
    return ahead, store

def objects(found):
    return [RawObject(s.key, s.size_bytes, s.etag) for s in found]

def expected():
    return {str(n): open(os.path.join(root, str(n)), "rb").read() for n in os.listdir(root)}
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
        ahead, store = begun()
        found = list(store.list(""))
        assert found == list(LocalStore(root).list(""))
        assert [s.modified_seconds for s in found] == [s.modified_seconds for s in LocalStore(root).list("")]
        small = [o for o in objects(found) if 0 < o.size_bytes < read_ahead.SMALL_BYTES]
        LocalStore.get_pinned = refuse
        bodies = dict(zip((o.key for o in small), store.get_many(small)))
        LocalStore.get_pinned = plain
        rest = [o for o in objects(found) if o not in small]
        bodies.update(zip((o.key for o in rest), store.get_many(rest)))
        assert bodies == expected()
        print(len(small), store.requests["GET"], store.requests["LIST"])
        read_ahead.end()
        """,
        day,
    )
    assert said == "1500 1502 1"


def test_everything_is_handed_over_once_and_then_read_here(day: Path) -> None:
    run(
        """
        ahead, store = begun()
        first = list(store.list(""))
        list(store.get_many(objects(first)))
        with open(os.path.join(root, "0007.json"), "w") as file:
            file.write('{"n":"another"}')
        second = list(store.list(""))
        assert first != second == list(LocalStore(root).list(""))
        assert dict(zip((s.key for s in second), store.get_many(objects(second)))) == expected()
        read_ahead.end()
        """,
        day,
    )


def test_a_file_that_was_changed_after_it_was_listed_is_no_body(day: Path) -> None:
    said = run(
        """
        from engine.errors import SourceChanged
        def altered(self, item):
            if item.key == "0700.json":  # in the other process, between the listing and the read
                with open(os.path.join(root, item.key), "w") as file:
                    file.write('{"n":0}')
            return plain(self, item)
        LocalStore.get_pinned = altered
        ahead, store = begun()
        LocalStore.get_pinned = plain
        found = objects(store.list(""))
        bodies = store.get_many(found)
        try:
            list(bodies)
        except SourceChanged as error:
            print(error.message[-60:])
        read_ahead.end()
        """,
        day,
    )
    assert "in the plan, now 7 bytes" in said


def test_a_body_is_only_for_the_state_that_was_listed(day: Path) -> None:
    run(
        """
        ahead, store = begun()
        found = objects(store.list(""))
        other = RawObject(found[0].key, found[0].size_bytes, "another-etag")
        assert ahead.body(other) is None
        assert ahead.body(found[1]) == b'{"n":1}'
        read_ahead.end()
        """,
        day,
    )


@pytest.mark.parametrize("when", ["before the listing", "after the listing", "after the first body"])
def test_the_other_process_may_die_at_any_time(day: Path, when: str) -> None:
    run(
        f"""
        when = {when!r}
        ahead, store = begun()
        if when == "before the listing":
            os.kill(ahead._process, signal.SIGKILL)
        found = objects(store.list(""))
        bodies = store.get_many(found)
        if when == "after the listing":
            os.kill(ahead._process, signal.SIGKILL)
        first = next(bodies)
        if when == "after the first body":
            os.kill(ahead._process, signal.SIGKILL)
        assert dict(zip((o.key for o in found), [first, *bodies])) == expected()
        read_ahead.end()
        """,
        day,
    )


def test_no_bodies_are_read_where_none_were_asked_for_and_no_more_than_the_cap(day: Path) -> None:
    run(
        """
        ahead, store = begun(bodies=False)
        found = objects(store.list(""))
        assert ahead.body(found[0]) is None
        read_ahead.end()
        read_ahead.MOST_BYTES = 5_000
        ahead, store = begun()
        found = objects(store.list(""))
        assert ahead.body(found[0]) is not None
        assert ahead.body(found[1_400]) is None
        assert dict(zip((o.key for o in found), store.get_many(found))) == expected()
        read_ahead.end()
        """,
        day,
    )


def test_a_process_that_was_never_asked_is_gone_at_the_end_and_holds_no_output(day: Path) -> None:
    run(
        """
        read_ahead.begin()
        process = read_ahead.current()._process
        read_ahead.end()
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            sys.exit(0)
        sys.exit("it is still there")
        """,
        day,
    )


def test_it_goes_with_the_command_that_is_killed(day: Path) -> None:
    script = "read_ahead.begin(); print(read_ahead.current()._process, flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", BEGIN + script, str(day)], stdout=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        process = int(command.stdout.readline())
        command.send_signal(signal.SIGKILL)
        command.wait()
        assert command.stdout.read() == ""  # nobody holds the pipe open
    for _ in range(200):
        if (
            not Path(f"/proc/{process}").exists()
            or "Z" in Path(f"/proc/{process}/stat").read_text().split()[2]
        ):
            return
        time.sleep(0.05)
    pytest.fail("the other process lives on")


def test_a_command_with_a_thread_does_not_fork(day: Path) -> None:
    run(
        """
        import threading
        stop = threading.Event()
        threading.Thread(target=stop.wait).start()
        read_ahead.begin()
        assert read_ahead.current() is None
        read_ahead.end()
        stop.set()
        """,
        day,
    )
