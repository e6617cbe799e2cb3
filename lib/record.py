"""``python -m lib.record``: see ``lib.data.record``."""

import sys

from lib.data.record import main

if __name__ == "__main__":
    sys.exit(main())
