"""``briquette inspect`` and ``verify``: what a dataset is made of, and whether its manifest says so."""

from __future__ import annotations

from typing import Annotated

import typer

from briquette.cli.options import RUN, Common, RunFlags, TargetFlags, expand, option
from briquette.cli.output import begin, say
from briquette.errors import VerificationFailed


@expand
def inspect(
    common: Common, url: Annotated[str, typer.Argument(help="A published dataset, or one Parquet file.")]
) -> None:
    """Show what a dataset is made of.

    Or one Parquet file: row groups, encodings, sizes, schema, manifest.
    """
    begin(common)
    from briquette.cli.text import inspection_text
    from briquette.datasets.inspect import inspect as inspect_url

    found = inspect_url(url)
    say(found, inspection_text(found))


@expand
def verify(
    target: TargetFlags,
    run: RunFlags,
    common: Common,
    *,
    url: Annotated[str, typer.Argument(help="A published dataset; or name it by the options below.")] = "",
    deep: Annotated[
        bool, option(RUN, "Decode the raw objects again and compare every row.", "--deep")
    ] = False,
) -> None:
    """Check a published dataset.

    Counts, checksums and footers against its manifest; with --deep every row against the raw objects.
    """
    begin(common)
    from briquette.cli.text import Progress, verdict_document, verdict_text
    from briquette.datasets.verify import verify as verify_url

    place = url or str(target.resolve(reads=False).output)
    with Progress(shown=deep and common.shows_progress, what=place) as progress:
        verdict = verify_url(place, deep=deep, options=run.resolve(), progress=progress)
    say(verdict_document(verdict), verdict_text(verdict))
    if not verdict.ok:
        raise typer.Exit(VerificationFailed.exit_code)
