"""The offload policy at work: three devices, a budget that changes, and a camera that goes bad.

`prepare.py` trains both models and makes the streams, `device.py` is the camera, `story.py` runs it in phases, and
`report.py` holds what the hub's tables say against what the devices wrote down.
"""
