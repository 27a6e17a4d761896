"""`python -m gradpm`, the same as `gradpm`."""

import sys

from gradpm.cli import main

if __name__ == "__main__":
    sys.exit(main())
