"""`python -m multi`."""

import sys

from multi.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
