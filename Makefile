# The set-up and the two main commands; see README.md.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# DVC asks for the user's name, and a user id in a container may have none.
export LOGNAME := $(or $(LOGNAME),$(shell id -u 2>/dev/null))
# Packages are installed uncompiled. With this variable, which images for containers set, Python
# keeps nothing that it compiles, and each command would spend seconds on TensorFlow's modules.
unexport PYTHONDONTWRITEBYTECODE

# `make runs` shows the six figures of this model, and two on cards.
MODEL ?= ensemble

.PHONY: help demo test test-slow test-web web fuzz faults lint sample pull deps runs review drift card draw-cards bench audit-packages
help:
	@echo "make demo   build the sample data and run the whole pipeline"
	@echo "make test   check the code and run the tests that take minutes together"
	@echo "make test-slow          run the slower rest of the tests"
	@echo "make test-web           try the page of web/ in Chromium"
	@echo "make pull   bring data and models from the team's bucket"
	@echo "make web    build that page into web/site, with the verifier of models/"
	@echo "make fuzz   try ten thousand hostile files at every reader"
	@echo "make faults kill every stage, fill its disk and more; see that \`dvc repro\` recovers"
	@echo "make lint   check the code only"
	@echo "make review BASE=main   report what this branch changes, as Markdown"
	@echo "make drift BASE=HEAD    tell rounding on another machine from a real change"
	@echo "make card   bring the figures of README, docs and model card up to date"
	@echo "make draw-cards         draw the simulated identity cards of docs/cards.md"
	@echo "make deps   write the code and packages that each stage depends on into dvc.yaml"
	@echo "make runs   compare the tuning runs; MODEL=ja for one member's figures"
	@echo "make audit-packages     look for known vulnerabilities of the pinned packages"
	@echo "make bench  measure speed and memory beside other ways, on a quiet machine"

# The version of PYTHON, and the folder of the Python that it stands on where it is that of an
# environment: .venv itself may be activated, and made anew.
found = $(if $(PYTHON),$(shell "$(PYTHON)" -c 'import sys, ensurepip; print("%d.%d" % sys.version_info[:2], sys.base_prefix)' 2>/dev/null))
version = $(firstword $(found))
base_python = $(wordlist 2,99,$(found))/bin/python3.11
what_is_wrong = $(if $(PYTHON),$(PYTHON) $(if $(version),is Python $(version),does not run or has no venv module),no Python is found)
python_needed = $(if $(filter 3.11,$(version)),,$(error $(what_is_wrong); install Python 3.11 and its venv module, or name it with: make PYTHON=/path/to/python3.11))

# While something is installed, .venv/installing holds the process that does it. Where that one
# was stopped, packages may be half there and pip would not see it: .venv is made anew.
define sweep
@if [ -e .venv/installing ]; then \
	if kill -0 "$$(cat .venv/installing)" 2>/dev/null; then \
		echo "make: process $$(cat .venv/installing) installs into .venv; wait for it" >&2; exit 1; \
	fi; \
	rm -rf .venv; \
fi
endef
mark = @mkdir -p .venv && echo $$PPID >.venv/installing
# Modules are compiled when they are first imported: most of TensorFlow's never are.
install = .venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes --requirement

# What the pipeline needs.
.venv/installed: requirements.txt
	$(python_needed)$(sweep)
	$(mark)
	"$(base_python)" -m venv .venv
	$(install) $<
	@mv .venv/installing $@

# What tests, checks and benchmarks add.
.venv/installed-dev: requirements-dev.txt .venv/installed
	$(python_needed)$(sweep)
	@[ -e .venv/installed ] || $(MAKE) --no-print-directory PYTHON="$(base_python)" .venv/installed
	$(mark)
	$(install) $<
	@mv .venv/installing $@

sample: .venv/installed
	python src/make_sample.py

# DVC tries for a minute where the bucket cannot be read, and then does not say why.
pull: .venv/installed
	@python src/bucket_access.py
	dvc pull

demo: sample
	dvc repro
	@echo && cat metrics/summary.md
# The verdict, or why there is none: one line, and no reason for the demo to fail.
	@echo && python src/drift.py --brief 2>&1 | tail -n 1

lint: .venv/installed-dev
	ruff check .
	ruff format --check .

# The tests of a file share what they set up, so each process takes whole files.
PYTEST = python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: lint sample
	$(PYTEST)

test-slow: .venv/installed-dev sample
	$(PYTEST) -m "slow and not faults and not fuzz"

# Says by name what is missing for it: Node, Chromium, or the packages of web/package-lock.json.
test-web: .venv/installed-dev sample
	@BUNDLE="$(BUNDLE)" python web/tests/run.py

web:
	cd web && npm ci --ignore-scripts --no-audit --no-fund && npm run --silent build

fuzz: .venv/installed-dev sample
	python -m pytest -m fuzz tests/test_fuzz.py

faults: .venv/installed-dev sample
	python -m pytest -m '' tests/test_faults.py

review: BASE ?= main
review: .venv/installed
	@python src/review.py --base "$(BASE)"

drift: BASE ?= HEAD
drift: .venv/installed
	@python src/drift.py --base "$(BASE)"

runs:
	@python src/list_runs.py --model "$(MODEL)"

deps: .venv/installed
	python src/stage_deps.py

draw-cards: .venv/installed
	python src/draw_cards.py docs/cards.jpg

card: .venv/installed
	python src/model_card.py

# Fails for a known vulnerability, and as well where its database does not answer.
audit-packages: .venv/installed-dev
	pip-audit --strict --disable-pip --require-hashes \
		--requirement requirements.txt --requirement requirements-dev.txt \
		|| { echo "no pass: update what is named above, or run this where the database answers" >&2; exit 1; }

bench: .venv/installed-dev
	python benchmarks/bench_steps.py
	python benchmarks/bench_verify.py
