"""What the hub keeps. `protocol.py` says what the cores need; `database.py` is SQLite through sqlite-utils."""
