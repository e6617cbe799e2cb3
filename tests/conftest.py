"""What pytest needs to know about the notebooks: warnings and progress bars on stderr are not results."""

from typing import Any


def pytest_collection_modifyitems(items: list[Any]) -> None:
    for item in items:
        if hasattr(item.parent, "skip_compare") and "stderr" not in item.parent.skip_compare:
            item.parent.skip_compare = (*item.parent.skip_compare, "stderr", "image/png")
