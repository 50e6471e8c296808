"""The steps of ``briquette.publishing.publish``: where things lie, what is there, and how it is replaced."""
