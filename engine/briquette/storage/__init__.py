"""Objects under keys: local disk, S3 and memory behind one interface."""
