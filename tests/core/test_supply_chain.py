"""What is installed is pinned by its hash and listed, nothing is unpickled, and no network is needed after set-up."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lib import sbom
from lib.core import notebook_files, paths
from lib.core.paths import ROOT
from lib.model import base
from lib.tasks.files import system

UNSAFE = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
OFFLINE = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))  # the loopback interface up
try:
    socket.create_connection(("192.0.2.1", 80), 5)
    sys.exit("the network is there")
except OSError:
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Starts a Python command where only the loopback interface is: kernels of notebooks need that."""


def pins() -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "requirements.txt").read_text("utf-8"), re.MULTILINE))


def test_the_lock_files_hold_every_pin_and_nothing_without_a_hash() -> None:
    found: dict[str, set[str]] = {}
    for name, version, hashes in sbom.locked():
        found.setdefault(name, set()).add(version)
        assert hashes and len(hashes) == len({*hashes}), name
    assert {k: found.get(k.lower().replace("_", "-")) for k in pins()} == {
        k: {v, f"{v}+cpu"} if k == "torch" else {v} for k, v in pins().items()
    }
    text = "".join((ROOT / name).read_text("utf-8") for name in sbom.LOCKS)
    assert len(sbom.PIN.findall(text)) == len(re.findall(r"^\S", text, re.MULTILINE)), "each entry has hashes"
    assert "://" not in text and not re.search(r"^\s*(-i|-f|--(?!hash))", text, re.MULTILINE), "no index is named"


def test_set_up_installs_by_the_lock_files_and_with_their_hashes(tmp_path: Path) -> None:
    done = subprocess.run(["make", "-n", "setup", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    installs = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert len(installs) == 2 and {name for name in sbom.LOCKS if any(name in line for line in installs)} == {
        *sbom.LOCKS
    }
    assert all(line.count("-r ") == line.count("--require-hashes") for line in installs)


def test_what_is_installed_here_is_what_the_lock_files_name() -> None:
    """Set-up installs nothing that is not locked: every dependency of a locked package is locked."""
    known = {name for name, _, _ in sbom.locked()}
    needed = set()
    for name in known:
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        needed |= {re.split(r"[^\w.-]", line)[0] for line in wanted if "extra ==" not in line and ";" not in line}
    assert {re.sub("[-_.]+", "-", name).lower() for name in needed} <= known


def test_the_bill_of_materials_is_that_of_the_lock_files() -> None:
    assert sbom.differences(paths.REPORTS / "sbom.json") == []
    parts = json.loads((paths.REPORTS / "sbom.json").read_text("utf-8"))["components"]
    assert all(part["licenses"] for part in parts)
    digests = {part["name"]: part.get("hashes", [{}])[0].get("content") for part in parts if "purl" not in part}
    assert digests["SmolLM2-135M-Instruct"] == base.WHEEL_SHA256
    assert digests["bfcl-eval"] == system.WHEEL[1]
    recorded = json.loads((ROOT / "lib/tasks/home/recordings/provenance.json").read_text("utf-8"))
    assert digests["Qwen2.5-Coder-1.5B-Instruct"] == recorded["model_sha256"]


def test_what_differs_in_the_bill_of_materials_is_named(tmp_path: Path) -> None:
    for name in ("sbom.json", "licences.md"):
        shutil.copy(paths.REPORTS / name, tmp_path)
    text = (tmp_path / "sbom.json").read_text("utf-8")
    (tmp_path / "sbom.json").write_text(text.replace('"version": "0.28.1"', '"version": "0.28.2"'), "utf-8")
    assert sbom.differences(tmp_path / "sbom.json") == ["sbom.json is not what its sources make"]


def test_a_package_without_a_known_licence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sbom, "locked", lambda: [("no-such-package", "1.0", ["0" * 64])])
    with pytest.raises(ValueError, match="materials.yaml: licences: add that of no-such-package 1.0"):
        sbom.document({})


def unsafe(code: str) -> list[str]:
    """What in ``code`` could run code that a file holds."""
    found: list[str] = []
    safe = {"yaml.SafeLoader", "yaml.BaseLoader", *re.findall(r"^class (\w+)\(yaml\.SafeLoader\)", code, re.MULTILINE)}
    safe |= {*re.findall(r'^(\w+) = getattr\(yaml, "CBaseLoader", yaml.BaseLoader\)', code, re.MULTILINE)}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            found += [name for name in names if name.split(".")[0] in UNSAFE]
        elif isinstance(node, ast.Call):
            called, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            loader = [given.get("Loader"), *(ast.unparse(argument) for argument in node.args[1:])][-1]
            wrong = {
                "torch.load": given.get("weights_only") != "True",
                "yaml.load": loader not in safe,
                **dict.fromkeys(("yaml.unsafe_load", "yaml.full_load", "pd.read_pickle", "eval", "exec"), True),
            }
            risky = {"allow_pickle": "True", "trust_remote_code": "True", "weights_only": "False", "shell": "True"}
            found += [called] if wrong.get(called) else []
            found += [f"{called}: {name}" for name, value in risky.items() if given.get(name) == value]
    return found


def test_nothing_is_unpickled() -> None:
    texts = {path: path.read_text("utf-8") for path in (ROOT / "lib").rglob("*.py")}
    texts |= {path: notebook_files.code(notebook_files.read(path)) for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {str(path): found for path, text in texts.items() if (found := unsafe(text))} == {}
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True).stdout.split()
    assert [
        f for f in listed if f.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib", ".npy", ".npz"))
    ] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "import numpy as np\nnp.load(f, allow_pickle=True)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "pd.read_pickle(f)",
        "yaml.unsafe_load(f)",
        "yaml.load(f, Loader=yaml.Loader)",
        "class _Loader(yaml.Loader):\n    pass\nyaml.load(f, _Loader)",
        "AutoModel.from_pretrained(x, trust_remote_code=True)",
    ],
)
def test_the_test_itself_finds_what_is_unsafe(code: str) -> None:
    assert unsafe(code) and not unsafe("torch.load(f, weights_only=True)\nyaml.safe_load(f)\nnp.load(f)")


def offline(*command: str, folder: Path, text: str = "") -> "subprocess.CompletedProcess[str]":
    """What a Python command says without a network and with empty caches. Skips where namespaces are not allowed."""
    cut = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*cut, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    own = {"HF_HOME": str(folder / "hub"), "RUNS_DIR": str(folder / "runs"), "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **own, "TQDM_DISABLE": "1"}
    whole = [*cut, sys.executable, "-c", OFFLINE, *command]
    return subprocess.run(whole, cwd=ROOT, env=environment, input=text, capture_output=True, text=True)


def test_the_model_answers_without_a_network(tmp_path: Path) -> None:
    entity = {"id": "light.a", "name": "Lamp", "domain": "light", "area": "Den", "device_class": None}
    home = {"areas": [{"name": "Den", "floor": None}], "entities": [entity]}
    request = {"id": 1, "text": "turn on the lamp", "home": home, "area": None}
    done = offline("-m", "lib.predict", folder=tmp_path, text=json.dumps(request) + "\n")
    assert done.returncode == 0, done.stderr
    assert {"calls", "confidence", "raw"} <= set(json.loads(done.stdout))


@pytest.mark.robust
def test_a_stage_runs_without_a_network(tmp_path: Path) -> None:
    done = offline("-c", "from lib.core import stages; stages.run_all('smoke', '01')", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "smoke" / "01_meta.json").is_file()
