"""What a run asks its stores before it is planned, while the libraries are imported that it will need.

Where each request takes its time, the raw prefix is listed and the output place observed at once; where
nothing is published there, so that every object will be read, small ones are fetched already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from briquette.accelerators import Accelerator, allowed
from briquette.model import CompactionSpec
from briquette.planning.plan import COMPRESSION_FACTOR, is_input, why_refused
from briquette.planning.target import Target
from briquette.storage.interface import Stored
from briquette.storage.opening import open_store

if TYPE_CHECKING:
    from briquette.compaction.options import RunOptions
    from briquette.publishing.snapshot import Snapshot
    from briquette.storage.interface import Prefetch


@dataclass(frozen=True, slots=True)
class Prefetched:
    """The answers, each waited for when it is asked for; what went wrong is raised there."""

    listed: Callable[[], Iterator[Stored]]
    seen: Callable[[], Snapshot]


@contextmanager
def prefetch(target: Target, spec: CompactionSpec, options: RunOptions) -> Iterator[Prefetched | None]:
    """List and observe while the block runs; None where that takes no time worth having.

    A run that fails leaves nothing behind: the block's end waits for the requests that are on their way.
    """
    if not allowed(Accelerator.PREFETCH):
        yield None
        return
    raw = target.raw

    def wanted(stored: Stored) -> bool:  # a huge object is streamed
        if stored.size_bytes * COMPRESSION_FACTOR > spec.split_bytes:
            return False
        return is_input(stored.key, raw.prefix) and not why_refused(stored.key)

    with (
        ThreadPoolExecutor(1, thread_name_prefix="briquette-observe") as thread,  # the last to end
        open_store(raw.url).prefetch(raw.prefix, wanted) as bodies,
    ):
        if bodies is None:
            yield None
            return
        seen = thread.submit(_observe, target, options, bodies)
        yield Prefetched(bodies.listed, seen.result)


def _observe(target: Target, options: RunOptions, bodies: Prefetch) -> Snapshot:
    from briquette.publishing.snapshot import observe

    seen = observe(open_store(target.output.url), target.output, force=options.force)
    if (options.force or seen.manifest is None) and reads_here(options):
        bodies.fetch()
    return seen


def reads_here(options: RunOptions) -> bool:
    """Whether this process will read the objects; and no more than is planned where memory is limited."""
    elsewhere = options.workers or options.scheduler or options.ray_address or options.executor == "ray"
    return not elsewhere and options.memory_limit_bytes is None
