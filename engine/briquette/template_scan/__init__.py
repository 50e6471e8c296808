"""The parts of the template scan: what it learns, what it compiles, what it hands back."""
