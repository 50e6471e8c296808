"""The scripts of the Glue jobs: arguments, one call of briquette, commit."""
