# The interface of this repository. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export PKG_CONFIG_PATH := $(CURDIR)/.deps/lib/pkgconfig:$(PKG_CONFIG_PATH)
# Hashing of Set and Dictionary is seeded anew in each process unless this is set.
export SWIFT_DETERMINISTIC_HASHING := 1

MODEL ?= .deps/models/SmolLM2-135M-Instruct.Q4_1.gguf
LISTEN ?= 127.0.0.1:8080
SWIFT_BUILD := swift build -c release
BINARY := .build/release/dejavu
PYTHON := .deps/venv/bin/python
VERIFY := DEJAVU_MODEL=$(abspath $(MODEL)) $(PYTHON) Tools/verify.py --binary $(BINARY) --model $(MODEL)

.PHONY: help deps deps-test build build-tests run demo test test-swift verify verify-list sim bench bench-stream \
	bench-swap bench-disaggregate bench-recovery fmt check docs docs-library clean

help: ## This list
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

deps: ## Install what the build needs: ggml and the default model
	@Tools/deps.sh

deps-test: ## Install what the tests need on top
	@Tools/deps.sh test

build: deps ## Build the release binary
	$(SWIFT_BUILD) --product dejavu

build-tests: deps-test
	$(SWIFT_BUILD) --build-tests
	$(SWIFT_BUILD) --product dejavu

run: build ## Serve the small model and print the URL
	exec $(BINARY) serve $(MODEL) --listen $(LISTEN)

demo: build ## The same over two stages and a standby, with buttons that kill workers
	exec $(BINARY) serve $(MODEL) --listen $(LISTEN) --demo --stages 2 --threads 1

test: build-tests ## Everything that must hold, with small counts
	DEJAVU_MODEL=$(abspath $(MODEL)) swift test -c release --disable-testable-imports --skip-build --no-parallel
	$(VERIFY) --quick all

test-swift: build-tests ## The Swift tests alone
	DEJAVU_MODEL=$(abspath $(MODEL)) swift test -c release --disable-testable-imports --skip-build --no-parallel

verify-%: build-tests ## One verification with its full counts; `make verify-list` names them
	$(VERIFY) $*

# These build what they need by themselves and need neither ggml nor a model.
verify-example verify-mutants verify-sanitize: verify-%:
	python3 Tools/verify.py $*

verify-list: ## What can be verified: make verify-NAME
	@python3 Tools/verify.py --list

verify: build-tests ## All verifications with their full counts
	$(VERIFY) all

sim: build ## Simulate many seeds: make sim SEEDS=100000
	$(BINARY) simulate --seeds $(or $(SEEDS),10000)

bench-%: build ## One benchmark against its bar: make bench-serve
	Tools/build-llama-cpp.sh .deps/llama.cpp
	python3 Tools/bench-$*.py --dejavu $(abspath $(BINARY)) --model $(MODEL)

bench-stream: build ## KV streaming against its bars, in about a quarter of an hour
	python3 Tools/bench-stream.py --dejavu $(abspath $(BINARY)) --model $(MODEL) --directory $(or $(DIRECTORY),.build)

bench-swap: build ## Swapping against its bars, on emulated devices
	python3 Tools/bench-swap.py --dejavu $(abspath $(BINARY))

bench-disaggregate: build ## Disaggregation, chunked prompts and continuous batching against the paper's baseline; an hour
	python3 Tools/bench-disaggregate.py --dejavu $(abspath $(BINARY)) --model $(MODEL)

bench-recovery: build ## Recovery against its bars: kills, moves, cut networks, what replicas cost; half an hour
	python3 Tools/bench-recovery.py --dejavu $(abspath $(BINARY)) --model $(MODEL)

bench: bench-kernels bench-serve bench-stream bench-disaggregate bench-swap bench-recovery ## All benchmarks

fmt: ## Format the Swift code
	swift format -i -r -p Sources Tests Examples Package.swift

check: ## Formatting, arrows between modules, lengths
	swift format lint --strict -r -p Sources Tests Examples Package.swift
	Tools/tidy.py

docs: build-tests docs-library ## Write the generated parts of docs/ anew, and the library's reference
	UPDATE_DOCS=1 swift test -c release --disable-testable-imports --skip-build --no-parallel --filter metricsDocument

docs-library: ## The reference of DejaVuLib with its article, as web pages in .build/docs
	python3 Tools/library-docs.py .build/docs

clean: ## Remove what was built; .deps stays
	rm -rf .build
