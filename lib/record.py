"""``python -m lib.record``: see ``lib.data.record``."""

from lib.data.record import main

if __name__ == "__main__":
    raise SystemExit(main())
