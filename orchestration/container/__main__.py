"""``python -m orchestration.container compact …``: parse, one run, exit code."""

from __future__ import annotations

import sys

from engine.stores import stopping
from orchestration.container.command import parse
from orchestration.container.run import run

if __name__ == "__main__":
    stopping.listen()
    sys.exit(run(lambda: parse(sys.argv[1:])))
