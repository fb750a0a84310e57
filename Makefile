# make run        starts everything on this machine: private PostgreSQL and Redis, provider stand-ins, API, workers, a demo event
# make check      formatting, lints, unit tests: before every commit
# make test       the same, SQL against a real schema, every test: before a merge
# make test-long  what takes long, in full: before a release
# make help       the rest

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help run check test test-long chaos soak before bench bench-quick bench-costs bench-stress bench-overload bench-books build build-tested release fuzz fuzz-smoke fuzz-build fuzz-deps audit sbom deps node-deps bench-deps python-deps browser-deps \
	clock-deps fmt lint sqlx check-sqlx docs clean-data

# rust-toolchain.toml names the compiler. Where rustup may not fetch it, it may be there under another name; the tests check the version.
ifneq ($(shell cargo --version >/dev/null 2>&1 && echo usable),usable)
export RUSTUP_TOOLCHAIN := stable
endif

# CI builds once, from nothing: what makes the next build faster only takes time and gigabytes there.
ifdef CI
export CARGO_INCREMENTAL := 0
endif

PORT ?= 3000
NEXUS_DATA ?= .nexus
# PROFILE=release for measuring; the default shares its build with `make test`.
PROFILE ?= dev
# Tests wait for most of their time.
TEST_THREADS ?= $(shell echo $$((2 * $$(nproc))))
# For `make chaos` and `make soak`; REPORT names another file for what they measure.
PAYMENTS ?= 1000
SOAK_MINUTES ?= 30
# For `make bench-stress`, `make bench-overload` and `make bench-costs`: the commit that this one is compared with.
BEFORE ?= HEAD~1
BEFORE_BIN := target/before/build/release
# For `make bench-books`.
BOOKINGS ?= 500000
# For `make fuzz`: how long each target runs.
FUZZ_SECONDS ?= 600
BIN := target/$(if $(filter release,$(PROFILE)),release,debug)

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-12s %s\n", $$1, $$2 }'

run: deps build ## Start everything; PORT chooses the API's port, NEXUS_DATA the data folder, PROFILE=release the optimised build
	@exec env PORT=$(PORT) NEXUS_DATA=$(NEXUS_DATA) $(BIN)/nexus-sandbox run

check: fmt fuzz-deps ## Check formatting and lints, run the unit tests; under a minute once everything is built
	@cargo clippy --workspace --all-targets --features nexus-fuzz/libfuzzer -- -D warnings
	cargo test --workspace --quiet --lib --bins

# What tests are made with.
test-deps: deps node-deps python-deps browser-deps clock-deps

test: test-deps fmt lint fuzz-smoke ## Check and test everything
	@export $(LINTER) RUST_TEST_THREADS=$(TEST_THREADS)
	cargo test --workspace --no-fail-fast

test-long: test-deps lint ## Run in full what `make test` runs in short; an hour
	@export $(LINTER) PROPTEST_CASES=10000 NEXUS_CHAOS_PAYMENTS=$(PAYMENTS) NEXUS_KILL_FAULTS=100 NEXUS_DOOR_TICKETS=5000 NEXUS_SOAK_SECONDS=$$(( $(SOAK_MINUTES) * 60 ))
	export EXAMPLES=20 NEXUS_BOOKS_BOOKINGS=50000 NEXUS_FINISHED_JOBS=1000000
	failed=0
	cargo test --workspace --no-fail-fast --test histories --test long || failed=1
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --test fast -- schemathesis:: while_nobody_has_counted_them workers_read_none || failed=1
	exit $$failed

chaos: build-tested ## Sell to PAYMENTS buyers while webhooks are lost and processes killed; what was measured goes to REPORT
	@NEXUS_CHAOS_PAYMENTS=$(PAYMENTS) NEXUS_CHAOS_REPORT=$(abspath $(or $(REPORT),target/chaos.md)) cargo test --workspace --test long chaos:: -- --nocapture

soak: deps node-deps build-tested ## Mixed traffic with faults for SOAK_MINUTES, then a look at what is left; a report goes to REPORT; PROFILE=release for the optimised build
	@NEXUS_SOAK_SECONDS=$$(( $(SOAK_MINUTES) * 60 )) NEXUS_SOAK_REPORT=$(abspath $(or $(REPORT),target/soak.md)) \
		cargo test --workspace $(if $(filter release,$(PROFILE)),--release) --test long soak:: -- --nocapture

# What is measured besides the drivers: an API process and the workers of a sale.
MEASURED := $(addprefix --bin ,nexus-api $(addprefix nexus-worker-,payments bookings notifications))
BENCH := cargo build --workspace --release $(MEASURED) --bin nexus-bench --bin nexus-bench-worker --bin nexus-bench-crowd

bench: deps bench-deps ## Measure Nexus beside a shop in Node, graphile-worker and BullMQ, and write bench/REPORT.md; half an hour
	@$(BENCH)
	@target/release/nexus-bench --report bench/REPORT.md

bench-quick: deps bench-deps ## The same in four minutes, to see that nothing has become much slower; writes nothing
	@$(BENCH)
	@target/release/nexus-bench --quick

bench-costs: deps bench-deps before ## Count what a sale costs in this release and in that of the commit BEFORE, for docs/performance.md; takes a minute
	@$(BENCH)
	@target/release/nexus-bench --only costs --rounds 1 --before $(BEFORE_BIN) --costs docs/performance.md

bench-stress: deps before ## Measure this release beside that of the commit BEFORE under stress, and write bench/STRESS.md; takes five minutes
	@cargo build --workspace --release $(MEASURED) --bin nexus-bench-stress
	@target/release/nexus-bench-stress --before $(BEFORE_BIN) --before-name $$(git rev-parse --short $(BEFORE)) --report bench/STRESS.md

bench-overload: deps before ## Let more people come than can be served, with the release of the commit BEFORE and with this one, and write bench/OVERLOAD.md and its curves; takes three minutes
	@cargo build --workspace --release $(MEASURED) --bin nexus-bench-overload
	@target/release/nexus-bench-overload --before $(BEFORE_BIN) --before-name $$(git rev-parse --short $(BEFORE)) --report bench/OVERLOAD.md

before:
	@source=target/before/source
	rm -rf $$source && mkdir -p $$source
	git archive $(BEFORE) | tar -x -C $$source
	cargo build --workspace --release --manifest-path $$source/Cargo.toml --target-dir target/before/build $(MEASURED)

bench-books: build-tested ## Check the books of BOOKINGS bookings and say how long it takes; a minute for filling them in
	@NEXUS_BOOKS_BOOKINGS=$(BOOKINGS) cargo test --workspace --test fast while_nobody_has_counted_them -- --nocapture

# What is deployed, and nothing else.
SHIPPED := nexus-api nexus-jobs $(addprefix nexus-worker-,otp payments bookings expiry cleanup notifications)
# With the features that the whole workspace asks for, so that no crate is built twice.
BUILD := cargo build --workspace --profile $(PROFILE)

build: ## Build what `make run` runs
	@$(BUILD) $(addprefix --bin ,$(SHIPPED) nexus-sandbox)

build-tested: ## Build what the tests run
	@$(BUILD) $(addprefix --bin ,$(SHIPPED) nexus-sandbox nexus-probe)

COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
NEXUS_VERSION ?= $(shell sed -n '/^version = /{ s/.*"\(.*\)"/\1/p; q }' Cargo.toml)$(if $(COMMIT), ($(COMMIT)))

release: ## Build what is deployed into target/dist, with checksums; paths and times stay out of them
	@# No path of this machine gets into the binaries, and no setting that is not committed but these.
	crates=$${CARGO_HOME:-$$HOME/.cargo}
	export RUSTFLAGS="--remap-path-prefix=$(CURDIR)=/nexus --remap-path-prefix=$$crates=/cargo"
	export CFLAGS="-ffile-prefix-map=$(CURDIR)=/nexus -ffile-prefix-map=$$crates=/cargo"
	export NEXUS_VERSION="$(NEXUS_VERSION)" CARGO_INCREMENTAL=0
	export SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0)
	cargo build --locked --release -p nexus-api -p nexus-worker --bins --target-dir target/dist/build
	cd target/dist
	install -m 755 $(addprefix build/release/,$(SHIPPED)) .
	sha256sum $(SHIPPED) | tee SHA256SUMS

fuzz: fuzz-build ## Fuzz every target for FUZZ_SECONDS, and write what was measured into docs/fuzzing.md
	@fuzz/run $(FUZZ_SECONDS) --report

fuzz-smoke: fuzz-build ## Fuzz every target for a few seconds
	@fuzz/run 4

# Only the crates of this workspace are compiled anew: what they are made of is linked as the tests have it.
fuzz-build: fuzz-deps
	@CLIPPY_ARGS=-Dwarnings RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/fuzz/instrument cargo build --workspace --features nexus-fuzz/libfuzzer --bin 'fuzz-*'

fuzz-deps: ## Install what libFuzzer is compiled with
	@missing=()
	command -v c++ >/dev/null || missing+=(g++)
	$(apt_install)

audit: ## Licences, known vulnerabilities, banned, doubled and unused crates; installs cargo-deny and cargo-machete with cargo
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	command -v cargo-machete >/dev/null || cargo install --locked cargo-machete
	# The database of vulnerabilities is fetched from GitHub; ADVISORIES=offline takes what was fetched before.
	cargo deny --locked $(if $(filter offline,$(ADVISORIES)),--offline) check
	cargo machete

sbom: ## Write what the deployed binaries are made of to target/sbom (CycloneDX); installs cargo-sbom with cargo
	@command -v cargo-sbom >/dev/null || cargo install --locked cargo-sbom
	mkdir -p target/sbom
	for package in nexus-api nexus-worker; do
		cargo sbom --cargo-package $$package --output-format cyclone_dx_json_1_6 >target/sbom/$$package.cdx.json
	done

# Installs what a recipe has found to be $missing.
define apt_install
if [ $${#missing[@]} -gt 0 ]; then
	echo "Installing $${missing[*]} with apt-get"
	command -v apt-get >/dev/null || { echo "Please install $${missing[*]}: there is no apt-get here" >&2; exit 1; }
	as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo
	$$as_root apt-get update -qq
	DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -qq --no-install-recommends "$${missing[@]}"
fi
endef

deps: ## Install PostgreSQL, Redis and a linker with the system's package manager, where they are missing
	@missing=()
	shopt -s nullglob
	command -v redis-server >/dev/null || missing+=(redis-server)
	installed=(/usr/lib/postgresql/*/bin/postgres)
	command -v postgres >/dev/null || [ $${#installed[@]} -gt 0 ] || missing+=(postgresql)
	command -v cc >/dev/null || missing+=(gcc libc6-dev)
	command -v setpriv >/dev/null || missing+=(util-linux)
	$(apt_install)

node-deps: ## Install what the tests use from npm
	@cd tests/clients
	# Again only when the lock file has changed.
	[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund

bench-deps: ## Install what Nexus is measured beside
	@cd bench/node
	[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund

python-deps: ## Install what the tests use from PyPI
	@missing=()
	command -v python3 >/dev/null || missing+=(python3)
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
	$(apt_install)
	cd tests/clients
	# Again only when the requirements have changed. The copy is made last, so that what was interrupted is not taken for done.
	cmp -s requirements.txt .venv/requirements.txt || {
		python3 -m venv --clear .venv
		.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
		cp requirements.txt .venv/
	}

clock-deps: ## Install what the tests show processes a wrong clock with
	@missing=()
	compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || [ -e /usr/lib/faketime/libfaketime.so.1 ] || missing+=(faketime)
	$(apt_install)

browser-deps: ## Install the browser that the tests use
	@missing=()
	command -v chromium google-chrome >/dev/null || missing+=(chromium)
	$(apt_install)

fmt: ## Check the formatting
	@cargo fmt --all --check

# The linter is a compiler that says more: what it has built is what the tests run.
LINTER := RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS=-Dwarnings

lint: ## Build and lint all but the fuzz targets (fuzz-build does), with every query checked against a freshly migrated database and .sqlx compared with it
	@export $(LINTER)
	cargo build --workspace --bin nexus-sandbox
	fresh=$$(mktemp -d)
	trap 'rm -rf "$$fresh"' EXIT
	# The macros look at the database only when their crate is compiled anew.
	touch common/src/lib.rs
	SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$$fresh" $(BIN)/nexus-sandbox with-postgres --migrations migrations -- \
		cargo build --workspace --all-targets
	diff -rq "$$fresh" .sqlx || { echo ".sqlx is not what the queries need: run make sqlx" >&2; exit 1; }

# The sandbox holds no queries, so it builds whatever state they are in.
sqlx: ## Write .sqlx anew, after queries or migrations have changed
	@cargo build --workspace --bin nexus-sandbox --profile $(PROFILE)
	fresh=$$(mktemp -d)
	trap 'rm -rf "$$fresh"' EXIT
	touch common/src/lib.rs
	SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$$fresh" $(BIN)/nexus-sandbox with-postgres --migrations migrations -- \
		cargo check -p nexus-common
	rm -rf .sqlx
	cp -r "$$fresh" .sqlx
	chmod 755 .sqlx

docs: ## Write the tables in docs/payments.md anew, after states have changed
	@WRITE_DOCS=1 cargo test --quiet --workspace --test state_tables

clean-data: build ## Forget what make run has stored
	@NEXUS_DATA=$(NEXUS_DATA) $(BIN)/nexus-sandbox clean
