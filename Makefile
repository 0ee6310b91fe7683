# make demo: from a fresh clone to a defended federation. make test: all tests. make lab: the notebooks.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export FLWR_TELEMETRY_ENABLED := 0
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test lab lint clean

demo: .venv/.installed
	$(BIN)/decai-sim demo --out runs/demo

test: .venv/.installed lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --ignore tests/browser
	$(BIN)/pytest tests/browser
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --nbmake --nbmake-timeout=600 notebooks

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell decai_sim tests notebooks README.md CHANGELOG.md CONTRIBUTING.md data/README.md

lab: .venv/.installed
	$(BIN)/decai-sim lab

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --progress-bar off -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf .venv runs .mypy_cache .pytest_cache .ruff_cache
