"""``python -m lib.label``: see ``lib.data.label``."""

from lib.data.label import main

if __name__ == "__main__":
    raise SystemExit(main())
