# The two commands, and three more. Everything they do is in config/stack/.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif
VENV := .venv/bin
JOBS ?= 2

.PHONY: help run test lint bench python

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Settings are read from the environment or the command line, as in: make run PORT=9000 DEMO=0"

run: python ## install, start everything with the demo company, print the address; Ctrl-C stops it
	@$(PYTHON) -m config.stack.install run && exec $(VENV)/python -m config.stack.supervise

test: python ## install and run the whole suite (some of it: make test ARGS="tests/approvals -k expiry")
	@$(PYTHON) -m config.stack.install dev && exec $(VENV)/pytest -n $(JOBS) $(ARGS)

lint: python ## check style, types, templates, the floors of the house and missing migrations
	@$(PYTHON) -m config.stack.install dev
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports
	SECRET_KEY=lint-only PLAIN_HTTP=1 $(VENV)/mypy
	$(VENV)/djlint --lint --quiet templates
	$(VENV)/python manage.py makemigrations --check --dry-run

bench: python ## measure the whole way of the work, with workers killed and the broker emptied (BENCH_QUERIES=500 shortens it)
	@$(PYTHON) -m config.stack.install dev && exec $(VENV)/python -W ignore -m tests.bench

python:
	@test -n "$(PYTHON)" || { echo "Pastpilot needs Python 3.11 or newer, with pip. Install it, or name it: make run PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Pastpilot needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make run PYTHON=/path/to/python3")'
