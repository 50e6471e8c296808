"""The arguments of a Glue job: ``--name value`` as Glue passes them, typed, with clear errors.

The official ``awsglue.utils.getResolvedOptions`` reads them where it is installed, because Glue keeps what
it has read; elsewhere ``_resolved`` does the same. Only exact names count, as on Glue 6.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from briquette.errors import UsageError
from briquette.settings.values import Parser

# What Glue itself adds to a job's command line, or reads from it. All other Glue names hold a hyphen.
GLUE_NAMES = frozenset(
    ["JOB_ID", "JOB_NAME", "JOB_RUN_ID", "RedshiftTempDir", "SECURITY_CONFIGURATION", "TempDir", "conf"]
)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a job; without ``required`` it is ``default`` where nothing was passed."""

    name: str
    parse: Parser = str
    default: Any = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Arguments:
    """The typed values by name; ``resolved`` is what ``Job.init`` takes; ``ignored`` was not asked for."""

    values: Mapping[str, Any]
    resolved: Mapping[str, Any]
    ignored: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def parse_arguments(argv: Sequence[str], wanted: Sequence[Argument]) -> Arguments:
    """The values of ``wanted`` in ``argv`` (without the program's name).

    Raises ``UsageError`` that names every missing argument, or the one that cannot be read.

    >>> from briquette.settings.values import whole
    >>> found = parse_arguments(["--ds=2025-09-09", "--rows", "7"], [Argument("ds"), Argument("rows", whole)])
    >>> found["ds"], found["rows"]
    ('2025-09-09', 7)
    """
    given = dict(_pairs(argv))
    missing = [a.name for a in wanted if a.required and not given.get(a.name)]
    if missing:
        flags = ", ".join(f"--{name}" for name in missing)
        raise UsageError(
            f"the job's arguments lack {flags}.",
            hint=f"Pass {'it' if len(missing) == 1 else 'them'} as `--name value`, names in full.",
        )
    present = [a for a in wanted if given.get(a.name)]
    resolved = _resolve(argv, [a.name for a in present])
    values = {a.name: a.default for a in wanted}
    for argument in present:
        text = resolved[argument.name]
        try:
            values[argument.name] = argument.parse(text)
        except ValueError as cause:
            raise UsageError(
                f"--{argument.name} is {text!r}; it must be {cause}.",
                hint="Correct the job's arguments; docs/glue.md lists them.",
            ) from None
    known = {a.name for a in wanted} | GLUE_NAMES
    ignored = tuple(sorted(name for name in given if name not in known and "-" not in name))
    return Arguments(values, resolved, ignored)


def _resolve(argv: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    try:
        from awsglue.utils import GlueArgumentError, getResolvedOptions
    except ImportError:
        return _resolved(argv, names)
    try:
        return dict(getResolvedOptions(["job", *argv], list(names)))
    except (GlueArgumentError, RuntimeError) as cause:
        raise UsageError(
            f"Glue cannot read the job's arguments: {cause}.", hint="docs/glue.md lists what each job takes."
        ) from cause


def _resolved(argv: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """``getResolvedOptions`` where there is no Glue: the last of a name counts, others are passed over."""
    given = dict(_pairs(argv))
    return {name: given[name] for name in names}


def _pairs(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values; a name that another name or nothing follows has the value ''."""
    for i, word in enumerate(argv):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        if not equals and i + 1 < len(argv) and not argv[i + 1].startswith("--"):
            value = argv[i + 1]
        yield name, value
