"""``python -m lib.ablate``: see ``lib.experiments.ablate``."""

import sys

from lib.experiments.ablate import main

if __name__ == "__main__":
    sys.exit(main())
