# The set-up and the two main commands; see README.md.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

# `make runs` shows what people tune and the six figures of one model.
MODEL ?= ensemble
TUNED = alpha|beta|gamma|delta|lr|dropout|l2|threshold|accept_threshold|epochs|batch_size|precision|seed
FIGURES = accuracy|accuracy_fitted|auc|eer|fmr|fnmr

.PHONY: help demo test test-slow fuzz faults lint sample deps runs review drift card bench audit-packages
help:
	@echo "make demo   build the sample data and run the whole pipeline"
	@echo "make test   check the code and run the tests that take minutes together"
	@echo "make test-slow          run the slower rest of the tests"
	@echo "make fuzz   try ten thousand hostile files at every reader"
	@echo "make faults kill every stage, fill its disk and more; see that \`dvc repro\` recovers"
	@echo "make lint   check the code only"
	@echo "make review BASE=main   report what this branch changes, as Markdown"
	@echo "make drift BASE=HEAD    tell rounding on another machine from a real change"
	@echo "make card   bring the figures of README, docs and model card up to date"
	@echo "make deps   write the code and packages that each stage depends on into dvc.yaml"
	@echo "make runs   compare the tuning runs; MODEL=ja for one member's figures"
	@echo "make audit-packages     look for known vulnerabilities of the pinned packages"
	@echo "make bench  measure speed and memory beside other ways, on a quiet machine"

.venv/installed: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed; name it with: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.txt
	touch $@

sample: .venv/installed
	python src/make_sample.py

demo: sample
	dvc repro
	@echo && cat metrics/summary.md

lint: .venv/installed
	ruff check .
	ruff format --check .

# The tests of a file share what they set up, so each process takes whole files.
PYTEST = python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
test: lint sample
	$(PYTEST)

test-slow: sample
	$(PYTEST) -m "slow and not faults and not fuzz"

fuzz: sample
	python -m pytest -m fuzz tests/test_fuzz.py

faults: sample
	python -m pytest -m '' tests/test_faults.py

review: BASE ?= main
review: .venv/installed
	@python src/review.py --base "$(BASE)"

drift: BASE ?= HEAD
drift: .venv/installed
	@python src/drift.py --base "$(BASE)"

runs:
	@dvc exp show --md --hide-failed --only-changed --drop '^(?!Experiment$$|.*\b($(TUNED))$$)' --keep '(^|:)$(MODEL)\.($(FIGURES))$$'

deps: .venv/installed
	python src/stage_deps.py

card: .venv/installed
	python src/model_card.py

# Fails for a known vulnerability, and as well where its database does not answer.
audit-packages: .venv/installed
	pip-audit --strict --disable-pip --require-hashes --requirement requirements.txt \
		|| { echo "no pass: update what is named above, or run this where the database answers" >&2; exit 1; }

bench: .venv/installed
	python benchmarks/bench_steps.py
	python benchmarks/bench_verify.py
