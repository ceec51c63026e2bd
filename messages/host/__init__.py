"""What both programs need of the machine they run on: its clocks, its log, and a folder of their own."""
