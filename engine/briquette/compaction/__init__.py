"""A run: list, plan, map over splits, pack, verify, publish."""
