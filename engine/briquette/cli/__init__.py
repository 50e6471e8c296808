"""The ``briquette`` command: parse, one call, print."""
