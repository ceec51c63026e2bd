"""What runs the small model: `protocol.py` says what an engine is, `load.py` finds the one for a model file."""
