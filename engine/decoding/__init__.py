"""The pieces behind ``engine.decode``: nothing outside this package but that door imports them."""
