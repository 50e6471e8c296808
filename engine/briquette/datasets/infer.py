"""The schema of raw objects, as a library asks for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from briquette.compaction.undeclared_schema import infer_target
from briquette.errors import RejectLimitExceeded
from briquette.planning.target import anywhere

if TYPE_CHECKING:
    from briquette.inference.infer import Inferred
    from briquette.model import Limits


def infer(
    input: str | os.PathLike[str],  # noqa: A002 - as of compact
    *,
    name: str = "",
    limits: Limits | None = None,
) -> Inferred:
    """The narrowest schema that holds every record under ``input`` (a path, ``file://`` or ``s3://``).

    ``schema`` of the result is what ``compact`` takes, ``to_toml()`` the text of a table's file with a remark
    on each column that needs one, ``warnings`` what a person should know first. Each raw object is read once.

    Raises ``EmptyInput`` where there is no raw object, ``RejectLimitExceeded`` where all records are broken,
    and the errors of ``briquette.errors``.

    >>> from briquette import infer
    >>> inferred = infer(raw, name="shop.orders")
    >>> inferred.records, inferred.schema.fields[0]
    (3, Field(name='id', type='int64', nullable=True))
    """
    inferred, _ = infer_target(
        anywhere(input_url=os.fspath(input), output_url="memory://unused"), name, limits=limits
    )
    check_any_good(inferred)
    return inferred


def check_any_good(inferred: Inferred) -> None:
    """Raise ``RejectLimitExceeded`` where there are records, and every one of them is a reject."""
    if 0 < inferred.rejects == inferred.records:
        raise RejectLimitExceeded(
            f"all {inferred.records:,} records are rejects, so nothing says what the columns hold.",
            hint="Fix the objects, or declare the schema.",
        )
