"""``python -m lib.label``: see ``lib.data.label``."""

import sys

from lib.data.label import main

if __name__ == "__main__":
    sys.exit(main())
