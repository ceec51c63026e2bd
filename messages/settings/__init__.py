"""Settings of both programs: a TOML file read into a frozen struct, every mistake named with its place."""
