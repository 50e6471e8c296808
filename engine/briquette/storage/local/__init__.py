"""Local disk as an object store."""
