# make demo: from a fresh clone to a leaderboard page.   make test: the linter and all tests.
# Both install what they need into .venv first. Needed beforehand: Python 3.11 or newer with venv, git, make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
PRESET ?= demo
OUT    ?= runs/$(PRESET)
SITE   ?= site/$(PRESET)
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help demo test lint format install browser readme clean

help:
	@echo "make demo     train and score two methods on the jumping task, print the table, build the page (minutes)"
	@echo "make test     run the linter and all tests"
	@echo "make lint     run the linter alone; make format applies it"
	@echo "make install  set up $(VENV) only"
	@echo "make readme   write the tables of the committed results into README.md and docs"

demo: $(VENV)/.installed
	$(BIN)/bisimgym run jumping --task wide --method dropout-l2 --method randconv-pse --preset $(PRESET) --seeds 1 --out $(OUT)
	$(BIN)/bisimgym report $(OUT) --out $(SITE)

test: $(VENV)/.installed browser lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(VENV)/typed && ln -sfn "$(CURDIR)" $(VENV)/typed/bisimgym
	MYPYPATH=$(VENV)/typed $(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed

# Constraints pin what was tested. setuptools and wheel are for the test that builds a wheel.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python found; install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "error: $(PYTHON) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools wheel
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,test]'
	@touch $@

# The page is tested in headless Chromium, which is installed where that is possible.
browser:
	@found() { command -v chromedriver && { command -v chromium || command -v google-chrome; }; }; \
	if ! found >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium chromium-driver >/dev/null; \
	fi; \
	found >/dev/null || { \
	  echo "note: no Chromium with chromedriver found: the tests of the page in a browser are skipped"; \
	  echo "      (Debian: apt-get install chromium chromium-driver)"; \
	}

readme: $(VENV)/.installed
	$(BIN)/python docs/tools/write_tables.py

clean:
	rm -rf $(VENV) build dist *.egg-info
