"""The steps behind ``engine.publish``; import that, not these."""
