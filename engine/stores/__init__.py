"""The stores behind ``engine.store``; import that, not these."""
