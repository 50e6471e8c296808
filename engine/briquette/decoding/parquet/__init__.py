"""Rows of Parquet objects."""
