"""What a mask search leaves on disk: a line a step, and the logits that a killed search goes on from.

>>> log = SearchLog(Path("search"), key)                                                # doctest: +SKIP
>>> len(log.rows), sorted(log.logits)                                                   # doctest: +SKIP
(60, ['channels', 'groups', 'layers'])
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lib.compression.masks import Parts
from lib.compression.prune import PruneError
from lib.core.files import Row, write_text
from lib.training.log import read_steps

COLUMNS = ("step", "reward", "exact", "likelihood", "entropy", "tokens", "seconds")


class SearchLog:
    """``steps.csv`` and, in ``state.safetensors``, the logits after its last step; nothing on disk without a folder.

    ``rows`` and ``logits`` are those of the steps done so far, earlier runs included; none of a new search.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        """``key``: all that the search depends on. Raises PruneError if the folder holds another one, or damage."""
        self.folder, self.key = folder, key
        self.logits: Parts = {}
        self.rows: list[Row] = []
        if folder is not None and (folder / "state.safetensors").is_file():
            self._read(folder)

    @property
    def seconds(self) -> float:
        return float(self.rows[-1]["seconds"]) if self.rows else 0.0

    def _read(self, folder: Path) -> None:
        try:
            with safe_open(folder / "state.safetensors", "pt") as state:
                mark = state.metadata() or {}
                self.logits = {name: state.get_tensor(name) for name in state.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise PruneError(f"{folder}: damaged ({error}): delete this folder to start anew") from error
        if mark.get("key") != self.key:
            raise PruneError(
                f"{folder}: holds a search of another student, shape, parameters or examples; "
                "delete this folder to start anew, or put the old values back to go on"
            )
        self.rows = [row for row in read_steps(folder / "steps.csv") if row["step"] <= int(mark["step"])]

    def add(self, row: Row, logits: Parts) -> None:
        """Ends a step. The state is written after the line, so that there is never a state without its line."""
        self.logits = logits
        self.rows.append({name: row[name] for name in COLUMNS})
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(self.rows, columns=COLUMNS)
        write_text(self.folder / "steps.csv", table.to_csv(index=False))
        part = self.folder / "state.safetensors.part"
        save_file({name: value.contiguous() for name, value in logits.items()}, part, self._mark(row["step"]))
        part.replace(self.folder / "state.safetensors")

    def _mark(self, step: int) -> dict[str, str]:
        return {"key": self.key, "step": str(step)}
