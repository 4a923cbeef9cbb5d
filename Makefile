# lapwing: `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run test check lint fmt fmt-check proto docs policy bench chaos chaos-long hostile sim fuzz clean

TOOLS := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/lapwing/tools
export PATH := $(TOOLS)/bin:$(PATH)
export LAPWING_DUCKDB_PYTHON ?= $(TOOLS)/venv/bin/python

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what tests and lints need (buf, grpcurl, DuckDB), by pinned version
	@scripts/setup

run: ## build lapwing and start it on this machine's own logs and metrics
	@scripts/need-compiler
	cargo build --bins
	@exec "$$(scripts/target-dir)/debug/lapwing" up

test: setup ## run all tests
	@scripts/test

check: fmt-check lint proto test docs policy ## everything that CI runs

lint: ## clippy, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

fmt: ## format Rust and proto
	cargo fmt --all
	buf format -w

fmt-check:
	cargo fmt --all --check

proto: setup ## buf format, lint and breaking
	@scripts/check-proto

docs: ## build the API documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

policy: ## dependency policy: licences, banned crates, what the agent may link
	@scripts/check-dependencies

bench: ## drain, steady rate and idle, as ratios to the bare codec in one run (release build)
	@scripts/bench

chaos: setup ## break the release binaries in every way and count every line; writes docs/reliability.md (CHAOS= for arguments)
	@scripts/chaos $(CHAOS)

chaos-long: setup ## faults by chance until 100 million lines are written, or CHAOS_SECONDS are over; its table, too
	@scripts/chaos --long --until-lines 100000000 --page docs/reliability.md $(if $(CHAOS_SECONDS),--seconds $(CHAOS_SECONDS))

hostile: setup ## attack the release collector in every way beside a well-behaved agent; writes docs/security.md (HOSTILE= for arguments)
	@scripts/hostile $(HOSTILE)

fuzz: ## fuzz the decoders for FUZZ_SECONDS each (default 30)
	@scripts/fuzz

sim: ## simulate delivery under faults for SEEDS seeds (default 100000)
	LAPWING_SIM_SEEDS=$(or $(SEEDS),100000) cargo test -p lapwing-delivery --test simulator every_line

clean: ## remove build results
	cargo clean
