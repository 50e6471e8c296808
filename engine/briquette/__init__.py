"""briquette: many small raw files into one well-sized, verified Parquet dataset.

>>> import os, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> raw, curated = os.path.join(folder.name, "raw"), os.path.join(folder.name, "curated")
>>> os.mkdir(raw)
>>> for number in range(3):
...     with open(os.path.join(raw, f"{number}.json"), "w") as file:
...         _ = file.write('{"id": %d, "price": %d.5}' % (number, number))

What do the files hold, and what would be done?

>>> import briquette
>>> schema = briquette.infer(raw).schema
>>> [(field.name, field.type) for field in schema.fields]
[('id', 'int64'), ('price', 'float64')]
>>> plan = briquette.plan(input=raw, output=curated, schema=schema)
>>> len(plan.listing), len(plan.splits)
(3, 1)

Do it, look at it, read it:

>>> result = briquette.compact(input=raw, output=curated, schema=schema)
>>> result.status.value, result.manifest.rows
('PUBLISHED', 3)
>>> briquette.verify(curated, deep=True).ok
True
>>> [file["rows"] for file in briquette.inspect(curated)["files"]]
[3]
>>> briquette.read(curated).compute()["price"].sum()
np.float64(4.5)
>>> folder.cleanup()

All that is public is in ``dir(briquette)``; each name is fetched on first use, so that importing the package
loads nothing heavy. Errors are those of ``briquette.errors``, and all of them are ``BriquetteError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from briquette.version import __version__ as __version__

if TYPE_CHECKING:
    from briquette import errors as errors
    from briquette.compaction.api import compact as compact
    from briquette.compaction.api import plan as plan
    from briquette.compaction.options import RunOptions as RunOptions
    from briquette.compaction.result import CompactionResult as CompactionResult
    from briquette.datasets.infer import infer as infer
    from briquette.datasets.inspect import Inspection as Inspection
    from briquette.datasets.inspect import inspect as inspect
    from briquette.datasets.read import read as read
    from briquette.datasets.verify import Verdict as Verdict
    from briquette.datasets.verify import verify as verify
    from briquette.errors import BriquetteError as BriquetteError
    from briquette.inference.infer import Inferred as Inferred
    from briquette.model import ExtraFields as ExtraFields
    from briquette.model import Field as Field
    from briquette.model import Limits as Limits
    from briquette.model import Manifest as Manifest
    from briquette.model import OnEmpty as OnEmpty
    from briquette.model import Plan as Plan
    from briquette.model import PublishMode as PublishMode
    from briquette.model import Schema as Schema
    from briquette.model import Status as Status
    from briquette.schemas.declared import load_schema as load_schema

# Where each public name is defined. None of them may be called as a module beside this one: importing that
# module would put it in the place of the name.
_HOMES = {
    "BriquetteError": "briquette.errors",
    "CompactionResult": "briquette.compaction.result",
    "ExtraFields": "briquette.model",
    "Field": "briquette.model",
    "Inferred": "briquette.inference.infer",
    "Inspection": "briquette.datasets.inspect",
    "Limits": "briquette.model",
    "Manifest": "briquette.model",
    "OnEmpty": "briquette.model",
    "Plan": "briquette.model",
    "PublishMode": "briquette.model",
    "RunOptions": "briquette.compaction.options",
    "Schema": "briquette.model",
    "Status": "briquette.model",
    "Verdict": "briquette.datasets.verify",
    "compact": "briquette.compaction.api",
    "infer": "briquette.datasets.infer",
    "inspect": "briquette.datasets.inspect",
    "load_schema": "briquette.schemas.declared",
    "plan": "briquette.compaction.api",
    "read": "briquette.datasets.read",
    "verify": "briquette.datasets.verify",
}

__all__ = [
    "BriquetteError",
    "CompactionResult",
    "ExtraFields",
    "Field",
    "Inferred",
    "Inspection",
    "Limits",
    "Manifest",
    "OnEmpty",
    "Plan",
    "PublishMode",
    "RunOptions",
    "Schema",
    "Status",
    "Verdict",
    "__version__",
    "compact",
    "errors",
    "infer",
    "inspect",
    "load_schema",
    "plan",
    "read",
    "verify",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("briquette.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'briquette' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found  # asked for once
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
