"""The compiled part of the template scan: the only package that imports numba."""
