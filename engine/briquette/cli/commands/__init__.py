"""The commands of ``briquette``."""
