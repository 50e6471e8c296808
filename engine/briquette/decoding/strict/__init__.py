"""The record readers: the one meaning of JSON and CSV text."""
