"""What must hold after every run, stated once for examples, properties, faults and conformance."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from briquette.model import Location, Manifest
from briquette.publishing.snapshot import observe
from briquette.storage.interface import Store


def assert_conserves(manifest: Manifest, root: Path | None = None) -> None:
    """C7: records = rows + rejects + duplicates, in each split, in total and in the footers under ``root``.

    ``root`` is the local folder that the manifest's keys are relative to; without one no footer is read.
    """
    assert manifest.records == manifest.rows + manifest.rejects + manifest.duplicates
    for split in manifest.splits:
        assert split.records == split.rows + split.rejects + split.duplicates, split
        assert split.records == sum(split.object_records), split
    for count in ("records", "rows", "rejects", "duplicates", "duplicate_json_keys"):
        assert sum(getattr(split, count) for split in manifest.splits) == getattr(manifest, count), count
    assert sum(file.rows for file in manifest.files) == manifest.rows
    groups = sum(split.row_groups for split in manifest.splits)
    assert sum(file.row_groups for file in manifest.files) == groups
    assert (manifest.rejects_file is not None) == (manifest.rejects > 0)
    if root is None:
        return
    for file in manifest.files:
        footer = pq.read_metadata(root / file.key)
        assert (footer.num_rows, footer.num_row_groups) == (file.rows, file.row_groups), file
        assert (root / file.key).stat().st_size == file.size_bytes, file


def assert_only_parts_are_visible(dataset: Path) -> None:
    """C13: a lister that skips names with ``_`` or ``.`` sees parts, numbered without a gap, and no more."""
    seen = visible_files(dataset)
    assert seen == [f"part-{i:05d}.parquet" for i in range(len(seen))], seen


def visible_files(dataset: Path) -> list[str]:
    """Paths below ``dataset`` that Spark, Athena or a crawler would read, sorted."""
    found = (p.relative_to(dataset) for p in dataset.rglob("*") if p.is_file())
    return sorted(p.as_posix() for p in found if not any(s.startswith(("_", ".")) for s in p.parts))


def snapshot(root: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file below ``root``: its bytes, when it was written, and which file it is."""
    files = (p for p in root.rglob("*") if p.is_file())
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns, p.stat().st_ino) for p in files}


def stands(store: Store, output: Location) -> bool:
    """Whether the published files are the very ones of the manifest, by their etags; a copy's are not."""
    standing = observe(store, output).standing(store)
    return standing is not None and not standing.copied
