"""``briquette indicators``: the third stage of a day."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from engine.commands.speech import begin, elapsed, say
from engine.errors import UsageError
from engine.options import DAILY, OUTPUT, RUN, Common, RunChoices, StageOptions, expand, option, settings_of

if TYPE_CHECKING:
    from engine.indicators import IndicatorsResult, IndicatorsTarget


@expand
def indicators(
    stage: StageOptions,
    run: RunChoices,
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
) -> None:
    """Compute the technical indicators of a day.

    One row for each symbol of the day, from the adjusted prices of its last sessions.
    """
    begin(common)
    from engine.indicators import LOOKBACK_DAYS, IndicatorsOptions, indicators_day
    from engine.report import Progress

    settings = settings_of(env)
    place = _target(curated or (settings.curated_url if settings else ""), domain, table, ds)
    least = settings.indicators_lookback_days if settings else LOOKBACK_DAYS
    options = IndicatorsOptions(
        set_name=set_name,
        lookback_days=lookback_days or least,
        schema_fingerprint=stage.schema_fingerprint,
        run=run.resolve(force=stage.force, unsafe_store=stage.unsafe_store),
        **stage.sizes(settings),
    )
    with Progress(shown=common.shows_progress, what=str(place.partition)) as progress:
        result = indicators_day(place, options, progress=progress)
    result = replace(result, run=replace(result.run, seconds=elapsed()))
    say(result.to_dict(), indicators_text(result))


def _target(curated: str, domain: str, table: str, ds: str) -> IndicatorsTarget:
    from engine.indicators import indicators_target

    missing = [n for n, v in {"--curated": curated, "--domain": domain, "--ds": ds}.items() if not v]
    if missing:
        raise UsageError(f"the target lacks {', '.join(missing)}.", hint=f"Pass {', '.join(missing)}.")
    return indicators_target(curated=curated, domain=domain, table=table, ds=ds)


def indicators_text(result: IndicatorsResult) -> str:
    """The summary of a run."""
    from engine.report import result_text, rows_of

    pairs = [("set", f"{result.set_name}, {result.sessions} sessions read")]
    for name, words in (("impossible_values", "impossible"), ("too_large_values", "too large")):
        found = result.findings.get(name)
        if found:
            pairs.append(
                (words, ", ".join(f"{column} {count}" for column, count in found.items()) + ": null")
            )
    if result.schema_changed is not None:
        pairs.append(("schema", "recorded: it is new or changed" if result.schema_changed else "as recorded"))
    return f"{result_text(result.run)}\n{rows_of(pairs)}"
