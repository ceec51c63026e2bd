"""What travels between agents and hub, and how it arrives: shapes, channels, codec, bus and delivery.

Start with `channels.py` (what travels where), then `delivery/` (how nothing is lost).
"""
