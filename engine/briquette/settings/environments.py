"""Settings of an environment: a TOML file, then environment variables, then explicit overrides.

Strict on purpose: an unknown key or a value of the wrong type is ``ConfigError``, because a setting that is
silently ignored is found in production. Only the standard library, so that a Lambda starts fast.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from briquette.errors import ConfigError, UnsafePath, UsageError
from briquette.planning.spec import CODECS
from briquette.settings.values import flag, number, whole
from briquette.shipped import VARIABLE, files, places
from briquette.storage.urls import bucket_of, parse_url

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

PREFIX = "BRIQUETTE_"

_WORKER_TYPES = ("G.1X", "G.2X", "G.4X", "G.8X", "G.12X", "G.16X", "R.1X", "R.2X", "R.4X", "R.8X")


def key(
    meaning: str,
    *,
    default: Any = MISSING,
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    form: tuple[str, str] = (".*", ""),
    members: tuple[str, ...] = (),
) -> Any:
    """One setting: what it means, and what it may hold. Without a default every environment must say it.

    ``form`` is a pattern for all of a text, and why it must be so; ``members`` are what a list may hold.
    """
    rules = {"meaning": meaning, "choices": choices, "at_least": at_least, "form": form, "members": members}
    if default is MISSING:
        return field(metadata=rules)
    return field(default=default, metadata=rules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one environment. ``origins``, where each value came from, does not count in ==."""

    environment: str
    origins: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    # Names
    name_prefix: str = key(
        "what stands before the environment in the name of every resource",
        default="",
        form=(
            "|[a-z][a-z0-9]{0,15}-",
            "Up to sixteen small letters and digits and a hyphen at the end, such as bq-.",
        ),
    )

    # Places
    region: str = key("AWS region of every resource")
    raw_url: str = key("where ingestion lands raw objects: s3://bucket[/prefix], or a directory")
    curated_url: str = key("where compacted and curated tables are published")
    artifacts_url: str = key("where plans, schema fingerprints and job scripts are kept")
    raw_manifest_basename: str = key(
        "name of ingestion's manifest, without its suffix",
        default="_batch",
        form=(r"[_.][^/]*", "It begins with _ or ., or every reader of the day would take it for data."),
    )
    raw_manifest_suffix: str = key(
        "suffix of ingestion's manifest", default=".manifest.json", form=("[^/]+", "It is part of a name.")
    )

    existing_buckets: tuple[str, ...] = key(
        "existing buckets, which are used and not made: raw, curated, artifacts",
        default=(),
        members=("raw", "curated", "artifacts"),
    )

    # Routing
    engine: str = key("what compacts: Dask in a container, or Glue", choices=("dask", "glue"))
    fallback: str = key("what compacts when Dask's infrastructure fails", choices=("glue", "none"))

    # Compaction, whichever engine
    compaction_target_file_mb: int = key("size of a published part, in MiB", at_least=1)
    compaction_codec: str = key("compression of the parts", choices=CODECS)
    compaction_output_subdir: str = key("directory of compacted data below the table", default="compacted")
    compaction_timeout_minutes: int = key("a compaction that runs longer is stopped", at_least=1)
    transform_timeout_minutes: int = key("a transform that runs longer is stopped", default=30, at_least=1)
    indicators_timeout_minutes: int = key("indicators that run longer are stopped", default=30, at_least=1)

    # Compaction on Glue
    compaction_worker_type: str = key("Glue worker type", choices=_WORKER_TYPES)
    compaction_number_workers: int = key("Glue workers, the driver included", at_least=2)
    glue_max_concurrent_runs: int = key("runs of one Glue job at once", at_least=1)

    # Compaction on Dask: one container, as many worker processes as it has vCPUs
    dask_task_vcpus: int = key("vCPUs of the container", at_least=1)
    dask_task_memory_gb: int = key("memory of the container, in GiB", at_least=2)
    dask_task_spot: bool = key("whether the container runs on FARGATE_SPOT, cheaper, which AWS may take back")

    # Flow
    sfn_max_concurrency: int = key("partitions compacted at once by one execution", at_least=1)
    step_function_timeout_hours: int = key("an execution that runs longer is stopped", at_least=1)
    max_backfill_days: int = key("most days of one backfill request; more is an error, never cut", at_least=1)
    indicators_lookback_days: int = key("trading days that indicators look back", at_least=1)
    catalog_update: str = key("when the crawler runs", choices=("never", "force", "on_schema_change"))

    # Data quality
    expected_min_records: int = key("fewer records in a partition are a warning", at_least=0)
    max_critical_error_rate: float = key("per cent of records with a critical error that fail it", at_least=0)
    duplicates: str = key(
        "which of the conflicting records of one key stay, in every stage",
        default="keep_last",
        choices=("keep_last", "reject", "fail"),
    )

    # Operations
    alert_topic_arn: str = key(
        "existing topic that is notified, instead of one that the stacks make",
        default="",
        form=(r"|arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]+", "It is the ARN of an SNS topic."),
    )
    alert_email: str = key(
        "address that is told of failures; whoever reads it confirms once",
        default="",
        form=(r"|[^@\s]+@[^@\s]+\.[^@\s]+", "It is an e-mail address."),
    )
    lambda_timeout: int = key("seconds that a Lambda may run", at_least=1)
    log_retention_days: int = key("days that logs are kept", at_least=1)
    enable_xray_tracing: bool = key("whether Step Functions and Lambdas are traced")
    removal_policy: str = key("what happens to buckets with the stack", choices=("destroy", "retain"))
    monitored_glue_jobs: tuple[str, ...] = key("Glue jobs with a failure alarm, without the environment")
    monitored_state_machines: tuple[str, ...] = key("state machines with a failure alarm, likewise")

    @property
    def resource_prefix(self) -> str:
        """What the name of every resource begins with: ``dev``, or ``bq-dev`` beside another pipeline."""
        return self.name_prefix + self.environment

    @property
    def fallback_engine(self) -> str | None:
        """What to fall back to, or None: Glue has nothing behind it."""
        return self.fallback if self.engine == "dask" and self.fallback != "none" else None

    @property
    def raw_manifest_name(self) -> str:
        """The name of ingestion's manifest in a raw day."""
        return self.raw_manifest_basename + self.raw_manifest_suffix

    @property
    def raw_bucket(self) -> str:
        return self._bucket("raw_url")

    @property
    def curated_bucket(self) -> str:
        return self._bucket("curated_url")

    @property
    def artifacts_bucket(self) -> str:
        return self._bucket("artifacts_url")

    @property
    def raw_folder(self) -> str:
        """Where raw objects begin below their bucket: "" or "some/prefix/"."""
        return self._folder("raw_url")

    @property
    def curated_folder(self) -> str:
        """Likewise of curated tables."""
        return self._folder("curated_url")

    @property
    def artifacts_folder(self) -> str:
        """Likewise of the artifacts."""
        return self._folder("artifacts_url")

    def _folder(self, name: str) -> str:
        self._bucket(name)
        return parse_url(getattr(self, name)).prefix

    def _bucket(self, name: str) -> str:
        url = getattr(self, name)
        try:
            bucket = bucket_of(url)
        except (UsageError, UnsafePath) as error:
            raise ConfigError(f"{self.environment}: {name}: {error.message}", hint=error.hint) from error
        if not bucket:
            hint = "A deployed environment keeps its data on S3: write s3://bucket."
            raise ConfigError(f"{self.environment}: {name} = {url!r} names no bucket.", hint=hint)
        return bucket

    def origin(self, name: str) -> str:
        """Where a value came from: a file, an environment variable, ``override`` or ``default``."""
        return dict(self.origins)[name]


def setting_keys() -> dict[str, Field[Any]]:
    """Every key a file may hold, in the order of ``Settings``; the metadata carries meaning and rules."""
    return {f.name: f for f in fields(Settings) if "meaning" in f.metadata}


def environment_names(
    *, directory: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The environments that have a file in ``directory``, or where ``load_environment`` looks, sorted."""
    names = {file.name for _, place in _places(directory, env) for file in files(place)}
    return tuple(sorted(name.removesuffix(".toml") for name in names))


def load_environment(
    name: str,
    *,
    env: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    directory: Path | None = None,
) -> Settings:
    """The settings of an environment, the later layer winning: defaults, file, ``env``, ``overrides``.

    The file is the one in ``directory``, if given; else the first of the user's own and the package's
    (``briquette.shipped.places``), which hides another of the same name as a whole.

    ``env`` is a process environment; BRIQUETTE_<KEY> sets a key, lists are separated by commas, an empty
    variable counts as unset. An override of None counts as not given. Raises ConfigError.
    """
    known = setting_keys()
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for layer in (
        _file_layer(name, directory, env),
        [(variable, variable.removeprefix(PREFIX).lower(), text) for variable, text in _ours(env, known)],
        [("override", k, value) for k, value in (overrides or {}).items() if value is not None],
    ):
        for origin, setting, raw in layer:
            if setting not in known:
                hint = _did_you_mean(setting, known) or "Run briquette config show for the keys."
                raise ConfigError(f"{origin}: unknown key {setting!r}.", hint=hint)
            if isinstance(raw, str) and not origin.endswith(".toml"):
                raw = _from_text(known[setting], raw)
            values[setting] = _checked(origin, known[setting], raw)
            origins[setting] = origin
    missing = [k for k, f in known.items() if k not in values and f.default is MISSING]
    if missing:
        raise ConfigError(
            f"Environment {name!r} does not say {', '.join(missing)}.",
            hint=f"Add it to environments/{name}.toml: {known[missing[0]].metadata['meaning']}.",
        )
    where = tuple((k, origins.get(k, "default")) for k in known)
    return Settings(environment=name, origins=where, **values)  # type: ignore[arg-type]


def _places(
    directory: Path | None, env: Mapping[str, str] | None = None
) -> Sequence[tuple[str, Traversable]]:
    return [("", directory)] if directory is not None else places("environments", env)


def _file_layer(name: str, directory: Path | None, env: Mapping[str, str]) -> list[tuple[str, str, object]]:
    for where, place in _places(directory, env):
        file, origin = place / f"{name}.toml", f"{where}/{name}.toml" if where else f"{name}.toml"
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or not file.is_file():
            continue
        try:
            document = tomllib.loads(file.read_bytes().decode("utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"{origin} cannot be read: {error}.", hint="Correct that line, or check the file's rights."
            ) from error
        return [(origin, k, value) for k, value in document.items()]
    names = environment_names(directory=directory, env=env)
    hint = f"Environments: {', '.join(names) or 'none'}."
    raise ConfigError(f"There is no environment {name!r}.", hint=hint)


def _ours(env: Mapping[str, str], known: Mapping[str, object]) -> list[tuple[str, str]]:
    """The variables that mean a key, or nearly one: BRIQUETTE_ENGIEN must not be silently without effect."""
    found = []
    for variable, text in sorted(env.items()):
        name = variable.removeprefix(PREFIX).lower()
        if (
            variable.startswith(PREFIX)
            and variable != VARIABLE
            and text
            and (name in known or _did_you_mean(name, known))
        ):
            found.append((variable, text))
    return found


_EXPECTED = {
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of strings",
}
_TYPES = {k: hint for k, hint in get_type_hints(Settings).items() if hint in _EXPECTED}


_READERS = {bool: flag, int: whole, float: number}


def _from_text(setting: Field[Any], text: str) -> object:
    """The value that a text means for this key; the text itself where it means none."""
    kind = _TYPES[setting.name]
    if kind == tuple[str, ...]:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return _READERS[kind](text) if kind in _READERS else text
    except ValueError:
        return text


def _checked(origin: str, setting: Field[Any], value: Any) -> object:
    kind, rules = _TYPES[setting.name], setting.metadata
    if kind == tuple[str, ...]:
        fits = isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value)
    elif kind is float:
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        fits = type(value) is kind
    if not fits:
        found = f"{value!r} ({type(value).__name__})"
        message = f"{origin}: {setting.name} must be {_EXPECTED[kind]}, not {found}."
        raise ConfigError(message, hint=f"It is {rules['meaning']}.")
    if rules["choices"] and value not in rules["choices"]:
        hint = f"Use one of {', '.join(rules['choices'])}."
        raise ConfigError(f"{origin}: {setting.name} = {value!r} is not known.", hint=hint)
    # Written so that NaN, which TOML can say, does not slip through.
    if rules["at_least"] is not None and not value >= rules["at_least"]:
        raise ConfigError(
            f"{origin}: {setting.name} must be at least {rules['at_least']}, not {value!r}.",
            hint=f"It is {rules['meaning']}.",
        )
    if kind is str and not value and setting.default != "":
        raise ConfigError(f"{origin}: {setting.name} is empty.", hint=f"It is {rules['meaning']}.")
    form, why = rules["form"]
    if kind is str and not re.fullmatch(form, str(value)):
        raise ConfigError(f"{origin}: {setting.name} = {value!r} is not allowed.", hint=why)
    if kind == tuple[str, ...]:
        strange = sorted(set(value) - set(rules["members"])) if rules["members"] else []
        if strange:
            hint = f"It may hold {', '.join(rules['members'])}."
            raise ConfigError(f"{origin}: {setting.name} holds {strange[0]!r}.", hint=hint)
        return tuple(value)
    return float(value) if kind is float else value


def _did_you_mean(word: str, known: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
    return f"Did you mean {close[0]}?" if close else ""
