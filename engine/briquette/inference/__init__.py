"""A declared schema from raw data: over all records, never a sample (C4)."""
