"""Every error briquette raises on purpose: one base, stable names, one exit code each.

Bad records are data (rejects), bad plans are errors, bad networks are retried; what is left is here.
A message says what happened, where, why, and (``hint``) what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

EXIT_OK = 0
EXIT_RETRYABLE = 1  # network, memory, lost workers: worth a retry or the fallback engine
EXIT_USAGE = 2
EXIT_EMPTY = 3
EXIT_BAD_INPUT = 4  # input or contract: another engine would fail the same way
EXIT_DATA_QUALITY = 5
EXIT_REFUSED = 6  # keys, rights, names, space: until somebody fixes them every engine fails alike


class BriquetteError(Exception):
    """Base of all errors; ``name`` is stable for machines, ``str()`` is for the person on call."""

    exit_code: ClassVar[int] = EXIT_RETRYABLE

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    @property
    def name(self) -> str:
        return type(self).__name__

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive pickling by default; workers send errors home.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[BriquetteError], message: str, hint: str) -> BriquetteError:
    error = kind.__new__(kind)
    BriquetteError.__init__(error, message, hint=hint)
    return error


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """The one known word that was probably meant, as a question; "" where none is near.

    >>> did_you_mean("codek", ["codec", "publish"]), did_you_mean("colour", ["codec"])
    ('Did you mean codec?', '')
    """
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else ""


# -- usage (2) ---------------------------------------------------------------------------------


class UsageError(BriquetteError):
    """The command, an option or a configuration file is wrong."""

    exit_code = EXIT_USAGE


class ConfigError(UsageError):
    """A configuration file has an unknown key or a value of the wrong type."""


class SchemaError(UsageError):
    """A declared schema cannot be read, or asks for something the engine does not do."""


class UnsafePath(UsageError):
    """A key or URL leaves its prefix or holds characters no key may hold."""


# -- bad input or contract (4) -----------------------------------------------------------------


class InputError(BriquetteError):
    """The raw input breaks the contract; running it again or elsewhere would not help."""

    exit_code = EXIT_BAD_INPUT


class CorruptObject(InputError):
    """A raw object's compressed stream or file structure is cut or damaged."""


class LimitExceeded(InputError):
    """A raw object passes an absolute cap (decompressed size, line length, depth, columns, digits)."""


class UnsupportedFormat(InputError):
    """A raw object is in no format the engine reads."""


class BatchManifestMismatch(InputError):
    """``_batch.manifest.json`` lists an object or a record count that the listing does not have."""


class EmptyInput(InputError):
    """There is nothing to compact and the caller asked for that to be an error (``on_empty = fail``)."""


class MissingColumns(InputError):
    """A table lacks columns that a stage needs."""


class SeveralBars(InputError):
    """Prices that indicators read have more than one bar of a symbol in a day."""


class PartitionConflict(InputError):
    """The output path holds another partition (other interval or data source)."""


class OutputOccupied(InputError):
    """The output place holds visible files that no briquette run published."""


class PlanError(InputError):
    """A stored plan cannot be read or does not fit the store it is run on."""


class VerificationFailed(InputError):
    """What was written or published is not what the plan says; nothing new was made visible."""


class UnsafeStore(InputError):
    """The store does not honour the conditional writes that a safe publish needs."""


# -- data quality (5) --------------------------------------------------------------------------


class RejectLimitExceeded(BriquetteError):
    """More records were rejected than the spec allows; nothing was published."""

    exit_code = EXIT_DATA_QUALITY


class DataQualityFailed(BriquetteError):
    """Too many records have a critical error; they are in quarantine and the published dataset stays."""

    exit_code = EXIT_DATA_QUALITY

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"DQ_FAILED: {message}", hint=hint)


# -- nothing to do (3) -------------------------------------------------------------------------


class NoRawData(BriquetteError):
    """A stage found nothing to read; nothing was written."""

    exit_code = EXIT_EMPTY

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"NO_RAW_DATA: {message}", hint=hint)


class NoPrices(BriquetteError):
    """There are no published prices to compute indicators from; nothing was written."""

    exit_code = EXIT_EMPTY

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(f"NO_INPUT_DATA: {message}", hint=hint)


# -- worth a retry (1) -------------------------------------------------------------------------


class SourceChanged(BriquetteError):
    """A raw object changed or vanished after it was listed."""


class StoreError(BriquetteError):
    """The object store failed after the bounded retries."""


class NotFound(StoreError):
    """An object that must exist does not."""


class NoDataset(NotFound):
    """There is no published dataset, or no file, where the caller names one."""

    exit_code = EXIT_USAGE


class PreconditionFailed(StoreError):
    """A conditional request was refused: the object is not in the state the caller saw."""


class PublishConflict(BriquetteError):
    """Another run published the same partition first."""


class SnapshotChanged(BriquetteError):
    """A published dataset was replaced while it was read."""


class WorkerLost(BriquetteError):
    """The executor lost workers or its scheduler before every split was done."""


class OutOfMemory(BriquetteError):
    """There was not enough memory for a raw object; the object itself may be fine."""


class Interrupted(BriquetteError):
    """The run was asked to stop (SIGTERM or Ctrl-C); nothing was published."""


# -- places, copies and versions -----------------------------------------------------------------


class PlacesOverlap(UsageError):
    """Input and output are one place, or one lies inside the other so that a run would meet itself (C1.5)."""


class UnsupportedTable(InputError):
    """The input is the folder of a Delta, Iceberg or Hudi table, whose files are not its rows (C1.6)."""


class UpgradeNeeded(InputError):
    """A manifest or plan was written by a newer version, in a form that this one cannot read."""


# -- refused by a store (6) --------------------------------------------------------------------


class StoreRefused(StoreError):
    """A store will say the same however often and from wherever it is asked; somebody has to fix it."""

    exit_code = EXIT_REFUSED


class AccessDenied(StoreRefused):
    """The keys are wrong, expired or missing, or their owner may not do this; on disk: no permission."""


class NoSuchBucket(StoreRefused):
    """The bucket does not exist."""


class NoSpace(StoreRefused):
    """The disk, the quota or the server's storage is full."""
