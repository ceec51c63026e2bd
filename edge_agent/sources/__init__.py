"""Where samples come from: iterators of the user's own, each run in its own thread (`feed.py`)."""
