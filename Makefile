# Targets for working on this project and for trying it. `make` alone lists them.

export PATH := $(CURDIR)/.venv/bin:$(PATH)
options = $(if $(PORT),--port "$(PORT)") $(if $(GATEWAYS),--gateways "$(GATEWAYS)") $(if $(MODE),--mode "$(MODE)") $(if $(DIR),--lab "$(DIR)")

.PHONY: help setup up down test fuzz servers aragora drills soak bench failover scale hostile audit package pythons format lock clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\): ## /  make \1\t/p' Makefile | expand -t 16

setup: ## Make .venv, with the project, its tools and a redis-server (PYTHON=python3.12)
	@scripts/setup

# `exec`, so that a signal reaches the command itself and its exit code is the one reported.
up: ## Run Redis and the gateway here (PORT=8080 GATEWAYS=1 DIR=.lab MODE=sentinel|cluster|managed|standalone|embedded)
	@scripts/setup up
	@exec .venv/bin/aragora-redis up $(options)

down: ## End what an `up` that crashed has left running (DIR=.lab)
	@scripts/down $(if $(DIR),--lab "$(DIR)")

test: ## Run all that CI runs: format, lint, types, layers, tests
	@scripts/check

fuzz: ## Feed all that takes input with new examples, and say which one fails (MINUTES=10 ONLY="settings or token")
	@scripts/fuzz "$(or $(MINUTES),10)" $(if $(ONLY),"$(ONLY)")

servers: ## Run the tests that touch Redis, and a short drill, on Redis 6.2 and Valkey 8
	@scripts/setup
	@scripts/servers test

aragora: ## Run the real Aragora server on a Redis that dies: install it, and show what holds
	@scripts/setup
	@scripts/aragora
	@pytest -m "aragora or not aragora" --timeout 300 tests/integration/test_aragora.py

drills: ## Run the fault matrix, each of its faults three times in a lab of its own, and the builds that must fail: some five hours, three quarters of one for one MODE and OUTAGE (SEED=1 ROUNDS=1 MODE=sentinel|managed|cluster OUTAGE=fail-open|fail-closed)
	@scripts/drills "$(or $(SEED),1)" "$(or $(ROUNDS),1)" "$(MODE)" "$(OUTAGE)"

soak: ## Run drill after drill with random seeds and faults, for an hour or as long as is said (HOURS=1 SEED=... MODES=sentinel,managed,cluster FAULTS=40)
	@scripts/soak --hours "$(or $(HOURS),1)" --faults "$(or $(FAULTS),40)" $(if $(SEED),--seed "$(SEED)") $(if $(MODES),--modes "$(MODES)")

bench: ## Measure this beside its peers on one Redis; without CASES all but those of minutes each, such as *-10m (SECONDS=2 ROUNDS=6 LOOP=uvloop CASES="check-* session" OUT=build/bench)
	@scripts/setup
	@scripts/group drills
	@exec .venv/bin/python -m benchmarks.suite --seconds "$(or $(SECONDS),2)" --rounds "$(or $(ROUNDS),6)" --loop "$(or $(LOOP),asyncio)" $(if $(OUT),--out "$(OUT)") $(foreach case,$(CASES),'$(case)')

failover: ## Measure what callers feel of a failover under load, by the share of what one process can do (SHARES="20 50 80 95" OUT=build/failover)
	@scripts/setup
	@scripts/group drills
	@exec .venv/bin/python -m benchmarks.failover_under_load $(if $(OUT),--out "$(OUT)") $(SHARES)

scale: ## Measure how much this bears, for docs/scale.md: minutes, an hour or more with FULL=1 (FULL=1 SUBJECTS="revocations instances" OUT=build/scale)
	@scripts/setup
	@scripts/group drills
	@exec .venv/bin/python -m benchmarks.scale $(if $(FULL),--full) $(if $(OUT),--out "$(OUT)") $(SUBJECTS)

hostile: ## Let two thousand hostile clients of each kind loose on a gateway, and tell what others see
	@scripts/setup
	@pytest -m drill -s -q -k test_figures tests/integration/test_hostile_clients.py

audit: ## Look for known vulnerabilities in the pinned packages, where PyPI's advisories can be asked
	@scripts/setup
	@scripts/audit

package: ## Build the wheel and the sdist, and try them as a new user would
	@scripts/package

pythons: ## Run the unit and contract tests on the Python and Redis of another Debian (SUITE=trixie|sid WHERE=/var/tmp/aragora-pythons, as root)
	@scripts/pythons "$(or $(SUITE),trixie)" "$(or $(WHERE),/var/tmp/aragora-pythons)"

format: ## Format the code, and fix what the linter can fix
	@scripts/setup
	@ruff check --fix-only --quiet .
	@ruff format .

lock: ## Write the versions installed in .venv to constraints.txt
	@scripts/setup
	@scripts/lock

clean: ## End what runs, and remove .venv, caches and lab data
	@scripts/down
	@rm -rf .venv .bench .lab dist build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
