"""Raw days that can be made again, peers that do the same work, and a suite that runs them side by side."""

from __future__ import annotations

# The price record as ingestion writes it: JSON keys in one order, CSV columns in another.
JSON_COLUMNS = ("symbol", "timestamp", "adjusted_close", "open", "high", "low", "close", "volume")
CSV_COLUMNS = ("symbol", "timestamp", "open", "high", "low", "close", "adjusted_close", "volume")
NUMBERS = ("adjusted_close", "open", "high", "low", "close", "volume")
