"""Declared schemas, their type words and their limits."""
