"""Bytes to text and lines: compression, formats, where records lie."""
