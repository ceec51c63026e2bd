"""`python -m edge_agent.cli`: the command without an install."""

import sys

from edge_agent.cli import main

sys.exit(main())
