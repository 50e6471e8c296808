"""``briquette config show``: every value, and where it came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from briquette.settings.environments import setting_keys


def show(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("BRIQUETTE_")}
    command = [sys.executable, "-m", "briquette", "config", "show", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**clean, **variables})


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
