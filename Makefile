# One target for each intent; CI is `test` and `check`.
PYTHON ?= python3
BIN := .venv/bin
SHELL := bash

.PHONY: run test test-fast test-thorough test-oldest-ray fuzz dev check format bench clean

run: ## The main job: train the iLLaMA roadmap on digits, minutes on a laptop
	$(PYTHON) -m venv .venv && $(BIN)/pip install -c constraints.txt -e . && $(BIN)/orchestrator run sweeps/llamafy.yaml

test: ## The tests, without the long forms of those that kill and cut
	$(PYTHON) -m venv .venv && $(BIN)/pip install -c constraints.txt -e '.[test]' && $(BIN)/pytest

test-fast: ## Without the slow ones
	$(BIN)/pytest -m "not slow"

test-thorough: ## The long forms: storms on Ray, clusters that lose nodes and heads, many kills
	$(BIN)/pytest -m thorough

test-oldest-ray: ## A sweep on the oldest Ray that is allowed, beside the packages that are installed
	.ci/oldest-ray

fuzz: ## Property tests with examples of their own, and random mutations of the shipped specs
	HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest tests/orchestrator/test_{document,spec,designs,fingerprint,files,statistics}.py
	$(BIN)/python benchmarks/spec_mutations.py --seed $$RANDOM

dev: ## Everything for working on the code, with the checks run before each commit
	$(PYTHON) -m venv .venv && $(BIN)/pip install -c constraints.txt -e '.[dev]' && $(BIN)/pre-commit install

check: ## Style and types
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/mypy --config-file tests/mypy.ini

format: ## Bring the code into shape
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: ## A training step on this machine's CPU, side by side with the published form of the attention
	$(BIN)/python benchmarks/cpu_training_step.py

clean: ## Remove the environment and caches; results in runs/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
