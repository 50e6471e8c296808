"""Environments: strict files, layers, origins."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from briquette.errors import ConfigError
from briquette.settings.environments import environment_names, load_environment, setting_keys

DEV = Path(__file__).parents[3] / "config" / "environments" / "dev.toml"


@pytest.fixture
def write(tmp_path):
    """A directory with one environment ``here``: dev's file with lines changed or left out."""

    def write(*extra, without=()):
        lines = [line for line in DEV.read_text().splitlines() if line.split(" ")[0] not in without]
        (tmp_path / "here.toml").write_text("\n".join([*lines, *extra]))
        return tmp_path

    return write


@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_every_environment_loads_and_says_every_key_it_needs_in_its_file(name):
    settings = load_environment(name, env={})
    assert settings.environment == name
    assert name in settings.raw_url
    assert {settings.origin(key) for key in setting_keys()} <= {f"config/environments/{name}.toml", "default"}
    assert settings.raw_bucket == f"{name}-data-platform-raw"
    assert settings.glue_max_concurrent_runs >= settings.sfn_max_concurrency


def test_the_pipelines_figures_are_kept():
    dev, staging, prod = (load_environment(name, env={}) for name in ("dev", "staging", "prod"))
    each = [dev, staging, prod]
    assert [s.compaction_worker_type for s in each] == ["G.1X", "G.1X", "G.2X"]
    assert [s.compaction_number_workers for s in each] == [2, 3, 4]
    assert [s.compaction_timeout_minutes for s in each] == [15, 20, 30]
    assert {(s.compaction_target_file_mb, s.compaction_codec, s.compaction_output_subdir) for s in each} == {
        (256, "zstd", "compacted")
    }
    assert [s.removal_policy for s in each] == ["destroy", "retain", "retain"]


def test_each_layer_wins_over_the_one_before_and_is_remembered(write):
    here = write('compaction_output_subdir = "pressed"', without={"compaction_output_subdir"})
    env = {
        "BRIQUETTE_ENGINE": "glue",
        "BRIQUETTE_COMPACTION_CODEC": "gzip",
        "BRIQUETTE_REGION": "",
        "HOME": "/",
    }
    overrides = {"compaction_codec": "snappy", "compaction_number_workers": 7, "raw_url": None}
    settings = load_environment("here", env=env, overrides=overrides, directory=here)
    expected = {
        "raw_manifest_suffix": (".manifest.json", "default"),
        "compaction_output_subdir": ("pressed", "here.toml"),
        "region": ("ap-northeast-2", "here.toml"),
        "raw_url": ("s3://dev-data-platform-raw", "here.toml"),
        "engine": ("glue", "BRIQUETTE_ENGINE"),
        "compaction_codec": ("snappy", "override"),
        "compaction_number_workers": (7, "override"),
    }
    assert {key: (getattr(settings, key), settings.origin(key)) for key in expected} == expected


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("COMPACTION_TARGET_FILE_MB", "64", 64),
        ("MAX_CRITICAL_ERROR_RATE", "0.5", 0.5),
        ("MAX_CRITICAL_ERROR_RATE", "3", 3.0),
        ("DASK_TASK_SPOT", "false", False),
        ("DASK_TASK_SPOT", "True", True),
        ("MONITORED_GLUE_JOBS", "a, b", ("a", "b")),
        ("RAW_URL", "/data/raw", "/data/raw"),
    ],
)
def test_a_variables_text_takes_the_keys_type(variable, text, value):
    settings = load_environment("dev", env={f"BRIQUETTE_{variable}": text})
    found = getattr(settings, variable.lower())
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('engien = "dask"', "unknown key 'engien'", "Did you mean engine?"),
        ("xyzzy = 1", "unknown key 'xyzzy'", "config show"),
        ("[processing]\na = 1", "unknown key 'processing'", ""),
        ('compaction_number_workers = "2"', "must be a whole number, not '2' (str)", "Glue workers"),
        ("compaction_number_workers = true", "must be a whole number, not True (bool)", "Glue workers"),
        ("compaction_number_workers = 2.0", "must be a whole number, not 2.0 (float)", "Glue workers"),
        ("compaction_number_workers = 1", "at least 2, not 1", "Glue workers"),
        ("max_critical_error_rate = nan", "at least 0, not nan", ""),
        ('dask_task_spot = "no"', "must be true or false", ""),
        ('monitored_glue_jobs = "one"', "must be a list of strings", ""),
        ("monitored_glue_jobs = [1]", "must be a list of strings", ""),
        ('engine = "spark"', "'spark' is not known", "dask, glue"),
        ('raw_url = ""', "raw_url is empty", ""),
        ('raw_manifest_basename = "batch"', "'batch' is not allowed", "begins with _ or ."),
        ('raw_manifest_basename = "_a/b"', "'_a/b' is not allowed", "begins with _ or ."),
        ('raw_manifest_suffix = "/x.json"', "'/x.json' is not allowed", "part of a name"),
        ("region = ", "cannot be read", ""),
        ("engine = 'dask'\nengine = 'glue'", "cannot be read", ""),
    ],
)
def test_a_wrong_file_names_file_key_and_remedy(write, line, message, hint):
    key = line.split(" ")[0]
    with pytest.raises(ConfigError) as error:
        load_environment("here", env={}, directory=write(line, without={key}))
    assert "here.toml" in error.value.message
    assert message in error.value.message
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("env", "overrides", "message"),
    [
        (
            {"BRIQUETTE_COMPACTION_NUMBER_WORKERS": "two"},
            {},
            "BRIQUETTE_COMPACTION_NUMBER_WORKERS: compaction_",
        ),
        ({"BRIQUETTE_MAX_CRITICAL_ERROR_RATE": "inf"}, {}, "must be a number"),
        ({"BRIQUETTE_ENGIEN": "glue"}, {}, "BRIQUETTE_ENGIEN: unknown key"),
        ({}, {"compaction_kodec": "gzip"}, "override: unknown key"),
        ({}, {"compaction_codec": "brotli"}, "override: compaction_codec"),
        ({}, {"region": 3}, "override: region must be a string"),
    ],
)
def test_a_wrong_variable_or_override_is_an_error_that_names_it(env, overrides, message):
    with pytest.raises(ConfigError) as error:
        load_environment("dev", env=env, overrides=overrides)
    assert message in error.value.message


def test_variables_of_others_are_left_alone():
    env = {"BRIQUETTE_NOTHING_LIKE_IT": "1", "ENGINE": "glue", "RAW_BUCKET": "x"}
    assert load_environment("dev", env=env) == load_environment("dev", env={})


def test_a_key_without_default_must_be_said(write):
    with pytest.raises(ConfigError, match="does not say engine, compaction_codec"):
        load_environment("here", env={}, directory=write(without={"engine", "compaction_codec"}))


@pytest.mark.parametrize("name", ["prd", "../dev", "", "dev.toml", "DEV"])
def test_an_unknown_environment_lists_the_known_ones(name):
    with pytest.raises(ConfigError) as error:
        load_environment(name, env={})
    assert "dev, prod, staging" in error.value.hint
    assert environment_names() == ("dev", "prod", "staging")


def test_glue_has_nothing_to_fall_back_to():
    def fallback(**overrides):
        return load_environment("dev", env={}, overrides=overrides).fallback_engine

    assert fallback(engine="dask", fallback="glue") == "glue"
    assert fallback(engine="dask", fallback="none") is None
    assert fallback(engine="glue", fallback="glue") is None


def test_a_directory_has_no_bucket():
    settings = load_environment(
        "dev", env={}, overrides={"raw_url": "/data/raw", "curated_url": "s3://b/c/d"}
    )
    assert settings.curated_bucket == "b"
    with pytest.raises(ConfigError, match="raw_url = '/data/raw' names no bucket"):
        _ = settings.raw_bucket


@settings(deadline=None)
@given(st.sampled_from(sorted(setting_keys())), st.data())
def test_a_value_is_the_same_from_a_file_a_variable_or_an_override(key, data):
    value = tomllib.loads(DEV.read_text()).get(key, setting_keys()[key].default)
    if type(value) is int:
        value = data.draw(st.integers(2, 10**6))
    elif type(value) is bool:
        value = data.draw(st.booleans())
    elif key == "existing_buckets":
        value = data.draw(st.lists(st.sampled_from(["raw", "curated", "artifacts"]), unique=True, min_size=1))
    text = ",".join(value) if isinstance(value, list) else str(value)
    by_variable = load_environment("dev", env={f"BRIQUETTE_{key.upper()}": text})
    by_override = load_environment("dev", env={}, overrides={key: value})
    assert by_variable == by_override
    assert text == "" or by_variable.origin(key) != by_override.origin(key)  # an empty variable is none


def test_a_lambda_loads_settings_without_heavy_libraries():
    code = (
        "import sys; from briquette.settings.environments import load_environment;"
        "load_environment('prod', env={});"
        "print(sorted({'pyarrow', 'boto3', 'dask', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "folder"),
    [("s3://b", ""), ("s3://b/", ""), ("s3://b/c", "c/"), ("s3://b/c/d/", "c/d/"), ("s3://b/b/", "b/")],
)
def test_a_prefix_in_a_url_is_the_folder_below_its_bucket(url, folder):
    settings = load_environment(
        "dev", env={}, overrides={"raw_url": url, "curated_url": url, "artifacts_url": url}
    )
    assert {settings.raw_folder, settings.curated_folder, settings.artifacts_folder} == {folder}
    assert settings.raw_bucket == "b"
