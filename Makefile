# make demo | demo-slurm | test | fast (the tests that take no more than seconds) | check | docs (the site, into build/site) | clean
#   PYTHON       the interpreter that makes .venv (3.11 or newer)
#   TORCH_INDEX  an additional package index to take torch from, e.g. PyTorch's own with CPU builds

PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
export RUFF_OUTPUT_FORMAT ?= concise

.PHONY: demo demo-slurm slurm-packages test tests check fast docs clean

demo: .venv/installed
	.venv/bin/slq run jobs/quickstart.yaml
	.venv/bin/slq figures jobs/quickstart.yaml

# A real Slurm of four virtual nodes on this machine, beside any other, for as long as the sweep takes.
# An interrupted demo goes on where it was: the ledger, job ids and accounting are kept.
demo-slurm: export SLURM_DEV_DIR = /tmp/slurm-demo
demo-slurm: export SLURM_DEV_PORT = 18000
demo-slurm: export SLURM_CONF = $(SLURM_DEV_DIR)/etc/slurm.conf
demo-slurm: ROOT = --root results/runs/slurm-demo
demo-slurm: slurm-packages .venv/installed
	@trap 'slurm/dev-cluster stop' EXIT; trap 'exit 130' INT TERM HUP; set -ex; \
	slurm/dev-cluster start; \
	.venv/bin/slq submit jobs/quickstart.yaml --site dev-cluster $(ROOT) --allow-dirty; \
	.venv/bin/slq status jobs/quickstart.yaml $(ROOT) --watch; \
	.venv/bin/slq tables jobs/quickstart.yaml $(ROOT)

slurm-packages:
	slurm/dev-cluster install

# mypy, which takes a minute of one processor, beside the tests, which begin with waiting for Slurm
test: .venv/installed-dev
	$(MAKE) --jobs=2 check tests

# Three processes for two processors: a part of the time is waiting for Slurm, servers and other processes. In the order of
# tests/conftest.py, which has the long files first. Threads within them would only be in each other's way.
tests fast: export OMP_NUM_THREADS = 1
tests: .venv/installed-dev
	.venv/bin/pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=30

fast: .venv/installed-dev
	.venv/bin/pytest -n 2 --dist loadfile -m "not slow"

docs: export NO_MKDOCS_2_WARNING = 1
docs: .venv/installed-dev
	.venv/bin/mkdocs build --strict

check: .venv/installed-dev
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -m venv .venv || \
		{ rm -rf .venv; echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 2; }

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv (a few minutes; 2 GB, with CUDA 6 GB; once)"
	$(PIP) --constraint constraints.txt --editable .
	@touch $@

# all at once, and not after the other: pip would look through everything twice
.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing into .venv, with what the tests need (a few minutes; 2 GB, with CUDA 6 GB; once)"
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch .venv/installed $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
