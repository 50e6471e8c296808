"""The compiled part of the template scan: the only door to numba."""
