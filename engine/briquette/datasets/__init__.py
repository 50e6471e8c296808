"""What is published: read it, verify it, look at what it is made of."""
