"""``python -m phonecv``: the same command line as ``phonecv``."""

import sys

from phonecv.cli import main

if __name__ == "__main__":
    sys.exit(main())
