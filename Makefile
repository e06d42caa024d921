# Runs, tests and measures twbridge. `make` alone lists the targets.
VENV ?= .venv
BIN := $(VENV)/bin
# Worker processes of pytest. The tests also start RabbitMQ and Chromium: more than the cores is slower.
WORKERS ?= 2
PYTEST := $(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder
SERVERS := rabbitmq-server chromium systemd-analyze:systemd node:nodejs npm

.PHONY: help run frontend test cover lint bench clean

help:
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

run: $(VENV)/.installed ## the bridge on this machine, with its own broker: http://localhost:8080
	$(BIN)/twistd --nodaemon --pidfile= twbridge --embedded --config examples/chat.toml

frontend: $(VENV)/.frontend ## the example of a web front end, with its own broker: http://localhost:8080
	$(BIN)/python examples/frontend $(if $(PORT),--port $(PORT))

test: lint ## everything: style, types, and the tests against real RabbitMQ and Chromium
	scripts/system-packages $(SERVERS)
	$(PYTEST)

cover: $(VENV)/.developed ## the tests once more, slower, and which lines they reach
	scripts/system-packages $(SERVERS)
	$(PYTEST) --cov --cov-report=term

lint: $(VENV)/.developed ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.developed ## the benchmarks against a bridge on Node.js, some minutes
	scripts/system-packages rabbitmq-server node:nodejs npm
	$(BIN)/python -m benchmarks

clean: ## remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .coverage* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf twisted/plugins/dropin.cache _trial_temp* node_modules benchmarks/*/node_modules clients/*/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: an environment is brought up to date only when the packaging has changed.
$(VENV)/.installed: pyproject.toml setup.py
	scripts/virtualenv $(VENV)
	@touch $@

$(VENV)/.frontend: pyproject.toml setup.py
	scripts/virtualenv $(VENV) frontend
	@touch $@ $(VENV)/.installed

$(VENV)/.developed: pyproject.toml setup.py
	scripts/virtualenv $(VENV) dev
	@touch $@ $(VENV)/.installed
