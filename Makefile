# `make test` proves a change, `make run` shows the platform. Every recipe that needs more than a
# line is a script in tools/. Settings that setup found (PATH, PROTOC, ...) come from .tools/env.

ENV := . ./.tools/env &&
PYTHON := .tools/python/bin/python
RELEASED := proto/released.binpb

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run demo test soak planted vendor-specs fuzz check fmt fmt-check lint contract generated generate sqlx freeze deny bench bench-full clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what the machine lacks (root: packages; anyone else: unpacked into .tools)
	@tools/setup

run: setup ## the platform with demo data, on http://127.0.0.1:7070, until Ctrl-C
	$(ENV) cargo run --bin sewa -- dev --demo

demo: setup ## buy a server through the API, show what happened, stop
	$(ENV) cargo run --bin sewa -- dev --demo --exit

# Tests wait for servers and machines more than they compute.
test: check ## everything that has to hold before a change lands
	$(ENV) cargo build --locked --workspace --bins && \
	  RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$(($$(nproc) + 1))} tools/with-postgres cargo test --locked --workspace --no-fail-fast

soak: setup ## what the platform survives, at length: 100,000 simulations of its rules (SEWA_SIMULATIONS), and the tests of faults, 20 times over (SEWA_SOAK)
	$(ENV) SEWA_SIMULATIONS=$${SEWA_SIMULATIONS:-100000} cargo test --locked -p sewa-server --test simulation -- --nocapture
	$(ENV) cargo build --locked --workspace --bins && SEWA_SOAK=$${SEWA_SOAK:-20} tools/with-postgres cargo test --locked -p sewa-tests --test faults -- --nocapture

planted: setup ## plant the bugs of tests/planted in a copy of the tree, and see each caught by the suite it belongs to
	$(ENV) tools/planted-bugs

vendor-specs: setup ## adapters and simulators against what vendors publish: DIGITALOCEAN=, LINODE=, VULTR= name OpenAPI documents
	$(ENV) tools/vendor-specs digitalocean=$(DIGITALOCEAN) linode=$(LINODE) vultr=$(VULTR)

fuzz: setup ## minutes of random and mutated input to the REST gateway (make test has seconds of it)
	$(ENV) PROPTEST_CASES=$${PROPTEST_CASES:-200000} cargo test --locked --release -p sewa-gateway -- never_panics fuzz::

check: setup fmt-check contract generated lint ## what can be said without running the tests

fmt: setup ## format Rust and protos
	$(ENV) cargo fmt --all && buf format --write proto

fmt-check: setup
	$(ENV) cargo fmt --all --check && buf format --diff --exit-code proto

lint: setup ## clippy on everything, .sqlx against the migrations, and whether each planted bug still has its place
	$(ENV) tools/sqlx --check
	tools/planted-bugs --check
	cd sdk-python && ../$(PYTHON) -m mypy
	cd sdk-typescript && npm run --silent check
	$(ENV) tools/lint-go

contract: setup ## lint the protos, and compare them with the last release: types by buf, promises by our own rules
	$(ENV) tools/contract

generated: setup ## the committed generated code is what the protos say
	$(ENV) rm -rf .tools/generated && cargo run --quiet -p sewa-codegen -- .tools/generated
	diff -ru sdk-rust/src/generated .tools/generated || { echo "run make generate" >&2; exit 1; }
	$(PYTHON) tools/generate-python --compare sdk-python/src
	node sdk-typescript/tools/generate.mjs --compare
	$(PYTHON) tools/generate-go --compare sdk-go

generate: setup ## regenerate the stubs of the SDKs after a change of proto/
	$(ENV) buf format --write proto && cargo run -p sewa-codegen
	$(PYTHON) tools/generate-python sdk-python/src
	$(ENV) node sdk-typescript/tools/generate.mjs
	$(PYTHON) tools/generate-go sdk-go

sqlx: setup ## regenerate .sqlx after a change of a query or a migration
	$(ENV) tools/sqlx

freeze: setup ## record the contract as released: from now on `make contract` guards it
	$(ENV) buf build proto --as-file-descriptor-set --exclude-imports --output $(RELEASED)

deny: setup ## licences, sources and duplicates of the dependencies
	$(ENV) command -v cargo-deny >/dev/null || cargo install --quiet --locked --root .tools cargo-deny@0.20.2
	$(ENV) cargo deny --locked check --hide-inclusion-graph bans licenses sources

bench: setup ## a few minutes of load, printed as ratios to baselines on the same machine
	$(ENV) cargo build --locked --release -p sewa-server -p sewa-bench --bins && target/release/sewa-bench short && tools/bench-overheads

bench-full: setup ## the same at length
	$(ENV) cargo build --locked --release -p sewa-server -p sewa-bench --bins && target/release/sewa-bench full && tools/bench-overheads

clean: ## forget builds, tools and the data of `make run`
	rm -rf target third_party .tools .sewa sdk-typescript/node_modules sdk-typescript/dist sdk-typescript/build sdk-typescript/src/generated/google
