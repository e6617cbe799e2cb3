"""The tasks of this study, one sub-package each; ``from_tools`` makes a task from its tools, ``folder`` from a folder.

See ``lib.core.task`` for what a task provides.

>>> load("home").name
'home'
"""

import importlib
import pkgutil

from lib.core import paths
from lib.core.task import StudyTask, TaskError


def available() -> list[str]:
    """Names of the tasks in ``lib/tasks``."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.ispkg)


def load(name: str) -> StudyTask:
    """The task ``lib.tasks.<name>`` or ``tasks/<name>``, or that of a module by its dotted name. Raises TaskError.

    A model's file names its task by ``name``, so that must be what this takes.
    """
    if name.isidentifier() and name not in available() and (paths.TASKS / name / "tools.json").is_file():
        return importlib.import_module("lib.tasks.folder").Folder(name)
    if "." not in name and name not in available():
        raise TaskError(f"unknown task '{name}': use one of {', '.join(available())}, or bring it (make new-task)")
    try:
        task: StudyTask = importlib.import_module(name if "." in name else f"lib.tasks.{name}").TASK
    except (ImportError, AttributeError, TypeError) as error:
        raise TaskError(f"task '{name}': {error}: name a module that can be imported here and has a TASK") from error
    if task.name != name:
        raise TaskError(f"task '{name}': its TASK has the name '{task.name}': call it '{name}', as its models will")
    return task
