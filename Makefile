# On a machine with Python 3.11+ and make, `make serve` or `make test` is all the set-up there is.
HOST = 127.0.0.1
PORT = 8080
BIN = .venv/bin
SOAK_SECONDS = 60
SOAKS = tests/cli tests/e2e tests/fuzz tests/process tests/promises tests/runtime

# Most tests wait for a process: see `pytest_xdist_auto_num_workers` in tests/conftest.py.
AT_ONCE = -q -n auto --dist loadfile --no-loadscope-reorder

.PHONY: help serve test soak unit check fmt bench instructions docs golden-update image image-check tools clean

help:  ## this list
	@awk -F ':.*## +' '/^[a-z-]+:.*## /{ printf "  make %-14s %s\n", $$1, $$2 }' Makefile

serve: .venv/.serve  ## install, then serve examples/hello (PORT=8080 HOST=127.0.0.1)
	@$(BIN)/gateway serve app.handler --code examples/hello --host $(HOST) --port $(PORT)

test: check  ## install, then every check and test that CI runs
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(AT_ONCE) -m "not alone"
	$(BIN)/coverage run -m pytest -m alone
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report
	$(BIN)/coverage report --include="gateway/core/*" --fail-under=100

soak: .venv/.test  ## each fuzz search, attack and promise at its full length (SOAK_SECONDS=60)
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m pytest $(SOAKS)
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m pytest $(AT_ONCE) -m hypothesis

unit: .venv/.test  ## the fast tests alone
	@$(BIN)/python -m pytest $(AT_ONCE) -m "not slow"

check: .venv/.test  ## ruff, mypy and the import contracts
	$(BIN)/ruff check && $(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: .venv/.test  ## format, and repair what ruff can
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

bench: .venv/.test  ## measure; results in benchmarks/results/
	@$(BIN)/python benchmarks/run.py

instructions: .venv/.test  ## count instructions (valgrind), beside a baseline (AGAINST=revision or directory)
	@$(BIN)/python benchmarks/instructions.py $(if $(AGAINST),--against $(AGAINST))

docs: .venv/.test  ## rewrite the reference pages that come from the code
	@$(BIN)/python tools/docs

golden-update: .venv/.test  ## rewrite the expected parts of the golden files, for review
	@$(BIN)/python -m pytest tests --golden-update

image:  ## build the container image with docker
	@docker build --tag albgate .

image-check:  ## build and run the image without a docker daemon (Debian, root)
	@tools/image-check

tools: .venv/.test  ## install what the tests need from the system (apt), AWS's emulator and h2spec
	@tools/install-system
	@$(BIN)/python tools/install-rie || echo "no emulator: the comparison with it is skipped"
	@tools/install-h2spec || echo "no h2spec: that test is skipped"

clean:  ## remove .venv and everything generated
	@rm -rf .venv build dist *.egg-info .coverage .coverage.* .hypothesis .*_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.serve: pyproject.toml
	@tools/venv . && touch $@

.venv/.test: pyproject.toml
	@tools/venv '.[dev]' && touch .venv/.serve $@
