"""Lanes that take many lines at once and must agree with the record readers."""
