"""What `scripts/demo` shows, one folder a demo. `digits` is the main job: joint inference, with everything breaking."""
