"""Declared schemas, their column types and their limits."""
