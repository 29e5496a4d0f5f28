"""``python -m hitl_operator.cluster``."""

import sys

from hitl_operator.cluster.main import main

if __name__ == "__main__":
    sys.exit(main())
