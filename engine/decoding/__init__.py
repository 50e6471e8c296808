"""How raw bytes become rows: a reader of each format, for ``engine.decode`` and inference."""
