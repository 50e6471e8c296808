"""The synthesised templates, written once for a test run; jsii runs in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ("dev", "staging", "prod")


@dataclass(frozen=True)
class Assembly:
    """A cloud assembly on disk."""

    folder: Path

    def template(self, environment: str, stack: str) -> dict[str, Any]:
        return json.loads(self.template_file(environment, stack).read_text())

    def template_file(self, environment: str, stack: str) -> Path:
        return self.folder / f"{environment}-briquette-{stack}.template.json"

    def resources(self, environment: str, *kinds: str) -> dict[str, dict[str, Any]]:
        """Of both stacks, by logical name; all kinds, or those asked for."""
        both = (
            self.template(environment, "storage")["Resources"]
            | self.template(environment, "compute")["Resources"]
        )
        return {name: found for name, found in both.items() if not kinds or found["Type"] in kinds}

    def assets(self, environment: str, stack: str) -> dict[str, Any]:
        return json.loads((self.folder / f"{environment}-briquette-{stack}.assets.json").read_text())


def synthesise(folder: Path, root: Path = ROOT, **context: str) -> Assembly:
    """What `make synth` does in a checkout, into ``folder``; a finding of cdk-nag is an error."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestration.app"],
        cwd=root,
        env={
            **os.environ,
            "PYTHONPATH": str(root / "engine"),
            "BRIQUETTE_CDK_SOURCES": str(folder / "sources"),
            "CDK_OUTDIR": str(folder / "cdk.out"),
            "CDK_CONTEXT_JSON": json.dumps(context),
        },
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return Assembly(folder / "cdk.out")


def readable(value: Any) -> Any:
    """A property as a person would write it: references by name, hashes of assets and of names gone."""
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            return f"<{logical(value['Ref'])}>"
        if set(value) == {"Fn::GetAtt"}:
            return f"<{logical(value['Fn::GetAtt'][0])}.{value['Fn::GetAtt'][1]}>"
        if set(value) == {"Fn::Join"}:
            return value["Fn::Join"][0].join(str(readable(part)) for part in value["Fn::Join"][1])
        if set(value) == {"Fn::Sub"}:
            return _plain(value["Fn::Sub"]) if isinstance(value["Fn::Sub"], str) else value
        return {key: readable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [readable(part) for part in value]
    return _plain(value) if isinstance(value, str) else value


def logical(name: str) -> str:
    """A logical name without the hash that the construct library puts behind it."""
    return re.sub(r"(?<=[a-z0-9])[0-9A-F]{8}$", "", name)


def _plain(text: str) -> str:
    return re.sub(r"\b[0-9a-f]{64}\b", "<hash>", text)
