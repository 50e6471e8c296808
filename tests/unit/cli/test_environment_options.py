"""What an environment's settings do to a command: the manifest's name, and the region of its buckets."""

from __future__ import annotations

import json
import os

import pytest

from briquette import compact
from briquette.cli.options import TargetFlags, settings_of
from briquette.compaction.options import RunOptions
from briquette.errors import BatchManifestMismatch
from briquette.model import Status
from briquette.settings.environments import load_environment


def test_the_ingestions_manifest_may_have_another_name(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a.json").write_text('{"a": 1}\n')
    (tmp_path / "raw/_done.ready.json").write_text(json.dumps({"objects": [{"key": "gone.json"}]}))
    places = {"input": tmp_path / "raw", "output": tmp_path / "out"}
    with pytest.raises(BatchManifestMismatch, match=r"gone\.json"):
        compact(**places, options=RunOptions(batch_manifest="_done.ready.json"))
    assert compact(**places, options=RunOptions()).status is Status.PUBLISHED


@pytest.mark.parametrize(
    ("env", "region"),
    [
        ({}, load_environment("dev", env={}).region),
        ({"BRIQUETTE_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-west-2"}, None),
    ],
)
def test_an_environments_buckets_are_reached_in_its_region_unless_the_process_says_another(
    monkeypatch, env, region
):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    settings_of("dev")
    assert os.environ.get("AWS_DEFAULT_REGION") == region


def test_without_an_environment_nothing_is_set(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert settings_of("") is None
    assert "AWS_DEFAULT_REGION" not in os.environ


def test_a_target_without_an_environment_has_the_pipelines_manifest(monkeypatch):
    monkeypatch.setenv("BRIQUETTE_RAW_MANIFEST_BASENAME", "_done")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert TargetFlags().batch_manifest() == "_batch.manifest.json"
    assert TargetFlags(env="dev").batch_manifest() == "_done.manifest.json"
