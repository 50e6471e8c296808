"""The steps of ``engine.publish``: where things lie, what is there, and how it is replaced."""
