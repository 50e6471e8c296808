"""``python -m briquette.aws.container compact …``: parse, one run, exit code."""

from __future__ import annotations

import sys

from briquette import cancellation
from briquette.aws.container_command import parse
from briquette.aws.container_run import run

if __name__ == "__main__":
    cancellation.listen()
    sys.exit(run(lambda: parse(sys.argv[1:])))
