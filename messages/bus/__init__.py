"""The network behind one small protocol: `protocol.py`, with MQTT (`mqtt.py`) and an in-memory double (`memory.py`)."""
