"""From a listing and a spec to a plan: a value without clock, host or worker count."""
