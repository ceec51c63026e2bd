"""Models: `registry.py` knows them, `files.py` keeps their files; `convert.py` makes forms of one and judges them."""
