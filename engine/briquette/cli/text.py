"""What a person reads: progress on stderr, a run in a few lines, tables of plans, files and findings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from briquette.model import Status

if TYPE_CHECKING:
    from briquette.compaction.result import CompactionResult
    from briquette.datasets.inspect import Inspection
    from briquette.datasets.verify import Verdict
    from briquette.inference.infer import Inferred

LABEL_WIDTH = 12


# -- progress ------------------------------------------------------------------------------------


class Progress:
    """A progress bar on stderr while a run maps its splits; nothing at all where stderr is no terminal."""

    def __init__(self, *, shown: bool, what: str) -> None:
        self._what = what
        self._shown = shown and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("splits"),
            )
            read, elapsed = TextColumn("{task.fields[read]} read"), TimeElapsedColumn()
            self._bar = Bar(*columns, read, elapsed, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=None, read=size_text(0))
            self._bar.start()
        return self

    def __call__(self, done: int, total: int, raw_bytes: int) -> None:
        """A ``compaction.Progress``."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, read=size_text(raw_bytes))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


# -- parts of lines ---------------------------------------------------------------------------------------


def size_text(size_bytes: float) -> str:
    """Bytes for a reader.

    >>> size_text(999), size_text(1_536_000), size_text(268_435_456)
    ('999 B', '1.5 MB', '268.4 MB')
    """
    size, unit = float(size_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1_000:
            break
        size, unit = size / 1_000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def plural(count: int, noun: str) -> str:
    """``1 part``, ``2 parts``, with separators in long numbers."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def rows_of(pairs: list[tuple[str, str]]) -> str:
    """Labels and values in two columns."""
    width = max([LABEL_WIDTH, *(len(label) for label, _ in pairs)])
    return "\n".join(f"  {label:<{width}}  {value}" for label, value in pairs)


def table_of(header: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    """A plain table; columns whose values are all numbers stand to the right."""
    if not lines:
        return ""
    widths = [max(len(row[i]) for row in (header, *lines)) for i in range(len(header))]
    right = [all(line[i][:1].isdigit() or line[i] == "" for line in lines) for i in range(len(header))]

    def row(cells: tuple[str, ...]) -> str:
        parts = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
        return ("  " + "  ".join(parts)).rstrip()

    return "\n".join([row(header), row(tuple("-" * w for w in widths)), *(row(line) for line in lines)])


# -- documents -----------------------------------------------------------------------------------


def result_text(result: CompactionResult) -> str:
    """The summary of a compaction."""
    head = f"{result.status.value}  {result.partition}  in {result.seconds:.2f} s ({result.executor})"
    if result.status is Status.EMPTY or result.manifest is None:
        return f"{head}\n  {result.message}"
    made = result.manifest
    pairs = [
        ("raw", f"{plural(result.raw_objects, 'object')}, {size_text(result.raw_bytes)}  {made.raw}"),
        ("dataset", f"{_parts(made.files)}  {result.output}"),
        ("rows", f"{made.rows:,} of {plural(made.records, 'record')}"),
    ]
    if made.rejects:
        where = f"{result.output.url.rstrip('/')}/{made.rejects_file.key}" if made.rejects_file else ""
        pairs.append(("rejects", f"{made.rejects:,}  {where}"))
    if made.duplicates:
        pairs.append(("duplicates", f"{made.duplicates:,} removed"))
    if made.extra_fields:
        named = ", ".join(f"{name} ({count:,})" for name, count in made.extra_fields[:8])
        more = f" and {len(made.extra_fields) - 8} more" if len(made.extra_fields) > 8 else ""
        pairs.append(("extra fields", f"{made.spec.extra_fields.value}: {named}{more}"))
    if made.duplicate_json_keys:
        pairs.append(
            ("repeated keys", f"{plural(made.duplicate_json_keys, 'record')}; the last value was taken")
        )
    if result.why and result.status is Status.PUBLISHED:
        pairs.append(("why", result.why))
    if result.status is Status.UNCHANGED and result.message:
        pairs.append(("note", result.message))
    pairs += [("warning", sentence) for sentence in made.warnings]
    if result.splits_reused and result.status is Status.PUBLISHED:
        pairs.append(
            ("reused", f"{result.splits_reused:,} of {plural(result.splits, 'split')} not decoded again")
        )
    pairs.append(("digest", made.content_digest))
    return f"{head}\n{rows_of(pairs)}"


def _parts(files: Any) -> str:
    return f"{plural(len(files), 'part')}, {size_text(sum(f.size_bytes for f in files))}"


def plan_text(summary: dict[str, Any]) -> str:
    """The answer of ``briquette plan``."""
    predicted, inputs = summary["predicted"], summary["inputs"]
    names = "/".join(v for v in summary["partition"].values() if v) or "dataset"
    pairs = [
        ("raw", f"{plural(inputs['objects'], 'object')}, {size_text(inputs['bytes'])}  {summary['raw']}"),
        ("dataset", summary["output"]),
        ("splits", f"{summary['splits']:,}"),
        (
            "predicted",
            (
                f"about {plural(predicted['parts'], 'part')}, {size_text(predicted['bytes'])} "
                f"(target {size_text(summary['target_part_bytes'])}, {summary['codec']}), "
                f"memory up to {size_text(predicted['memory_bytes'])}"
            ),
        ),
        ("plan", summary["plan_id"]),
    ]
    if summary["why"]:
        pairs.append(("why", summary["why"]))
    pairs += [("warning", sentence) for sentence in summary["warnings"]]
    if summary["batch_manifest_objects"]:
        pairs.insert(
            1, ("manifest", f"{plural(summary['batch_manifest_objects'], 'object')} listed and found")
        )
    if summary["plan_file"]:
        pairs.append(
            (
                "written to",
                f"{summary['plan_file']}  (run it: briquette compact --plan {summary['plan_file']})",
            )
        )
    return f"{summary['state']}  {names}\n{rows_of(pairs)}"


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    """``verify --json``."""
    made = verdict.dataset.manifest
    return {
        "ok": verdict.ok,
        "deep": verdict.deep,
        "dataset": str(verdict.dataset.output),
        "rows": made.rows,
        "rejects": made.rejects,
        "parts": len(made.files),
        "content_digest": made.content_digest,
        "problems": list(verdict.problems),
        "copy": verdict.copied,
        "notes": list(verdict.notes),
    }


def verdict_text(verdict: Verdict) -> str:
    """The answer of ``briquette verify``."""
    made = verdict.dataset.manifest
    place = str(verdict.dataset.output)
    if not verdict.ok:
        found = "\n".join(f"  - {problem}" for problem in verdict.problems)
        return f"NOT OK  {place}\n{found}\n  next: {verdict.next}"
    how = (
        "every row compared with the raw objects" if verdict.deep else "sizes, checksums, footers and schema"
    )
    notes = "".join(f"\n  {note}" for note in verdict.notes)
    return f"OK  {place}\n  {_parts(made.files)}, {plural(made.rows, 'row')}: {how}{notes}"


def inferred_document(inferred: Inferred, text: str) -> dict[str, Any]:
    """``infer --json``."""
    columns = [{"name": f.name, "type": f.type, "nullable": f.nullable} for f in inferred.schema.fields]
    return {
        "name": inferred.schema.name,
        "columns": columns,
        "objects": inferred.objects,
        "records": inferred.records,
        "rejects": inferred.rejects,
        "left_out": list(inferred.left_out),
        "warnings": list(inferred.warnings),
        "toml": text,
    }


def inspection_text(found: Inspection) -> str:
    """The answer of ``briquette inspect``."""
    out = [f"{found['kind']}  {found['url']}"]
    manifest = found.get("manifest")
    if manifest:
        out.append(rows_of([(k, str(v)) for k, v in manifest.items()]))
    if found.get("copy"):
        out.append(
            "  a copy: other etags than the manifest says; sizes, rows and row groups are compared, bytes not"
        )
    files = [
        (f["key"], size_text(f["bytes"]), f"{f['rows']:,}", f"{f['row_groups']:,}", f["sha256"][:16])
        for f in found["files"]
    ]
    out.append(table_of(("file", "size", "rows", "row groups", "sha256"), files))
    columns = [
        (
            c["name"],
            c["type"],
            "" if c["nullable"] else "not null",
            c["codec"],
            c["encodings"],
            size_text(c["compressed_bytes"]),
            size_text(c["uncompressed_bytes"]),
        )
        for c in found["columns"]
    ]
    out.append(table_of(("column", "type", "", "codec", "encodings", "stored", "plain"), columns))
    groups = found["row_groups"]
    if groups:
        rows, sizes = [g["rows"] for g in groups], [g["bytes"] for g in groups]
        out.append(
            f"  {plural(len(groups), 'row group')}: {min(rows):,} to {max(rows):,} rows, "
            f"{size_text(min(sizes))} to {size_text(max(sizes))}"
        )
    return "\n\n".join(out)


def examination_text(found: dict[str, Any]) -> str:
    """The answer of ``briquette doctor``."""
    out = ["OK" if found["ok"] else "NOT OK", rows_of([(k, str(v)) for k, v in found["machine"].items()])]
    out.append(rows_of([(k, str(v)) for k, v in found["libraries"].items()]))
    for place in found["stores"]:
        broken = place.get("broken", {})
        lines = [
            (name, {True: "yes", False: "NO"}.get(value, str(value)) + f"  {broken.get(name, '')}".rstrip())
            for name, value in place["honours"].items()
        ]
        out.append(f"{place['url']}  {place['verdict']}\n{rows_of(lines)}")
    return "\n\n".join(out)
