"""The complete example of lib/tasks/README.md as a folder, with more requests of its kind."""

import json
import re
from pathlib import Path

from lib.core import files
from lib.core.paths import ROOT
from lib.tasks.folder import FILES
from lib.tasks.from_tools import call

BEDS = ("Roses", "Herbs", "Kale Row", "Old Wall", "Beans")
WATER = (
    "{} needs {} minutes",
    "hose on at {} for {}",
    "sprinkle {}, {} minutes",
    "let {} have {} of rain",
    "wet {} {}",
)
SHADE = ("set the roof of {} to {}", "i want {} {}", "the roof over {} is {}", "could {} be {} please", "{} {} now")
NOTE = (
    "note buy string",
    "remember to call Ann",
    "put seeds on the list",
    "forget not: fix the gate",
    "keep in mind moles",
)
NOTHING = ("what time is it", "sing me a song", "hello there", "do you like tomatoes", "who won")


def folder(path: Path) -> Path:
    text = (ROOT / "lib" / "tasks" / "README.md").read_text(encoding="utf-8")
    tools, lines, code = re.findall(r"```(?:json|python)\n(.*?)```", text, re.DOTALL)
    for i in range(5):
        bed, other, roof = BEDS[i], BEDS[i - 2], ("open", "closed")[i % 2]
        said = {NOTHING[i]: [], NOTE[i]: [call("Note", text=" ".join(NOTE[i].split()[-2:]))]}
        said[WATER[i].format(bed.lower(), 5 + 7 * i)] = [call("Water", bed=bed, minutes=5 + 7 * i)]
        said[SHADE[i].format(other, roof)] = [call("Shade", bed=other, roof=roof)]
        lines += "".join(json.dumps({"text": t, "beds": [bed, other], "calls": c}) + "\n" for t, c in said.items())
    for name, content in zip(FILES, (tools, lines, code), strict=True):
        files.write_text(path / name, content)
    return path
