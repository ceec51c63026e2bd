"""The program on the device: runs a small model, decides which samples are hard, and sends those to the hub."""
