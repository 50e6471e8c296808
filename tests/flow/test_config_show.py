"""``briquette config show``: every value, and where it came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from briquette.settings.environments import setting_keys
from briquette.shipped import shipped


def show(*words: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BRIQUETTE_")}
    command = [sys.executable, "-m", "briquette", "config", "show", *words]
    environment = {**clean, **variables}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=cwd)


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_every_key_of_an_environment_is_shown(name):
    document = json.loads(show("--env", name, "--json").stdout)
    assert document["environment"] == name
    assert set(document["settings"]) == set(setting_keys())


def test_the_later_layer_wins_and_says_so():
    told = show(
        "--env",
        "prod",
        "--origin",
        "--json",
        "--set",
        "compaction_codec=snappy",
        BRIQUETTE_COMPACTION_CODEC="gzip",
        BRIQUETTE_ENGINE="glue",
    )
    document = json.loads(told.stdout)
    values, origins = document["settings"], document["origins"]
    assert (values["compaction_codec"], origins["compaction_codec"]) == ("snappy", "override")
    assert (values["engine"], origins["engine"]) == ("glue", "BRIQUETTE_ENGINE")
    assert (values["fallback"], origins["fallback"]) == ("glue", "config/environments/prod.toml")
    assert origins["raw_manifest_basename"] == "default"


def test_the_text_has_a_line_for_each_key_with_its_meaning():
    lines = show("--env", "dev", "--origin").stdout.splitlines()
    (engine,) = [line for line in lines if line.split()[:1] == ["engine"]]
    assert engine.split()[1:3] == ["dask", "config/environments/dev.toml"]
    assert engine.endswith("what compacts: Dask in a container, or Glue")
    assert len(lines) == len(setting_keys()) + 2


def test_it_says_which_file_each_value_came_from(tmp_path):
    """One's own in the working directory, one's own where the variable says, the shipped one."""
    text = (shipped("environments") / "dev.toml").read_text(encoding="utf-8")
    for folder in ("config", "mine"):
        (tmp_path / folder / "environments").mkdir(parents=True)
        (tmp_path / folder / "environments/dev.toml").write_text(text)

    def origin(env: str, **variables: str) -> str:
        told = show("--env", env, "--origin", "--json", cwd=tmp_path, **variables)
        return json.loads(told.stdout)["origins"]["engine"]

    assert origin("dev") == "config/environments/dev.toml"
    assert origin("dev", BRIQUETTE_CONFIG="mine") == "mine/environments/dev.toml"
    assert origin("prod", BRIQUETTE_CONFIG="mine") == "shipped environments/prod.toml"
    missing = show("--env", "dev", cwd=tmp_path, BRIQUETTE_CONFIG="nowhere")
    assert missing.returncode == 2
    assert "BRIQUETTE_CONFIG is 'nowhere'" in missing.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--env dev"),
        (("--env", "qa"), "no environment 'qa'"),
        (("--env", "dev", "--set", "compaction_codek=zstd"), "Did you mean compaction_codec?"),
        (("--env", "dev", "--set", "compaction_codec"), "--set key=value"),
        (("--env", "dev", "--set", "dask_task_vcpus=many"), "must be a whole number"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error_with_a_hint(words, said):
    told = show(*words)
    assert told.returncode == 2
    assert said in told.stderr
