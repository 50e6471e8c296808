"""The commands of ``briquette``, and how they speak."""
