# ENV names the environment (a file in inventories/), LIMIT narrows it to hosts or groups, SKIP leaves some out;
# PARTIAL=1 goes on without the hosts that do not answer.
ENV   ?= sandbox
LIMIT ?=
SKIP  ?=
PARTIAL ?=
OUT   ?=
JUNIT ?=
WRITE ?=
JSON  ?=
LIMITER ?=
HOST  ?=
VAULT ?=
DUMP  ?=
COPY  ?=
IDENTITY ?=
RCLONE ?=
AT    ?=
WHAT  ?=
ROLE  ?=
APP   ?=
DATA  ?=

PYTHON_   := .venv/bin/python
PROVISION := $(PYTHON_) -m provision
# A variable's value as one word of the shell's, to the letter; whether one says yes.
text      = '$(subst ','\'',$(value $(1)))'
yes       = $(filter-out 0 no false,$(1))
NARROWED  = --env=$(call text,ENV) --limit=$(call text,LIMIT) --skip=$(call text,SKIP) $(if $(call yes,$(PARTIAL)),--partial)

# make turns every failure into exit code 2, except with -q, where a recipe's 1 stays 1 (GNU make manual,
# "Summary of Options"); the "+" has the recipes run all the same.
ifeq ($(MAKECMDGOALS),plan)
MAKEFLAGS += -q
endif

.DEFAULT_GOAL := help
.PHONY: help deploy plan verify status report unlock render known-hosts secrets keys recover remove settings sandbox sandbox-down test \
	test-windows prove bench lint lock

help: ## these lines
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

deploy: .venv/.complete $(if $(filter sandbox,$(ENV)),sandbox) ## bring ENV's hosts to what the settings say, and verify them
	@$(PROVISION) deploy $(NARROWED)

plan: .venv/.complete ## what a deploy would change: exit 0 nothing, 2 changes pending, 1 error
	+@$(PROVISION) plan $(NARROWED) $(if $(call yes,$(JSON)),--json) || { code=$$?; [ $$code = 2 ] && exit 2; exit 1; }

verify: .venv/.complete ## prove on ENV's hosts that all is as described (WRITE=1: also what needs a write)
	@$(PROVISION) verify $(NARROWED) $(if $(JUNIT),--junit=$(call text,JUNIT)) $(if $(call yes,$(WRITE)),--write-test)

status: .venv/.complete ## the fleet at a glance, the worst first, and what to do (JSON=1: for programs)
	@$(PROVISION) status $(NARROWED) $(if $(call yes,$(JSON)),--json)

report: .venv/.complete ## the same as one page for a browser, the file OUT, with what changed since the last one
	@$(PROVISION) report $(NARROWED) --out=$(call text,OUT)

unlock: .venv/.complete ## let one client begin anew: LIMITER=login, the address or account on standard input
	@$(PROVISION) unlock $(NARROWED) --limiter=$(call text,LIMITER)

render: .venv/.complete ## every file that a deploy would write, below OUT, touching no host
	@$(PROVISION) render $(NARROWED) --out=$(call text,OUT)

known-hosts: .venv/.complete ## show the SSH keys of ENV's hosts, and accept no others from then on
	@$(PROVISION) known-hosts $(NARROWED)

secrets: .venv/.complete ## generate the secrets that ENV lacks (COPY=, IDENTITY=: bring them back)
	@$(PROVISION) secrets --env=$(call text,ENV) --copy=$(call text,COPY) --identity=$(call text,IDENTITY) \
		--rclone=$(call text,RCLONE) --at=$(call text,AT)

keys: .venv/.complete ## make an offline key for ENV's copies, into the new file OUT
	@$(PROVISION) keys --env=$(call text,ENV) --out=$(call text,OUT)

recover: .venv/.complete ## bring HOST's newest proven dumps back to it from ENV's vault (DUMP=: that one)
	@$(PROVISION) recover --env=$(call text,ENV) --host=$(call text,HOST) --vault=$(call text,VAULT) --dump=$(call text,DUMP) \
		--copy=$(call text,COPY) --identity=$(call text,IDENTITY) \
		--rclone=$(call text,RCLONE) --at=$(call text,AT)

remove: .venv/.complete ## take ROLE away from the hosts LIMIT (DATA=delete HOST=them again: with its data)
	@$(PROVISION) remove $(NARROWED) --role=$(call text,ROLE) --app=$(call text,APP) --data=$(call text,DATA) --host=$(call text,HOST)

settings: .venv/.complete ## every setting, its default and its meaning
	@$(PROVISION) settings

sandbox: .venv/.complete ## boot the disposable hosts
	@$(PROVISION) secrets --env sandbox
	@$(PYTHON_) -m tests.sandbox up

sandbox-down: .venv/.complete ## remove them
	@$(PYTHON_) -m tests.sandbox down

test: .venv/.complete ## everything that proves the project
	@tools/run-tests

test-windows: .venv/.complete ## the Windows parts on a real Windows host: HOST=Administrator@win1
	@WINDOWS_HOST='$(HOST)' $(PYTHON_) -m pytest tests/windows/test_any_host.py

prove: .venv/.complete ## the long proofs, each of which `make test` runs a sample of (WHAT=year: that one alone)
	@$(PYTHON_) -m pytest tests/scripts tests/limiter tests/windows tests/e2e -m prove -k '$(WHAT)'

bench: .venv/.complete sandbox ## the measurements
	@$(PYTHON_) -m bench

lint: .venv/.complete ## formatting and the common mistakes
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && \
	.venv/bin/shellcheck --check-sourced files/*/*.sh && .venv/bin/mypy --no-error-summary

lock: ## requirements*.lock anew, after a change of pyproject.toml's dependencies
	@tools/lock

.venv/.complete: requirements.lock requirements-develop.lock pyproject.toml tools/make-venv
	+@echo "setting up .venv" >&2
	+@tools/make-venv || exit 1
