"""Handwritten digits on three devices, a hub with a bigger model, and a storm of kills and cuts in the middle.

`prepare.py` trains both models, `big.py` and `device.py` are the plug-ins that a user would write, `fleet.py` runs the
processes, `link.py` is the link that gets cut, `audit.py` closes the books, `report.py` prints what came of it.
"""
