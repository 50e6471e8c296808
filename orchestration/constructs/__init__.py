"""The parts of the stacks, each named by what it is for."""
