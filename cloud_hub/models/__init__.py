"""Models for devices: `convert.py` has the forms of one made and judged; `converter.py` is the process that makes."""
