"""What is deployed together: what must survive (storage), and what can be made anew (compute)."""
