# R2D2: everything is installed in .venv/, from the exact versions in requirements/.
#
# Each part leaves a stamp in .venv/stamps when, and only when, it has finished: a second run installs
# nothing, a changed requirement file installs that part again, an interrupted run goes on where it was.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
STAMPS := $(VENV)/stamps
VENV_PYTHON := $(VENV)/bin/python
PEERS := .venv-peers
COUNTING := segeval/_counting.abi3.so
PACKAGES := r2d2_base imgmed segeval dist_training r2d2 web
# one more than the two cores of a small machine: tests that start workers of their own often wait for them
TEST_PROCESSES ?= 3
# not collected, and so not imported: what TensorFlow is loaded for, and real scans
FAST_TESTS := $(filter-out tests/dist_training tests/distributed tests/end_to_end tests/contracts tests/real_data,$(patsubst %/,%,$(wildcard tests/*/))) \
	tests/contracts/test_formats.py $(wildcard tests/*.py) $(filter-out dist_training,$(PACKAGES))
PYTEST_ARGS ?=

# pip: pinned versions only, so nothing is resolved (--no-deps); `pip check` proves the pins complete.
# Bytecode is compiled in one parallel step instead of file by file.
PIP_INSTALL := $(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
# rt-utils asks for opencv-python, whose files the headless build has already, and for a backport of what
# Python has had since 3.7: these two lines may stand in pip's findings, and no other.
NOT_MISSING := ^rt-utils [0-9.]+ requires (opencv-python|dataclasses), which is not installed\.$$
PIP_CHECK = $(VENV_PYTHON) -m pip check >$(VENV)/pip-check.log || { \
	test -s $(VENV)/pip-check.log && ! grep -vE '$(NOT_MISSING)' $(VENV)/pip-check.log >&2; }
# Python writes no bytecode where PYTHONDONTWRITEBYTECODE is set, compileall does.
COMPILE := $(VENV_PYTHON) -m compileall -j 0

# Horovod: Gloo carries the reductions, TensorFlow is the only framework. A wheel that pip has cached may
# have been built with other options or against another TensorFlow, hence --no-cache-dir.
# MAKEFLAGS is for the make that Horovod's own build starts. docker/gpu.Dockerfile gives options of its own.
HOROVOD_OPTIONS ?= HOROVOD_WITHOUT_MPI=1
HOROVOD_ENVIRONMENT = env -u MFLAGS -u MAKELEVEL MAKEFLAGS="-j$$(nproc)" \
	PATH="$(abspath $(VENV))/bin:$$PATH" \
	HOROVOD_CMAKE="$(abspath $(VENV))/bin/cmake" \
	HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
	HOROVOD_WITH_GLOO=1 $(HOROVOD_OPTIONS)

.PHONY: help install counting install-tests docs demo test test-fast test-containers lint peers compare-peers clean FORCE

help: ## show this text
	@echo "make TARGET, where TARGET is one of"
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18
	@echo "PYTHON=... chooses the Python 3.11 that .venv is made from; PYTEST_ARGS='-k dice' goes to pytest."

install: $(STAMPS)/checked $(COUNTING) ## install R2D2 with TensorFlow, Keras and Horovod in .venv (a second run installs nothing)
	@$(COMPILE) -q $(PACKAGES)

counting: $(COUNTING) ## compile SegEval's counting in this checkout and install nothing (a C compiler is enough)

demo: install ## run the main job on a generated phantom study: prepare, train on two workers, predict, evaluate, report
	@$(VENV)/bin/r2d2 demo

test: install-tests ## run the whole test suite, in three processes
	$(VENV_PYTHON) -m pytest -n $(TEST_PROCESSES) $(PYTEST_ARGS)

test-fast: install-tests ## run the quick tests, in a minute and a half: no TensorFlow, no workers, no real scans
	$(VENV_PYTHON) -m pytest -n logical -m "not slow and not tensorflow and not distributed and not end_to_end" $(FAST_TESTS) $(PYTEST_ARGS)

test-containers: install-tests ## build and run the images with a Docker daemon of its own, in 15 minutes (root; installs docker.io and mmdebstrap)
	@{ command -v dockerd && command -v mmdebstrap && command -v iptables-save; } >/dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables mmdebstrap; }
	$(VENV_PYTHON) -m pytest --containers tests/containers $(PYTEST_ARGS)

lint: install-tests ## check style (ruff) and types (mypy)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

peers: $(PEERS)/stamps/checked ## install MONAI, TorchIO, nnU-Net ... in .venv-peers, for benchmarks/ and compare-peers (2 GB; more where torch brings CUDA)

compare-peers: peers $(COUNTING) ## compare SegEval with MONAI, scikit-learn ... as installed, and record what they say for the test suite
	@PYTHONPATH="$(CURDIR)" $(PEERS)/bin/python -m tests.segeval.peers.record $(COMPARE_ARGS)

docs: install-tests ## write the pages that come from the code, and build the site in build/docs
	$(VENV_PYTHON) -m r2d2.settings_page
	$(VENV_PYTHON) -m r2d2.cli_page
	$(VENV_PYTHON) -m web.api.rest_page
	$(VENV_PYTHON) -m sphinx --fail-on-warning --keep-going --quiet -c docs -d build/doctrees . build/docs
	@echo "==> build/docs/index.html"

clean: ## remove caches and build leftovers; .venv and .venv-peers stay (rm -rf removes them)
	rm -rf build $(COUNTING) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find $(wildcard $(PACKAGES) tests benchmarks examples docs) -name __pycache__ -type d -prune -exec rm -rf {} +

install-tests: install $(STAMPS)/tests $(STAMPS)/backends $(STAMPS)/mlflow $(STAMPS)/node

# ---- the parts, in order -------------------------------------------------------------------------------

# A copy of each requirement file tells what is installed: it changes with the content, not with the date
# that a checkout gives the file.
$(STAMPS)/%.txt: requirements/%.txt FORCE | $(STAMPS)/venv
	@cmp -s $< $@ || cp $< $@

$(STAMPS)/package.json: tests/node/package.json FORCE | $(STAMPS)/venv
	@cmp -s $< $@ || cp $< $@

$(STAMPS)/console.json: web/package.json FORCE | $(STAMPS)/venv
	@cmp -s $< $@ || cp $< $@

$(STAMPS)/pyproject.toml: pyproject.toml FORCE | $(STAMPS)/venv
	@cmp -s $< $@ || cp $< $@

# The scripts in .venv/bin name their interpreter by its full path: a folder that was moved starts anew.
ifneq ($(file < $(STAMPS)/venv),$(CURDIR))
$(STAMPS)/venv: FORCE
endif
ifneq ($(file < $(PEERS)/stamps/venv),$(CURDIR))
$(PEERS)/stamps/venv: FORCE
endif
$(STAMPS)/venv $(PEERS)/stamps/venv:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
		echo "R2D2 needs Python 3.11; found $$("$(PYTHON)" --version 2>/dev/null || echo "none (PYTHON='$(PYTHON)')");" \
			"install it (apt-get install -y python3 python3-venv) or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing: apt-get install -y python3-venv" >&2; exit 1; }
	@echo "==> $(@:/stamps/venv=) from $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv --clear $(@:/stamps/venv=)
	@mkdir -p $(@D)
	@printf '%s' "$(CURDIR)" >$@

$(STAMPS)/build: $(STAMPS)/build.txt
	@echo "==> build tools"
	@$(PIP_INSTALL) -r requirements/build.txt
	@touch $@

$(STAMPS)/runtime: $(STAMPS)/runtime.txt $(STAMPS)/build
	@echo "==> runtime packages"
	@$(PIP_INSTALL) -r requirements/runtime.txt
	@touch $@

$(STAMPS)/train: $(STAMPS)/train.txt $(STAMPS)/build
	@echo "==> TensorFlow and Keras"
	@$(PIP_INSTALL) -r requirements/train.txt
	@touch $@

$(STAMPS)/serve: $(STAMPS)/serve.txt $(STAMPS)/build
	@echo "==> the web server"
	@$(PIP_INSTALL) -r requirements/serve.txt
	@touch $@

$(STAMPS)/horovod: $(STAMPS)/horovod.txt $(STAMPS)/runtime $(STAMPS)/train
	@command -v c++ >/dev/null && command -v make >/dev/null || { \
		echo "Horovod is compiled and needs a C++ compiler and make: apt-get install -y g++ make" >&2; exit 1; }
	@echo "==> Horovod, compiled here (about 4 minutes on 2 cores; log: $(VENV)/horovod-build.log)"
	@$(HOROVOD_ENVIRONMENT) $(PIP_INSTALL) --force-reinstall --no-build-isolation --no-cache-dir \
		--no-binary horovod -r requirements/horovod.txt >$(VENV)/horovod-build.log 2>&1 || { \
		tail -n 30 $(VENV)/horovod-build.log >&2; \
		echo "Horovod could not be built; the whole log is in $(VENV)/horovod-build.log" >&2; exit 1; }
	@touch $@

# Editable, through a plain path file ("compat"): the import hook that setuptools installs otherwise
# makes every start of Python 15 ms slower (measured; 12 ms without).
$(STAMPS)/r2d2: $(STAMPS)/pyproject.toml $(STAMPS)/runtime
	@echo "==> R2D2"
	@$(PIP_INSTALL) --no-build-isolation --config-settings editable_mode=compat --editable . \
		>$(VENV)/r2d2-build.log 2>&1 || { cat $(VENV)/r2d2-build.log >&2; exit 1; }
	@touch $@

# What setup.py makes of it, with the same options: after a change of the source, after `make clean`, and in a checkout
# that only borrows an environment (PYTHONPATH). Written beside and renamed: a running process keeps the old one.
$(COUNTING): segeval/_counting.c
	@echo "==> SegEval's counting"
	@$(CC) -std=c99 -O3 -Wall -Wextra -fPIC -shared -o $@.partial $<
	@mv $@.partial $@

# What the console's pages run: by npm into .venv/share, as `r2d2 serve --fetch-assets` does.
$(STAMPS)/console: $(STAMPS)/console.json $(STAMPS)/serve $(STAMPS)/r2d2
	@echo "==> scripts of the console"
	@$(VENV_PYTHON) -m web.browser_code
	@touch $@

$(STAMPS)/checked: $(STAMPS)/horovod $(STAMPS)/serve $(STAMPS)/r2d2 $(STAMPS)/console
	@$(PIP_CHECK)
	@echo "==> bytecode"
	@$(COMPILE) -qq $(VENV)/lib || true # some packages ship files that are not meant to compile
	@touch $@

$(STAMPS)/tests: $(STAMPS)/test.txt $(STAMPS)/docs.txt $(STAMPS)/export.txt $(STAMPS)/mlflow.txt $(STAMPS)/checked
	@echo "==> test tools, what builds the documentation, what exports networks, MLflow's client"
	@$(PIP_INSTALL) -r requirements/test.txt -r requirements/docs.txt -r requirements/export.txt -r requirements/mlflow.txt
	@$(PIP_CHECK)
	@$(COMPILE) -qq $(VENV)/lib || true # some packages ship files that are not meant to compile
	@touch $@

$(STAMPS)/backends: $(STAMPS)/backends.txt $(STAMPS)/tests
	@echo "==> a second Keras backend"
	@rm -rf $(VENV)/backends
	@$(PIP_INSTALL) --target $(VENV)/backends -r requirements/backends.txt
	@$(COMPILE) -qq $(VENV)/backends
	@touch $@

$(STAMPS)/mlflow: $(STAMPS)/mlflow_server.txt $(STAMPS)/tests
	@echo "==> MLflow's server"
	@rm -rf $(VENV)/mlflow
	@$(PIP_INSTALL) --target $(VENV)/mlflow -r requirements/mlflow_server.txt
	@$(COMPILE) -qq $(VENV)/mlflow || true # some packages ship files that are not meant to compile
	@touch $@

# By the Node.js and npm that requirements/serve.txt brings; package.json pins all that is fetched, so there is no lock file.
$(STAMPS)/node: $(STAMPS)/package.json $(STAMPS)/tests
	@echo "==> dcmjs, axe, types of Grafana, Flux"
	@rm -rf $(VENV)/node
	@mkdir -p $(VENV)/node
	@cp tests/node/package.json $(VENV)/node
	@cd $(VENV)/node && PATH="$(abspath $(VENV))/bin:$$PATH" npm install \
		--no-package-lock --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@

# ---- the peers, in an environment of their own; nothing above needs them ---------------------------------

PEERS_PIP := $(PEERS)/bin/python -m pip

$(PEERS)/stamps/peers.txt: requirements/peers.txt FORCE | $(PEERS)/stamps/venv
	@cmp -s $< $@ || cp $< $@

# Some are built from source, by the pinned setuptools. The last line brings what this build of torch asks
# for besides: nothing for a CPU build, its CUDA packages (in the versions that it names) for the one on PyPI,
# which cannot be imported without them.
$(PEERS)/stamps/peers: $(PEERS)/stamps/peers.txt
	@echo "==> peers (log: $(PEERS)/install.log)"
	@export PIP_DISABLE_PIP_VERSION_CHECK=1; { \
		$(PEERS_PIP) install --no-deps --no-compile $$(grep -E '^(setuptools|wheel)==' $<) && \
		$(PEERS_PIP) install --no-deps --no-compile --no-build-isolation -r requirements/peers.txt && \
		$(PEERS_PIP) install --no-compile --constraint requirements/peers.txt $$(grep -E '^torch==' $<); \
	} >$(PEERS)/install.log 2>&1 || { tail -n 30 $(PEERS)/install.log >&2; exit 1; }
	@touch $@

$(PEERS)/stamps/checked: $(PEERS)/stamps/peers
	@$(PEERS_PIP) check >$(PEERS)/pip-check.log || { cat $(PEERS)/pip-check.log >&2; exit 1; }
	@echo "==> bytecode"
	@$(PEERS)/bin/python -m compileall -j 0 -qq $(PEERS)/lib || true # some packages ship files that are not meant to compile
	@touch $@
