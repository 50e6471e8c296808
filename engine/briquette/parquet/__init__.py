"""Surgery on finished Parquet bytes. Standard library only, so no library can change a byte."""
