"""`python -m cloud_hub.cli`: the command without an install."""

import sys

from cloud_hub.cli import main

sys.exit(main())
