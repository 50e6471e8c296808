"""How the work of a reader grows with its text: in proportion, or faster.

What is compared is processor time of this process, the best of some tries, for a text and one four times as
long. Work in proportion takes four times as long, in proportion to the square sixteen times; what is refused
is more than eight times, so that a busy machine decides nothing and a square need not be all of the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable

KIB = 1 << 10
MIB = 1 << 20
SHORT = (64 * KIB, 256 * KIB)  # where that takes far more than what is too short
QUICK = (256 * KIB, MIB)
MIDDLE = (512 * KIB, MIB, 2 * MIB)
FULL = (2 * MIB, 4 * MIB, 8 * MIB)
_MOST = 8.0  # times as much work for four times as much text
_TRIES = 5
_TOO_SHORT_SECONDS = 0.05  # for the longest text: nothing in it grows


def repeated(line: Callable[[int], bytes], size: int, head: bytes = b"") -> bytes:
    """``head`` and as many different lines behind it as make about ``size`` bytes."""
    lines, held, n = [head], len(head), 0
    while held < size:
        lines.append(line(n))
        held += len(lines[-1])
        n += 1
    return b"".join(lines)


def seconds(read: Callable[[bytes], object], text: bytes) -> float:
    """Processor time of one reading."""
    begin = time.process_time()
    read(text)
    return time.process_time() - begin


def assert_in_proportion(
    read: Callable[[bytes], object], make: Callable[[int], bytes], sizes: tuple[int, ...] = QUICK
) -> None:
    """Fail where reading the longest of the texts ``make(size)`` takes much more than its share.

    ``sizes`` ascend, the last is four times the first.
    """
    texts = [make(size) for size in sizes]
    read(texts[0])  # what is done once only
    best = [float("inf")] * len(texts)
    for _ in range(_TRIES):
        best = [min(known, seconds(read, text)) for known, text in zip(best, texts, strict=True)]
        if best[-1] < max(_MOST * best[0], _TOO_SHORT_SECONDS):
            return
    shown = ", ".join(f"{len(t) / MIB:.2f} MiB {s:.3f} s" for t, s in zip(texts, best, strict=True))
    raise AssertionError(f"the work grows faster than the text: {shown}")
