"""Rows to finished Parquet row groups, and the digest of the rows."""
