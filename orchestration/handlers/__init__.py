"""Lambda handlers: parse, one call, serialise. They import only what a cold start can pay for."""
