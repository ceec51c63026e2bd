"""Which samples are hard: rules that decide from the edge model's result alone (`rules.py`)."""

from edge_agent.policies.rules import Decision, Policy, cloud_only, cross_entropy, edge_only, ibt, random, threshold

__all__ = ["Decision", "Policy", "cloud_only", "cross_entropy", "edge_only", "ibt", "random", "threshold"]
