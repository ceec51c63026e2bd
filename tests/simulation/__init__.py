"""A seeded world on virtual time that runs the very cores of agent and hub, and breaks everything around them.

`world.py` is the story, `network.py` the broker that loses, doubles and delays, `devices.py` and `cloud.py` carry what
the cores decide, `checks.py` closes the books. `scripts/simulate` runs it.
"""
