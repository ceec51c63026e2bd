"""What the hub says over HTTP."""
