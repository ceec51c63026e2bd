"""What both programs need of the machine they run on: clock, log, signals, and a folder of their own."""
