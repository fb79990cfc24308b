# make demo | test | fast (the tests that take no more than seconds) | check | clean
#   PYTHON       the interpreter that makes .venv (3.11 or newer)
#   TORCH_INDEX  an additional package index to take torch from, e.g. PyTorch's own with CPU builds

PYTHON ?= python3
PIP := .venv/bin/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
export RUFF_OUTPUT_FORMAT ?= concise

.PHONY: demo test check fast clean

demo: .venv/installed
	.venv/bin/slq run jobs/quickstart.yaml

test: check
	.venv/bin/pytest -n 2 --dist loadfile

fast: .venv/installed-dev
	.venv/bin/pytest -n 2 --dist loadfile -m "not slow"

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

.venv/installed-dev: .venv/installed
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
