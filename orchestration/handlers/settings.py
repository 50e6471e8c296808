"""The settings of the environment that a Lambda belongs to, from the variables that the stack gives it."""

from __future__ import annotations

from collections.abc import Mapping

from briquette.aws.environment import environment_name
from briquette.settings.environments import PREFIX, Settings, load_environment
from briquette.shipped import VARIABLE
from briquette.storage.urls import bucket_of, parse_url

# The pipeline's own variables. They win over the environment's file, BRIQUETTE_<KEY> wins over them.
_PLAIN = {
    "COMPACTION_OUTPUT_SUBDIR": "compaction_output_subdir",
    "MAX_BACKFILL_DAYS": "max_backfill_days",
    "EXPECTED_MIN_RECORDS": "expected_min_records",
    "MAX_CRITICAL_ERROR_RATE": "max_critical_error_rate",
}
_BUCKETS = {"RAW_BUCKET": "raw_url", "CURATED_BUCKET": "curated_url", "ARTIFACTS_BUCKET": "artifacts_url"}


def settings_from(env: Mapping[str, str]) -> Settings:
    """The environment's settings with the pipeline's variables among their layers; raises ``ConfigError``.

    A bucket variable replaces the bucket of a place; a prefix that the file gives stays.
    """
    name = environment_name(env)
    filed = load_environment(name, env={VARIABLE: env.get(VARIABLE, "")})
    given = {PREFIX + key.upper(): env[variable] for variable, key in _PLAIN.items() if env.get(variable)}
    for variable, key in _BUCKETS.items():
        if env.get(variable):
            place = str(getattr(filed, key))
            prefix = parse_url(place).prefix if bucket_of(place) else ""
            given[PREFIX + key.upper()] = f"s3://{env[variable]}/{prefix}".rstrip("/")
    ours = {variable: text for variable, text in env.items() if variable.startswith(PREFIX) and text}
    return load_environment(name, env=given | ours)
