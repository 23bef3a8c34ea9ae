# What a developer types. Most targets run a module in dev/, which says what it does.
.DEFAULT_GOAL := help
.PHONY: help setup run servers test bench torture reconcile screenshots lint format lock audit clean clean-data
MAKEFLAGS += --no-print-directory
in_venv := .venv/bin/python -m
compile := .venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.12 --generate-hashes --no-header

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## Make .venv from the locked requirements; nothing happens when it is there
	@for python in python3.12 python3; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then exec $$python -m dev.bootstrap; fi; \
	done; echo "Python 3.12 is needed, as python3.12 or python3 on the PATH." >&2; exit 1

run: setup ## Run the whole system, with a PostgreSQL and a RabbitMQ of its own, until Ctrl-C
	@$(in_venv) dev.packages servers
	@exec $(in_venv) dev.run

servers: setup ## Only the PostgreSQL and the RabbitMQ of `make run`, for services that you start by hand
	@$(in_venv) dev.packages servers
	@exec $(in_venv) dev.run --servers

test: setup ## Lint, types and all tests, on servers of their own; ARGS="-k name" goes to pytest
	@$(in_venv) dev.packages servers
	@$(in_venv) dev.packages browser || true
	@exec $(in_venv) dev.test $(ARGS)

bench: setup ## Measure the system beside a floor without a framework; ARGS="all --write", "--help" …
	@$(in_venv) dev.packages servers
	@exec $(in_venv) benchmarks $(ARGS)

screenshots: setup ## Take the pictures of the README and the runbook anew, in docs/images
	@$(in_venv) dev.packages servers browser
	@exec $(in_venv) pytest -q tests/screenshots.py

reconcile: setup ## Does each order of `make run` stand in one place? ARGS="--repair" mends what does not
	@exec $(in_venv) dev.reconcile $(ARGS)

torture: setup ## Break the system in every way we know, and see that no order is lost; ARGS="--short", "--list" …
	@$(in_venv) dev.packages servers
	@$(in_venv) dev.packages faketime || true
	@exec $(in_venv) torture $(ARGS)

lint: setup ## Ruff, mypy, the walls between the packages, the locked requirements, Django's checks
	@exec $(in_venv) dev.lint

format: setup ## Let ruff fix and format what it can
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .

lock: setup ## Lock requirements/*.in anew, with the newest versions they allow
	@$(compile) requirements/base.in -o requirements/base.txt
	@$(compile) requirements/dev.in -c requirements/base.txt -o requirements/dev.txt
	@$(compile) requirements/bench.in -c requirements/dev.txt -o requirements/bench.txt

audit: setup ## Ask about known vulnerabilities of what is locked; needs the internet
	@exec $(in_venv) dev.audit

clean: ## Remove .venv and all caches; the data of `make run` stays
	@rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

clean-data: setup ## Remove the data of `make run`: the next one starts with no orders
	@exec $(in_venv) dev.data --remove
