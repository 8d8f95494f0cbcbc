# Main commands. `make demo` and `make test` work from a fresh clone.
.DEFAULT_GOAL := help
.PHONY: help demo test quick jax-next docs check bench solve fleet fuzz fuzz-parsers proofs endings coverage mutants sb3 wheel wheel-env wheel-demo clean

VENV ?= .venv
FLEET ?= .venv-fleet
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.robolearn-installed
FLEET_READY := $(FLEET)/.robolearn-installed

# With the cache of failed tests, which the others do without.
CACHED = -o addopts='-q --strict-markers --strict-config' -o cache_dir=build/pytest-
ROS_TESTS = $(BIN)/python -m pytest $(CACHED)ros --durations 20 -m ros tests/ros
FLEET_TESTS = $(FLEET)/bin/python -m pytest $(CACHED)fleet --noconftest -m 'not proof' tests/fleet/test_flower.py \
	tests/fleet/test_federated_page.py tests/fleet/test_privacy.py tests/fleet/test_rounds.py \
	tests/fleet/test_secure.py tests/fleet/test_secure_flower.py

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 10

bench solve sb3: export WANDB_MODE = disabled  # what is timed is the training

demo: $(READY)  ## train a policy, serve it on a simulated arm, inject four faults, write the report
	@$(BIN)/robolearn demo

# Flower's processes mostly wait, so their tests run beside the others, and what failed of them once more, alone.
test: $(READY) $(FLEET_READY)  ## all tests, including the end-to-end ones
	@mkdir -p build; nice $(FLEET_TESTS) >build/fleet.log 2>&1 & fleet=$$!; trap 'kill $$fleet' INT TERM; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 20 \
		-m 'not ros and not shown and not proof'; others=$$?; \
	wait $$fleet; federated=$$?; echo "Federated training, with real Flower processes:"; cat build/fleet.log; \
	[ $$others = 0 ] || exit $$others; \
	[ $$federated = 0 ] || { [ $$federated = 1 ] && $(FLEET_TESTS) --last-failed --last-failed-no-failures none; }
	@$(ROS_TESTS) || { [ $$? = 1 ] && \
		echo "These run in real time, and the machine may have been busy: what failed runs once more." && \
		$(ROS_TESTS) --last-failed --last-failed-no-failures none; }

fleet: $(FLEET_READY)  ## federated training with real Flower processes, in an environment of its own
	@$(FLEET_TESTS)

quick: $(READY)  ## lint, and the tests that need no training and no ROS 2, under a minute; or those of a folder: make quick T=tests/env
	@$(BIN)/ruff check .
	@$(BIN)/python -m pytest -n 2 -x -m 'not ros and not shown and not proof and not slow' \
		$(or $(T),tests/files tests/robots tests/safety tests/recorder tests/deploy tests/test_config.py)

jax-next:  ## test sim and learn with JAX 0.11 in a separate environment; needs Python 3.12 or 3.13 (PYTHON_NEXT)
	@PYTHON_NEXT="$(PYTHON_NEXT)" .ci/jax_next

proofs: $(READY) $(FLEET_READY)  ## long tests, minutes each
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m proof
	@$(FLEET)/bin/python -m pytest --noconftest -m proof tests/fleet/test_server_restart.py tests/fleet/test_flower_faults.py

docs: $(READY)  ## build the documentation into build/docs, run every command that it shows and every notebook
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@$(BIN)/python -m pytest -n 2 -m shown

check: $(READY)  ## format, lint, types, import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports

bench: $(READY)  ## speed, as ratios against a reference run beside it
	@$(BIN)/python -m benchmarks

solve: $(READY)  ## the expert, the default and reward alone on every task, three seeds each, and README's table
	@$(BIN)/python benchmarks/solve.py

fuzz: $(READY)  ## run the monitor through ten million adversarial cycles
	@$(BIN)/python benchmarks/fuzz_monitor.py --cycles 10000000

endings: $(READY)  ## end the nodes of a moving arm a hundred times, in every way, and check that it brakes
	@$(BIN)/python tests/ros/endings.py --count 100

fuzz-parsers: $(READY)  ## coverage-guided fuzzing of every parser of untrusted files (two minutes each)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@$(BIN)/python benchmarks/fuzz_parsers.py --seconds $(or $(SECONDS),120)

coverage: $(READY)  ## fail unless the tests cover every line and branch of robolearn/safety
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/python -m coverage run -m pytest -n 2 --dist loadfile tests/safety tests/recorder tests/review tests/cli/test_cli_safety.py
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

mutants: $(READY)  ## mutation testing of the monitor
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/mutants/tool \
		'mutmut==3.8.1' 'libcst==1.9.0' 'setproctitle==1.3.8' 'click==8.5.1'
	@$(BIN)/python tests/safety/mutants.py build/mutants/tool $(MODULES)

sb3: $(READY)  ## install Stable-Baselines3 and PyTorch for their tests
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sb3]'

wheel: wheel-env wheel-demo  ## build the wheel, install it in an environment of its own and run the demo there

wheel-env: $(READY)
	@rm -rf build/wheel && mkdir -p build/wheel/elsewhere
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/wheel .
	@$(PYTHON) -m venv build/wheel/env
	@build/wheel/env/bin/python -m pip install --quiet --disable-pip-version-check \
		"$$(ls build/wheel/robolearn-*.whl)[train,ros]"

wheel-demo:
	@cd build/wheel/elsewhere && ../env/bin/robolearn demo

clean:  ## remove the environments and all run outputs
	rm -rf $(VENV) $(FLEET) runs build dist

$(FLEET_READY): pyproject.toml
	@$(PYTHON) -m venv $(FLEET)
	@echo "Installing Flower into $(FLEET) (once) ..."
	@$(FLEET)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fleet]' 'pytest>=8.3' 'pytest-timeout>=2.3'
	@touch $@

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "robolearn needs Python 3.11 to 3.13. Name one: make PYTHON=python3.12 demo"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: sudo apt install python3-venv"; exit 2; }
	@echo "Installing robolearn and its tools into $(VENV) (once; about a minute and 2 GB) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
