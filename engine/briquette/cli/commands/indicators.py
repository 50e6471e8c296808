"""``briquette indicators``: the third stage of a day."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from briquette.cli.options import (
    DAILY,
    OUTPUT,
    RUN,
    Common,
    RunFlags,
    StageFlags,
    expand,
    option,
    settings_of,
)
from briquette.cli.output import begin, elapsed, say
from briquette.errors import UsageError

if TYPE_CHECKING:
    from briquette.pipeline.indicators import IndicatorsOptions, IndicatorsResult, IndicatorsTarget
    from briquette.pipeline.indicators_days import IndicatorsOfDay


@expand
def indicators(
    stage: StageFlags,
    run: RunFlags,
    common: Common,
    *,
    env: Annotated[str, option(DAILY, "Environment whose config/environments file gives the defaults.")] = "",
    curated: Annotated[str, option(DAILY, "Curated root.")] = "",
    domain: Annotated[str, option(DAILY, "For instance market.")] = "",
    table: Annotated[str, option(DAILY, "The table with the adjusted prices.")] = "prices",
    ds: Annotated[str, option(DAILY, "The day, YYYY-MM-DD.")] = "",
    set_name: Annotated[str, option(OUTPUT, "Which columns: A (27) or B (60).", "--set")] = "A",
    lookback_days: Annotated[
        int | None,
        option(RUN, "Sessions to read at least. [default: the environment's, else 252]", min=1),
    ] = None,
    duplicates: Annotated[
        str,
        option(
            RUN,
            "Of conflicting records of one symbol: keep_last, reject or fail. "
            "[default: the environment's, else keep_last]",
        ),
    ] = "",
    repair_stale: Annotated[
        bool,
        option(RUN, "Also compute later days whose indicators have not read these prices.", "--repair-stale"),
    ] = False,
) -> None:
    """Compute the technical indicators of a day.

    One row for each symbol of the day, from the adjusted prices of its last sessions.
    """
    begin(common)
    from briquette.cli.text import Progress
    from briquette.pipeline.indicators import LOOKBACK_DAYS, IndicatorsOptions, indicators_day
    from briquette.prices.duplicates import KEEP_LAST

    settings = settings_of(env)
    place = _target(curated or (settings.curated_url if settings else ""), domain, table, ds)
    least = settings.indicators_lookback_days if settings else LOOKBACK_DAYS
    options = IndicatorsOptions(
        set_name=set_name,
        lookback_days=lookback_days or least,
        duplicates_rule=duplicates or (settings.duplicates if settings else KEEP_LAST),
        schema_fingerprint=stage.schema_fingerprint,
        run=run.resolve(force=stage.force, unsafe_store=stage.unsafe_store),
        **stage.sizes(settings),
    )
    with Progress(shown=common.shows_progress, what=str(place.partition)) as progress:
        result = indicators_day(place, options, progress=progress)
    result = dataclasses.replace(result, run=dataclasses.replace(result.run, seconds=elapsed()))
    if repair_stale and result.stale:
        _repair(place, options, result)
    else:
        say(result.to_dict(), indicators_text(result))


def _repair(place: IndicatorsTarget, options: IndicatorsOptions, result: IndicatorsResult) -> None:
    """Compute the stale days too, and say what became of all of them."""
    from briquette.pipeline.indicators_days import indicators_days

    made = indicators_days(place, [day.ds for day in result.stale], options)
    timed = dataclasses.replace(result.run, seconds=elapsed())
    result = dataclasses.replace(result, run=timed, stale=made.stale)
    document = result.to_dict() | {"repaired": [day.to_dict() for day in made.days]}
    say(document, "\n".join([indicators_text(result), *map(_repaired_line, made.days)]))
    if made.errors:
        raise typer.Exit(made.errors[0].exit_code)


def _repaired_line(day: IndicatorsOfDay) -> str:
    what = f"{day.error.name}: {day.error}" if day.error else "computed again"
    return f"  {day.ds}  indicators were stale: {what}"


def _target(curated: str, domain: str, table: str, ds: str) -> IndicatorsTarget:
    from briquette.pipeline.indicators import indicators_target

    missing = [n for n, v in {"--curated": curated, "--domain": domain, "--ds": ds}.items() if not v]
    if missing:
        raise UsageError(f"the target lacks {', '.join(missing)}.", hint=f"Pass {', '.join(missing)}.")
    return indicators_target(curated=curated, domain=domain, table=table, ds=ds)


def indicators_text(result: IndicatorsResult) -> str:
    """The summary of a run."""
    from briquette.cli.text import result_text, rows_of

    pairs = [("set", f"{result.set_name}, {result.sessions} sessions read")]
    for name, what in (("impossible_values", "impossible"), ("too_large_values", "too large")):
        found = result.findings.get(name)
        if found:
            pairs.append((what, ", ".join(f"{column} {count}" for column, count in found.items()) + ": null"))
    if result.schema_changed is not None:
        pairs.append(("schema", "recorded: it is new or changed" if result.schema_changed else "as recorded"))
    lines = [f"{result_text(result.run)}\n{rows_of(pairs)}"]
    lines += [f"  {day.ds}  indicators are stale: {day.reason}" for day in result.stale]
    if result.stale:
        lines.append("  next: run it again with --repair-stale, which computes these days too.")
    return "\n".join(lines)
