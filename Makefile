# make demo: from a fresh clone to a leaderboard page.   make test: the linter and all tests.
# Both install what they need into .venv first. Needed beforehand: Python 3.11 or newer with venv, git, make.
# Variables of pip work here too: make demo PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
LOWEST := .venv-lowest
PRESET ?= demo
OUT    ?= runs/$(PRESET)
SITE   ?= site/$(PRESET)
DOCS   ?= site/docs
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: help demo test docs test-floors lint format install browser readme results-check clean

help:
	@echo "make demo     train and score two methods on the jumping task, print the table, build the page (minutes)"
	@echo "make test     run the linter and all tests"
	@echo "make docs     build the documentation as a site, warnings as errors, and check its links"
	@echo "make test-floors  run the tests that depend on versions with the lowest that are permitted (Python 3.11)"
	@echo "make lint     run the linter alone; make format applies it"
	@echo "make install  set up $(VENV) only"
	@echo "make readme   write the tables of the committed results into docs"
	@echo "make results-check  read all committed results again: do they give the committed tables and pages, exactly?"

demo: $(VENV)/.installed
	$(BIN)/bisimgym run jumping --task wide --method dropout-l2 --method randconv-pse --preset $(PRESET) --seeds 1 --out $(OUT) --site $(SITE)

# Workers begin with a half each, so that what tests of a module share is made once.
test: $(VENV)/.installed browser lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

# Built anew each time, so that a warning is never one of a page that was left as it was.
docs: $(VENV)/.installed
	rm -rf $(DOCS)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -q -b html -c docs -d $(DOCS)/.doctrees . $(DOCS)
	$(BIN)/python docs/tools/check_site.py $(DOCS)

# What depends on versions most: registration, spaces and steps, learners of all methods, replay, checkpoints, episodes.
test-floors: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -p no:cacheprovider -n $(JOBS) tests/test_floors.py \
	  tests/envs/test_registry.py tests/envs/test_checks.py tests/wrappers tests/baselines/core \
	  tests/baselines/test_methods.py tests/baselines/test_offline.py tests/benchmarks/test_cli.py

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(VENV)/typed && ln -sfn "$(CURDIR)" $(VENV)/typed/bisimgym
	MYPYPATH=$(VENV)/typed $(BIN)/mypy --num-workers $(JOBS)

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.installed

# Constraints pin what was tested. setuptools and wheel are for the test that builds a wheel.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(call new_venv,$(PYTHON),$(VENV))
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt setuptools wheel
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[all,test,docs]'
	$(call add_dm_control,$(BIN),constraints.txt)
	@touch $@

$(LOWEST)/.installed: pyproject.toml constraints-lowest.txt
	$(call new_venv,$(PYTHON),$(LOWEST))
	$(LOWEST)/bin/pip install --disable-pip-version-check --constraint constraints.txt setuptools wheel
	$(LOWEST)/bin/pip install --disable-pip-version-check --constraint constraints-lowest.txt --editable '.[all]' \
	  pytest pytest-xdist hypothesis
	$(call add_dm_control,$(LOWEST)/bin,constraints-lowest.txt)
	@touch $@

# $(1): Python, $(2): where to.
define new_venv
@test -n "$(1)" || { echo "error: no Python found; install Python 3.11 or newer (Debian: apt-get install python3 python3-venv)" >&2; exit 1; }
@$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "error: $(1) is older than Python 3.11; name a newer one with make PYTHON=..." >&2; exit 1; }
@$(1) -c 'import ensurepip, venv' 2>/dev/null || \
  { echo "error: $(1) has no venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
$(1) -m venv $(2)
endef

# From Python 3.13 on, dm_control goes without labmaze, which has no wheel there: pyproject.toml says more.
# $(1): folder of the environment's commands, $(2): constraints.
define add_dm_control
@$(1)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || \
  $(1)/pip install --disable-pip-version-check --constraint $(2) --no-deps dm_control
endef

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

results-check: $(VENV)/.installed
	$(BIN)/python docs/tools/check_results.py

clean:
	rm -rf $(VENV) $(LOWEST) build dist *.egg-info
