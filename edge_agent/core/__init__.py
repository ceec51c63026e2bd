"""The agent without time, network and disk: messages and ticks in, messages and predictions out."""
