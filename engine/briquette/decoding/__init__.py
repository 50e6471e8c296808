"""How raw bytes become rows: a reader of each format, for ``briquette.decoding.decode`` and inference."""
