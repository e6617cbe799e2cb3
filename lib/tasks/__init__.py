"""The tasks of this study, one sub-package each; ``from_tools`` makes a task from its tools.

See ``lib.core.task`` for what a task provides.

>>> load("home").name
'home'
"""

import importlib
import pkgutil

from lib.core.task import StudyTask, TaskError


def available() -> list[str]:
    """Names of the tasks in ``lib/tasks``."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg)


def load(name: str) -> StudyTask:
    """The task ``lib.tasks.<name>``, or that of a module by its dotted name. Raises TaskError for an unknown one."""
    if "." in name:
        return importlib.import_module(name).TASK
    if name not in available():
        raise TaskError(f"unknown task '{name}': use one of {', '.join(available())}, or add lib/tasks/{name}/")
    return importlib.import_module(f"lib.tasks.{name}").TASK
