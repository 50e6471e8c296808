"""What records look like: column names and kinds, from which every peer declares its own types.

The price record is the pipeline's own. The other two ask what width and nesting cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import CSV_COLUMNS, JSON_COLUMNS

TEXT, TIME, NUMBER, NUMBERS_LIST, QUOTE = "text", "time", "number", "numbers", "quote"
QUOTE_FIELDS = (("venue", TEXT), ("bid", NUMBER), ("ask", NUMBER))  # a struct of these


@dataclass(frozen=True, slots=True)
class Shape:
    """Columns in the order in which JSON records write them."""

    name: str
    columns: tuple[tuple[str, str], ...]

    @property
    def leaves(self) -> tuple[tuple[str, str], ...]:
        """Columns with structs taken apart: ``quote.bid``."""
        return tuple(
            leaf
            for name, kind in self.columns
            for leaf in (
                [(f"{name}.{inner}", of) for inner, of in QUOTE_FIELDS] if kind == QUOTE else [(name, kind)]
            )
        )

    @property
    def summed(self) -> tuple[str, ...]:
        """The leaves whose sums a row summary holds."""
        return tuple(name for name, kind in self.leaves if kind in (NUMBER, NUMBERS_LIST))

    def ordered(self, form: str) -> tuple[tuple[str, str], ...]:
        """Columns in the order of files of a format: CSV files of prices have an order of their own."""
        kinds = dict(self.columns)
        return tuple((name, kinds[name]) for name in CSV_COLUMNS) if form == "csv" else self.columns


def _kind(name: str) -> str:
    return {"symbol": TEXT, "timestamp": TIME}.get(name, NUMBER)


PRICES = Shape("prices", tuple((name, _kind(name)) for name in JSON_COLUMNS))
WIDE = Shape(
    "wide", (("symbol", TEXT), ("timestamp", TIME), *((f"factor_{i:03d}", NUMBER) for i in range(198)))
)
NESTED = Shape("nested", (("symbol", TEXT), ("timestamp", TIME), ("sizes", NUMBERS_LIST), ("quote", QUOTE)))
SHAPES = {shape.name: shape for shape in (PRICES, WIDE, NESTED)}

_TOML = {
    TEXT: "string not null",
    TIME: "timestamp[us, UTC] not null",
    NUMBER: "float64",
    NUMBERS_LIST: "list<float64>",
    QUOTE: "struct<venue: string, bid: float64, ask: float64>",
}


def as_toml(shape: Shape) -> str:
    """The shape as briquette's schema file."""
    lines = [f'name = "benchmark.{shape.name}"', "", "[columns]"]
    return "\n".join([*lines, *(f'{name} = "{_TOML[kind]}"' for name, kind in shape.columns), ""])
