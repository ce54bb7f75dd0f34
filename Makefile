# The set-up and the two main commands; see README.md.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
export PATH := $(CURDIR)/.venv/bin:$(PATH)

BASE ?= main

.PHONY: help demo test lint sample review bench
help:
	@echo "make demo   build the sample data and run the whole pipeline"
	@echo "make test   check the code and run the tests"
	@echo "make lint   check the code only"
	@echo "make review BASE=main   report what this branch changes, as Markdown"
	@echo "make bench  measure verify beside dlib alone, on a quiet machine"

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

test: lint sample
	python -m pytest

review: .venv/installed
	@python src/review.py --base "$(BASE)"

bench: .venv/installed
	python benchmarks/bench_verify.py
