"""From the kernel's source to machine code, compiled once for a machine and then loaded."""
