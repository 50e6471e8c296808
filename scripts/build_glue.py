"""Build what Glue runs into dist/glue: the wheel, the job scripts, and the parameters of the jobs.

``parameters.json`` has one entry for each Glue version. ``{artifacts_url}`` in it stands for where the folder
is copied to (``--artifacts-url`` fills it in); docs/glue.md says why each parameter is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # what is deployed is no installed package

from orchestration.glue_parameters import PLACE, parameters  # noqa: E402


def main() -> None:
    """Build, and say what was made."""
    wanted = argparse.ArgumentParser(description="Build the wheel and the Glue job scripts.")
    wanted.add_argument("--out", type=Path, default=ROOT / "dist/glue")
    wanted.add_argument(
        "--artifacts-url", default=PLACE, help="where the folder will lie, s3://bucket/prefix"
    )
    wanted.add_argument("--scan", action="store_true", help="install numba too, for the template scan")
    chosen = wanted.parse_args()
    shutil.rmtree(chosen.out, ignore_errors=True)
    chosen.out.mkdir(parents=True)
    wheel = build_wheel(chosen.out)
    scripts = [Path(shutil.copy(s, chosen.out)).name for s in sorted(ROOT.glob("glue_wrappers/*_job.py"))]
    document = parameters(wheel.name, scripts, chosen.artifacts_url, scan=chosen.scan)
    (chosen.out / "parameters.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{chosen.out}: {wheel.name}, {', '.join(scripts)}, parameters.json")


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    return next(folder.glob("*.whl"))


if __name__ == "__main__":
    main()
