"""``python -m lib.release``: see ``lib.report.release``."""

import sys

from lib.report.release import main

if __name__ == "__main__":
    sys.exit(main())
