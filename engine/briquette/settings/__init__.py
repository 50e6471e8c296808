"""Environments and tables as TOML files, and the strict loader that reads them."""
