"""``python -m orchestration.container compact …``: parse, one run, exit code."""

from __future__ import annotations

import sys

from orchestration.container.command import parse
from orchestration.container.run import run
from orchestration.container.stop import Stop

if __name__ == "__main__":
    stop = Stop()
    stop.listen()
    sys.exit(run(lambda: parse(sys.argv[1:]), stop))
