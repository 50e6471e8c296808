"""The option groups of the command line: written once, shared by the commands that take them."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from briquette.errors import UsageError, did_you_mean
from briquette.settings.values import parse_bytes

if TYPE_CHECKING:
    from briquette.compaction.options import RunOptions
    from briquette.model import CompactionSpec
    from briquette.planning.target import Target
    from briquette.settings.environments import Settings

Group = TypeVar("Group")
_ZERO_IS_SAID = ("max_reject_ratio", "target_file_mb")  # other options are not given where they are empty


def option(panel: str, text: str, *names: str, **rules: Any) -> Any:
    """A typer option in a help panel."""
    return typer.Option(*names, help=text, rich_help_panel=panel, **rules)


DAILY, ANY_DATA, OUTPUT, RUN, COMMON = (
    "Input and output, by the daily pipeline's names",
    "Input and output, any data",
    "Output",
    "Run",
    "Common",
)


def settings_of(environment: str) -> Settings | None:
    """The settings of an environment, None where none is named. Its buckets are reached in its region.

    A region in the process's environment wins, as every variable does over the file.
    """
    if not environment:
        return None
    from briquette.settings.environments import load_environment

    settings = load_environment(environment, env=os.environ)
    if not os.environ.get("AWS_REGION"):
        os.environ.setdefault("AWS_DEFAULT_REGION", settings.region)
    return settings


@dataclass(frozen=True, slots=True)
class TargetFlags:
    """What is read and where it is published."""

    env: Annotated[str, option(DAILY, "Environment whose config/environments file gives the defaults.")] = ""
    domain: Annotated[str, option(DAILY, "For instance market.")] = ""
    table: Annotated[str, option(DAILY, "For instance prices.")] = ""
    interval: Annotated[str, option(DAILY, "For instance 1d.")] = ""
    data_source: Annotated[str, option(DAILY, "For instance yahoo_finance.")] = ""
    ds: Annotated[str, option(DAILY, "The day, YYYY-MM-DD.")] = ""
    raw: Annotated[
        str, option(DAILY, "Raw root (path, file://, s3://); without --table the day's own prefix.")
    ] = ""
    curated: Annotated[str, option(DAILY, "Curated root.")] = ""
    compacted_subdir: Annotated[str, option(DAILY, "Folder of compacted data below the table.")] = ""
    input: Annotated[
        str, option(ANY_DATA, "Folder, or prefix in a bucket, of JSON, CSV or Parquet objects.")
    ] = ""
    output: Annotated[str, option(ANY_DATA, "Where the dataset is published.")] = ""

    def settings(self) -> Settings | None:
        """The environment's settings, or None without ``--env``."""
        return settings_of(self.env)

    def batch_manifest(self) -> str:
        """How the ingestion names its manifest: as the environment says, or as it always did."""
        from briquette.planning.plan import BATCH_MANIFEST_NAME

        settings = self.settings()
        return settings.raw_manifest_name if settings else BATCH_MANIFEST_NAME

    def resolve(self, *, reads: bool = True, writes: bool = True) -> Target:
        """The target; a command that only reads or only writes needs only that side."""
        from briquette.model import Partition
        from briquette.planning.target import resolve_target

        settings = self.settings()
        raw, curated, subdir = self.raw, self.curated, self.compacted_subdir
        if settings and not (self.input or self.output):
            raw, curated = raw or settings.raw_url, curated or settings.curated_url
            subdir = subdir or settings.compaction_output_subdir
        unused = "memory://unused"
        daily = bool(raw or curated)
        partition = Partition(self.domain, self.table, self.interval, self.data_source, self.ds)
        return resolve_target(
            partition,
            input_url=self.input or ("" if reads or daily else unused),
            output_url=self.output or ("" if writes or daily else unused),
            raw=raw or ("" if reads or not daily else unused),
            curated=curated or ("" if writes or not daily else unused),
            compacted_subdir=subdir or "compacted",
        )


@dataclass(frozen=True, slots=True)
class SpecFlags:
    """What the output is made like."""

    schema: Annotated[
        str, option(OUTPUT, "A declared table (market.prices) or a TOML file; else inferred.")
    ] = ""
    codec: Annotated[str, option(OUTPUT, "zstd, snappy, gzip, lz4 or none. [default: zstd]")] = ""
    target_file_mb: Annotated[float | None, option(OUTPUT, "Size of a part in MiB. [default: 256]")] = None
    extra_fields: Annotated[
        str,
        option(
            OUTPUT, "Fields not in the schema: ignore, rescue or reject. [default: the table's, else ignore]"
        ),
    ] = ""
    max_reject_ratio: Annotated[
        float | None,
        option(
            OUTPUT,
            "Share of records, and of their bytes, that may be rejected. [default: the table's, else 0.05]",
        ),
    ] = None
    unique_key: Annotated[
        str, option(OUTPUT, "Columns, separated by commas; of records equal in them the last stays.")
    ] = ""
    publish: Annotated[str, option(OUTPUT, "in_place or versioned. [default: in_place]")] = ""
    limits: Annotated[str, option(OUTPUT, "Limits, such as depth=200,record_bytes=128MiB.")] = ""

    def resolve(self, target: Target, settings: Settings | None) -> CompactionSpec:
        """The spec: flags, then the environment, then the table's own defaults."""
        from briquette.compaction.new_plan import resolve_spec

        given: dict[str, Any] = {
            "codec": self.codec or (settings.compaction_codec if settings else ""),
            "target_file_mb": self.target_file_mb,
            "extra_fields": self.extra_fields,
            "max_reject_ratio": self.max_reject_ratio,
            "unique_key": tuple(c.strip() for c in self.unique_key.split(",") if c.strip()),
            "publish": self.publish,
            "limits": parse_limits(self.limits),
        }
        if self.target_file_mb is None and settings:
            given["target_file_mb"] = settings.compaction_target_file_mb
        kept = {k: v for k, v in given.items() if v or (k in _ZERO_IS_SAID and v is not None)}
        return resolve_spec(target, self.schema or None, kept)


@dataclass(frozen=True, slots=True)
class RunFlags:
    """How it is run; none of it changes a byte of the output."""

    executor: Annotated[
        str, option(RUN, "auto (threads, Dask for many splits), serial, threads, dask or ray.")
    ] = "auto"
    workers: Annotated[int, option(RUN, "Worker processes; 0: threads here (Ray: one a core).", min=0)] = 0
    threads: Annotated[int, option(RUN, "Threads; 0: one for each core.", min=0)] = 0
    scheduler: Annotated[str, option(RUN, "A running Dask scheduler, tcp://host:8786.")] = ""
    ray_address: Annotated[str, option(RUN, "A running Ray cluster, host:6379 or auto.")] = ""
    memory_limit: Annotated[str, option(RUN, "For instance 2GB; bounds how many splits run at once.")] = ""

    def resolve(self, **more: Any) -> RunOptions:
        """The engine's own form of it."""
        from briquette.compaction.options import RunOptions, check_options

        options = RunOptions(
            executor=self.executor,
            workers=self.workers,
            threads=self.threads,
            scheduler=self.scheduler,
            ray_address=self.ray_address,
            memory_limit_bytes=parse_bytes(self.memory_limit) if self.memory_limit else None,
            **more,
        )
        check_options(options)
        return options


@dataclass(frozen=True, slots=True)
class StageFlags:
    """How a later stage publishes."""

    schema_fingerprint: Annotated[
        str, option(OUTPUT, "URL of latest.json, where the schema's fingerprint is kept.")
    ] = ""
    codec: Annotated[str, option(OUTPUT, "zstd, snappy, gzip, lz4 or none. [default: zstd]")] = ""
    target_file_mb: Annotated[float | None, option(OUTPUT, "Size of a part in MiB. [default: 256]")] = None
    force: Annotated[
        bool,
        option(RUN, "Write again even if nothing changed, or over a damaged manifest.", "--force"),
    ] = False
    unsafe_store: Annotated[
        bool, option(RUN, "Publish to a store without conditional writes, with care.", "--unsafe-store")
    ] = False

    def sizes(self, settings: Settings | None) -> dict[str, Any]:
        """``codec`` and ``target_file_mb`` where a flag or the environment says them."""
        from briquette.planning.spec import checked_overrides

        given: dict[str, Any] = {"codec": self.codec, "target_file_mb": self.target_file_mb}
        if settings:
            given["codec"] = self.codec or settings.compaction_codec
            if self.target_file_mb is None:
                given["target_file_mb"] = settings.compaction_target_file_mb
        said = {name: value for name, value in given.items() if value not in ("", None)}
        checked_overrides(said)
        return said


@dataclass(frozen=True, slots=True)
class Common:
    """How a command prints and logs."""

    json_output: Annotated[bool, option(COMMON, "One JSON document on stdout, nothing else.", "--json")] = (
        False
    )
    quiet: Annotated[bool, option(COMMON, "No progress and no summary.", "--quiet", "-q")] = False
    log_format: Annotated[str, option(COMMON, "What goes to stderr: text, or one JSON object a line.")] = (
        "text"
    )

    @property
    def shows_progress(self) -> bool:
        """Whether a bar may move on a terminal."""
        return not self.quiet and self.log_format == "text"


def parse_limits(text: str) -> dict[str, object]:
    """The limits that a text names; what is no number stays text, for the check to name.

    >>> parse_limits("depth=200, record_bytes=1MiB")
    {'depth': 200, 'record_bytes': 1048576}
    """
    found: dict[str, object] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, value = (word.strip() for word in part.partition("="))
        size = name.endswith("_bytes") and value
        found[name] = parse_bytes(value) if size else int(value) if value.isdecimal() else value
    return found


def choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """``value`` if it is one of ``allowed``; raises ``UsageError``."""
    if value not in allowed:
        raise UsageError(f"--{name} is {value!r}.", hint=f"Use {', '.join(allowed[:-1])} or {allowed[-1]}.")
    return value


class _OwnWords:
    """What a command line gets wrong, said as every other error is, with one suggestion."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click, whose usage errors become ours."""
        from click.exceptions import NoSuchOption
        from click.exceptions import UsageError as ClickUsageError

        try:
            return super().parse_args(ctx, args)  # type: ignore[misc,no-any-return]
        except NoSuchOption as error:
            known = [name for p in ctx.command.get_params(ctx) for name in p.opts if name.startswith("--")]
            raise UsageError(
                f"there is no option {error.option_name} of `{ctx.command_path}`.",
                hint=did_you_mean(error.option_name, known) or f"`{ctx.command_path} --help` lists them.",
            ) from error
        except ClickUsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                raise
            raise UsageError(
                f"{error.format_message().rstrip('.')}.", hint=f"See `{ctx.command_path} --help`."
            ) from error


class CommandGroup(_OwnWords, TyperGroup):
    """Commands, of which a wrong one is said once."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As click; raises ``UsageError``."""
        if args[0] not in self.commands and not args[0].startswith("-"):
            known = list(self.commands)
            raise UsageError(
                f"there is no command {args[0]!r} of `{ctx.command_path}`.",
                hint=did_you_mean(args[0], known) or f"There are {', '.join(known)}.",
            )
        return super().resolve_command(ctx, args)


class PanelledCommand(_OwnWords, TyperCommand):
    """A command whose plain help has its options in panels; rich's help alone takes half a second."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write one section of options for each panel, in the order in which they first appear."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                panels.setdefault(panel if isinstance(panel, str) else "Options", []).append(record)
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


def expand(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of the option groups that it takes as parameters."""
    hints = get_type_hints(function, include_extras=True)
    flat: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        kind = hints[name]
        if kind not in (TargetFlags, SpecFlags, RunFlags, StageFlags, Common):
            flat.append(parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[name] = kind
        types = get_type_hints(kind, include_extras=True)
        for item in fields(kind):
            default = inspect.Parameter.empty if item.default is MISSING else item.default
            flat.append(
                inspect.Parameter(
                    item.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[item.name]
                )
            )

    @wraps(function)
    def command(**values: Any) -> None:
        built = {
            name: kind(**{f.name: values.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()
        }
        function(**built, **values)

    command.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in flat}
    return command
