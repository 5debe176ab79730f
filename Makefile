# The two commands: `make lab` opens the course, `make test` proves it. Everything lives in .venv; nothing is registered elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# One test worker where there is one core: two on a contended core are slower than one.
WORKERS ?= $(shell $(BIN)/python -c "import os; n = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1; print(2 if n > 1 else 0)" 2>/dev/null || echo 0)
PYTEST = env CANVASLAB_TIER=smoke OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help lab test browser bench site lint clean
.DEFAULT_GOAL := help

help:
	@echo "make lab      open the course in JupyterLab (the first call installs)"
	@echo "make test     run every test and every notebook (the first call installs)"
	@echo "make browser  run only the test in a real browser"
	@echo "make bench    compare with other diffusion libraries (a quarter of an hour)"
	@echo "make site     render the course as a web site in build/site"
	@echo "make lint     check the style"
	@echo "make clean    remove the environment and the caches"

lab: $(STAMP)
	@$(BIN)/python -m canvaslab lab $(ARGS)

test: $(STAMP)
	$(PYTEST) -n $(WORKERS) --dist loadfile

browser:
	@test -e $(STAMP) || { echo "There is no environment yet: run 'make test' or 'make lab' first."; exit 1; }
	$(PYTEST) -m browser -n 0 -rs tests

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(ARGS)

site: $(STAMP)
	@$(BIN)/python docs/pages.py build/source
	@$(BIN)/python -m sphinx -W -q -b html -c docs build/source build/site
	@echo "The site is in build/site: open build/site/index.html"

lint: $(STAMP)
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache
	find canvaslab tests notebooks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is touched last, so an interrupted install is taken up again by the next call.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	right='import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; \
	python=; \
	for candidate in $(PYTHON) python3.13 python3.12 python3.11; do \
		if "$$candidate" -c "$$right" 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "canvaslab needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1 || true): install one, or name it with 'make lab PYTHON=/path/to/python3.12'."; \
		exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$("$$python" --version) cannot make environments, for its venv module is incomplete: install it (on Debian and Ubuntu: sudo apt install python3-venv) and run make again."; \
		exit 1; \
	fi; \
	if ! $(BIN)/python -c "$$right" 2>/dev/null; then "$$python" -m venv --clear $(VENV); fi; \
	echo "Installing canvaslab and what it needs into $(VENV) (once; a few minutes)"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[lab,site,test]'; \
	touch $@
