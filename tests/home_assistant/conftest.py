"""What is here needs Home Assistant's Python: ``python -m pytest`` of this project leaves it out."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("homeassistant") else ["*"]
