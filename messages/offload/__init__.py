"""The offload policy: what a hub fits and ships, an agent runs, and the arithmetic that both must do alike."""
