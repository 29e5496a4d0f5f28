"""``python -m hitl_sidecar``."""

import sys

from hitl_sidecar.main import main

if __name__ == "__main__":
    sys.exit(main())
