"""Requests to a file system: the tools of the Berkeley Function Calling Leaderboard, carried out by its own class.

Requests to learn from are this project's (``requests``). The benchmark's turns are tests only, scored more strictly
than by itself: no call too many, and the user ends in the same folder. Published: FunctionGemma-270M 9.9% before and
96.0% after distillation from a teacher of 120B weights, which has 97.0%, on its authors' requests for these functions.
"""

import json
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Annotated, Any

from pydantic import BaseModel, Field
from typing_extensions import TypeAliasType

from lib.core import files
from lib.core.task import Call, Example
from lib.tasks.compact import Refs, Thing
from lib.tasks.files import grammar, requests, system
from lib.tasks.from_tools import KEY, FromTools
from lib.tasks.notation import MAX_STRING, clean
from lib.tasks.tools import TEXT, integer, reference, task_checked

_KNOWN = {  # what this task knows of arguments beside the tools' documents
    **dict.fromkeys(("file_name", "file_name1", "file_name2"), reference("files", new=True)),
    **dict.fromkeys(("folder", "path", "destination", "rmdir dir_name"), reference("folders", new=True)),
    **dict.fromkeys(("source", "rm file_name"), reference("files folders", new=True)),
    **dict.fromkeys(("touch file_name", "mkdir dir_name", "content", "pattern", "name"), TEXT),
    "lines": integer(1, 999),
    "mode": {"enum": ["l", "w", "c"]},
}
_ALWAYS = [grammar.UP, grammar.ROOT]  # folders in every context

_Name = Annotated[str, Field(min_length=1, max_length=MAX_STRING, pattern=r"^[^/]+$")]
_Tree: Any = TypeAliasType("_Tree", "dict[_Name, str | _Tree]")


class _Context(BaseModel, strict=True, extra="forbid"):
    root: str = Field("/", min_length=1)
    tree: _Tree
    at: str = ""
    last: list[str] = []


def _schema(name: str, description: str, parameters: dict[str, Any], **_: Any) -> dict[str, Any]:
    """The schema of a tool by its document in the benchmark."""
    given = parameters["properties"]
    kinds = {k: _KNOWN.get(f"{name} {k}") or _KNOWN.get(k) or {"type": v["type"]} for k, v in given.items()}
    properties = {k: {**kind, "description": clean(given[k]["description"])} for k, kind in kinds.items()}
    body = {"type": "object", "properties": properties, "required": parameters["required"]}
    said = clean(description.partition("Tool description: ")[2])
    return {"type": "function", "function": {"name": name, "description": said, "parameters": body}}


class Files(FromTools):
    name = "files"
    schemas = [_schema(**row) for row in system.rows("multi_turn_func_doc/gorilla_file_system")]

    def examples(self, rng: Random, split: str) -> Iterator[Example]:
        return requests.examples(rng, held_out=split != "train")

    def controls(self) -> list[str]:
        return [*super().controls(), f"={grammar.FOLDER}", "=last"]

    def context(self, row: Mapping[str, Any], where: str = "request") -> dict[str, Any]:
        given = {key: value for key, value in row.items() if key not in ("id", "text", KEY)}
        found: dict[str, Any] = task_checked(_Context, given, where).model_dump()
        system.after(found, [])
        return found

    def things(self, context: dict[str, Any]) -> Mapping[str, Sequence[str]]:
        items = [item for _, folder in system.folders(context["tree"]) for item in folder.items()]
        named = [sorted({name for name, item in items if isinstance(item, kind)}) for kind in (str, dict)]
        return {"files": named[0], "folders": _ALWAYS + named[1]}

    def described(self, context: Mapping[str, Any]) -> str:
        """Where the user is, what each folder holds, and what was used last."""
        listed = {"/".join([context["root"], *path]): [*folder] for path, folder in system.folders(context["tree"])}
        here = "/".join([context["root"], context["at"]]).rstrip("/")
        return json.dumps({"the user is in": here, "folders": listed, "last used": context["last"]}, ensure_ascii=False)

    def references(self, context: dict[str, Any], text: str = "", rng: Random | None = None) -> Refs:
        """The things folder by folder under its path, the user's folder first, and at the end what was used last."""
        known = {(t.kind, t.name): t for t in super().references(context, text, rng)}
        found = [t for key, t in known.items() if key[1] in _ALWAYS]
        for path, folder in sorted(system.folders(context["tree"]), key=lambda f: "/".join(f[0]) != context["at"]):
            found.append(Thing("", grammar.FOLDER, "/".join([context["root"], *path])))
            keys = [("files" if isinstance(item, str) else "folders", name) for name, item in folder.items()]
            found += sorted((known[key] for key in keys if key in known), key=lambda t: (len(t.code), t.code))
        return *found, *(Thing("", "last", name) for name in context["last"])

    def grammar(self, refs: Refs) -> str:
        """Of calls that can be carried out, where the prompt shows the whole tree."""
        whole = max(Counter(t.kind for t in {*refs}).values()) < self.most
        return grammar.executable(self.arguments, refs) if whole else super().grammar(refs)

    def effects(self, context: dict[str, Any], calls: list[Call]) -> Hashable:
        """The tree, the user's folder, and what calls that only read have printed, in any order."""
        left, printed = system.after(context, calls)
        return json.dumps([left["tree"], left["at"], sorted(printed)], sort_keys=True)

    def third_party(self, path: Path) -> dict[str, list[Example]]:
        """Turns of the benchmark; where miss_param says too little, nothing is to be done. ``path`` is not read."""
        known = {name: [a.name for a in own] for name, own in self.arguments.items()}
        found: dict[str, list[Example]] = {"bfcl_base": [], "bfcl_miss_param": []}
        for name, examples in found.items():
            for key, said, context, calls in system.turns(name.removeprefix("bfcl_"), known):
                if bool(calls) == (name == "bfcl_base"):
                    keyed, level = {**context, KEY: files.digest(context)[:16]}, f"F{min(len(calls), 3)}"
                    examples.append(Example(key, said, keyed, [calls], level, name, "third_party"))
        return found


TASK = Files()
