"""The commands of ``briquette`` that do not fit into one module with the others."""
