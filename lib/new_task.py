"""Brings a task of one's own: ``python -m lib.new_task --name x --from FOLDER`` (or make new-task NAME=x FROM=FOLDER).

All is checked first. Then the folder's files are copied to tasks/x, and params/x gets the parameters of the task
intents, with CHANGES (regular expressions); those that are there are kept. lib/tasks/README.md explains the folder.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.core import files, paths
from lib.core.task import TaskError
from lib.tasks import available
from lib.tasks.folder import FILES, Folder

TEMPLATES = paths.ROOT / "params" / "intents"
CHANGES = {
    r"; CLINC150 .*? weights\.": ".",
    r"\bintents\b": "{name}",
    r"human_speech: .*\n": "",
    r"seeds: \d{{4,}}  .*": "seeds: 6000  # training requests: the user's and variants of them, at most",
    r"(dev|test): \d{{3,}}": r"\1: 300",
    r"demo: .*": 'demo: ""',
    r"llm_tool_tokens: \d+": "llm_tool_tokens: {tokens}",
    r"(repeats|pool_shares): .*": r"\1: {{}}",
    r"max_new: \d+": "max_new: 64",
}


def bring(name: str, folder: Path) -> str:
    """Checks, then writes; says what. Raises TaskError or RecordError with file, line and remedy."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in (*available(), *paths.profiles()):
        raise TaskError(f"NAME={name}: use small letters, digits and '_', and no name of a task or profile")
    n, tools = len((task := Folder(name, folder)).said), task.tools()
    with files.replacing(paths.TASKS / name) as part:
        part.mkdir()
        for path in [folder / file for file in FILES if (folder / file).exists()]:
            shutil.copy(path, part)
    given = {"name": name, "tokens": len(json.dumps(tools)) // 4}
    for template in TEMPLATES.rglob("*.yaml"):
        text, path = template.read_text(encoding="utf-8"), paths.PARAMS / name / template.relative_to(TEMPLATES)
        for pattern, new in CHANGES.items():
            text = re.sub(pattern.format(**given), new.format(**given), text)
        if not path.exists():
            files.write_text(path, text)
    return f"{name}: {len(tools)} tools, {n} requests; now: make reproduce TASK={name} PROFILE=cpu"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if the task was written, 1 with one line on stderr otherwise."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--from", required=True, type=Path, dest="folder", help=f"with {', '.join(FILES)}")
    options = parser.parse_args(arguments)
    try:
        print(bring(options.name, options.folder))
    except (ValueError, OSError) as error:
        print(f"new-task: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
