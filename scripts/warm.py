"""Compile the template scan into its cache, so that the first run on this machine does not wait for it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys


def main() -> None:
    """Run the scan's own warm-up; without numba there is nothing to do, and a failure costs only time."""
    if (
        importlib.util.find_spec("briquette.template_scan.scan") is None
        or importlib.util.find_spec("numba") is None
    ):
        return
    done = subprocess.run([sys.executable, "-m", "briquette.template_scan.scan", "--warm"], check=False)
    if done.returncode != 0:
        print("setup: the template scan was not compiled ahead; the first run will do it.", file=sys.stderr)


if __name__ == "__main__":
    main()
