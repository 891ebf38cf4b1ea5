# `make help` lists the targets. Everything heavy is in cargo and in the `cluster` program of tests/.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
# The cluster of `make demo`, `make e2e` and `make images`. `make test` has one of its own, so that a demo may go on beside it.
PENSTOCK_CLUSTER ?= penstock
TEST_CLUSTER ?= penstock-test
# Further arguments: of the tests such as the name of one of them, of `cargo deny check` such as `licenses bans`, of `chaos`,
# `bench-topics`, `bench-worker`, `bench-handler` and `bench-scaling` such as `--help`.
ARGS ?=

CLUSTER = $(CARGO) run --quiet -p penstock-tests --bin cluster --
# These run side by side, more of them than there are cores since they mostly wait.
E2E = $(CARGO) test -p penstock-tests --test e2e
E2E_THREADS = --test-threads=8
# One after the other: those in which only the operator dies may run side by side, but two cores have brokers as processes beside
# them, and workers were seen to miss their probes then.
FAULTS = $(CARGO) test -p penstock-tests --test faults
FAULTS_THREADS = --test-threads=1
# Brokers and workers as processes of this machine, without a cluster.
LOCAL = $(CARGO) test -p penstock-tests --test local
# The same, broken on purpose; see tests/chaos/README.md.
CHAOS = $(CARGO) run --quiet -p penstock-tests --bin chaos --
# What only root can do to brokers.
CHAOS_WITHOUT = $(if $(filter-out 0,$(shell id -u)),--without partitioned --without disk-full)

# Ends with a clear word where a program is missing: $(call need,program=where,from program=...), commas for spaces. What
# compiling the C libraries needs is installed where that is possible; what clusters need, the `cluster` program sees to.
define need
missing=
for pair in $(1); do command -v "$${pair%%=*}" >/dev/null || missing+=" $$pair"; done
if [ -n "$$missing" ]; then
  echo "make: these programs are missing on PATH:" >&2
  for pair in $$missing; do from=$${pair#*=}; echo "  $${pair%%=*}: $${from//,/ }" >&2; done
  exit 1
fi
packages=
for program in gcc g++ perl; do command -v $$program >/dev/null || packages+=" $$program"; done
[ -e /usr/include/stdio.h ] || packages+=" libc6-dev"
if [ -n "$$packages" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "==> apt-get install$$packages"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages >/dev/null
elif [ -n "$$packages" ]; then
  echo "make: C libraries cannot be compiled: install$$packages" >&2; exit 1
fi
endef
RUST := cargo=Rust,from,https://rustup.rs
PLATFORM := $(RUST) go=Go,1.26,or,newer,from,https://go.dev/dl jlink=apt-get,install,openjdk-17-jdk-headless mvn=apt-get,install,maven
DENY := cargo-deny=cargo,install,cargo-deny,--locked

.PHONY: help demo demo-down examples shell test processes check alone fmt lint unit docs pack package template e2e up local chaos bench-topics bench-worker bench-handler bench-scaling images generate deny clean

help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):[^#]*## (.*)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{printf "%-18s %s\n", $$1, $$2}'

demo: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
demo: ## from nothing to a paid order: cluster, Kafka, operator, examples/orders
	@$(call need,$(PLATFORM))
	began=$$(date +%s)
	echo "==> compiling the harness (the first time some minutes)"
	trap 'echo "RESULT accepted=0 completed=0 failed=0 rejected=0 poison=0 lost=0 seconds=$$(($$(date +%s) - began))"' EXIT
	$(CARGO) build --quiet -p penstock-tests --bins
	$(CLUSTER) up
	$(CLUSTER) kafka up
	$(CLUSTER) build
	# From here on it is the program that says so.
	trap - EXIT
	$(CLUSTER) exec -- $(CARGO) run --quiet -p penstock-tests --bin demo -- --began "$$began"

demo-down: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
demo-down: ## remove what `make demo` made
	@$(call need,$(RUST))
	$(CLUSTER) down

examples: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
examples: ## every example end to end on the demo's cluster, which stays up; ARGS=coffee for one
	@$(call need,$(PLATFORM))
	$(CLUSTER) up
	$(CLUSTER) kafka up
	$(CLUSTER) build
	$(CLUSTER) handlers
	$(CARGO) build --quiet -p penstock-tests --bin try-examples
	$(CLUSTER) exec -- $(CARGO) run --quiet -p penstock-tests --bin try-examples -- $(ARGS)

shell: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
shell: ## a shell beside the demo's cluster, with kubectl, helm, kind and docker pointed at it
	@$(call need,$(RUST))
	$(CLUSTER) exec -- bash

# Each step runs in a session of its own, so that an interrupt ends it as a whole and the cluster is still taken down. What mostly waits
# runs beside something else, and what it prints is shown once that is over: the cluster comes up beside the first step, not beside tests
# with brokers, whose time would go to it where it has to be compiled first; those with brokers as processes run beside those that disturb
# the cluster, which come one after the other.
test: export PENSTOCK_CLUSTER := $(TEST_CLUSTER)
test: ## everything: format, lints, unit tests, docs, end-to-end tests on a cluster of their own
	@$(call need,$(PLATFORM))
	log=$$(mktemp); aside=$$(mktemp); pid=; beside=; name=
	finish() {
	  code=$$?
	  trap '' INT TERM HUP; trap - EXIT
	  set +e
	  for session in $$pid $$beside; do { kill -TERM -- "-$$session"; wait "$$session"; } 2>/dev/null; done
	  $(CLUSTER) down || code=1
	  read -r passed failed < <(awk '/^test result:/ {p += $$4; f += $$6} END {print p + 0, f + 0}' "$$log")
	  rm -f "$$log" "$$aside"
	  case $$code in 0) ;; 130 | 143) echo "make test: interrupted at: $$name" >&2 ;; *) echo "make test: failed at: $$name" >&2 ;; esac
	  [ "$$code" = 0 ] || [ "$$failed" != 0 ] || failed=1
	  echo "$$passed passed, $$failed failed"
	  exit "$$code"
	}
	trap finish EXIT; trap 'exit 130' INT; trap 'exit 143' TERM HUP
	step() {
	  name=$$1; shift
	  echo "==> $$name ($${SECONDS}s)"
	  setsid bash -o pipefail -c '"$$@" 2>&1 | tee -a "$$0"' "$$log" "$$@" & pid=$$!
	  wait "$$pid"
	  pid=
	}
	begin() { began=$$SECONDS; setsid "$$@" >"$$aside" 2>&1 & beside=$$!; }
	finished() {
	  step "$$1, begun at $${began}s" tail -n +1 -f --pid="$$beside" "$$aside"
	  ended=$$beside; beside=
	  wait "$$ended"
	}
	begin $(MAKE) up
	step "format, lints, unit tests, docs" $(MAKE) check
	finished "cluster, Kafka, images"
	step "compiling the other tests" $(E2E) --test faults --test local --bin chaos --no-run --quiet
	step "end-to-end tests" $(CLUSTER) exec -- $(E2E) -- $(E2E_THREADS) $(ARGS)
	begin $(MAKE) processes
	step "end-to-end tests with faults" $(CLUSTER) exec -- $(FAULTS) -- $(FAULTS_THREADS) $(ARGS)
	finished "brokers and workers as processes, some of them broken"
	name="taking the cluster down"

# Brokers and workers as processes of this machine, whole ones and broken ones.
processes:
	@$(LOCAL) -- --test-threads=6
	$(CHAOS) --runs 3 --seconds 30 --no-seeded $(CHAOS_WITHOUT)

check: ## the part of `make test` that needs no cluster
	@$(MAKE) fmt
	echo "==> clippy (the first time some minutes)"
	$(MAKE) lint
	echo "==> unit and doc tests"
	$(MAKE) unit
	echo "==> rustdoc"
	$(MAKE) docs
	echo "==> the kafka crate as a package"
	$(MAKE) pack

# Each with the features that it asks for itself: in the workspace another crate may lend it some.
alone: ## does each crate check without the others? (the first time some minutes)
	@$(call need,$(RUST))
	for crate in crds kafka operator workers tests; do $(CARGO) check --quiet -p penstock-$$crate; done

fmt: ## is everything formatted?
	@$(call need,$(RUST))
	$(CARGO) fmt --all --check

lint: ## clippy with warnings denied
	@$(call need,$(RUST))
	$(CARGO) clippy --quiet --workspace --all-targets -- -D warnings

unit: ## unit tests, doc tests, those of the worker of one's own, and whether the generated files are fresh
	@$(call need,$(RUST))
	$(CARGO) test --no-fail-fast --workspace --lib --bins --test generated --test screening
	$(CARGO) test --no-fail-fast --workspace --doc

docs: export RUSTDOCFLAGS := -D warnings
docs: ## rustdoc with warnings denied
	@$(call need,$(RUST))
	$(CARGO) doc --quiet --workspace --no-deps

pack: ## pack the kafka crate as for a registry, without compiling it
	@$(call need,$(RUST))
	$(CARGO) package --quiet --no-verify --allow-dirty -p penstock-kafka

# Without the flags of .cargo/config.toml, which a stranger does not have, and with a lock file of its own.
package: pack ## compile the packed kafka crate and its examples outside of the workspace (the first time some minutes)
	@target=$$($(CARGO) metadata --no-deps --format-version=1 | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT
	tar -xzf "$$(ls -t "$$target"/package/penstock-kafka-*.crate | head -n 1)" -C "$$folder" --strip-components=1
	cd "$$folder"
	CARGO_TARGET_DIR="$$target/stranger" $(CARGO) build --locked --examples
	CARGO_TARGET_DIR="$$target/stranger" $(CARGO) build --locked --no-default-features

# As its README says, but for the folder that it is copied to.
template: ## copy the worker of one's own out of the workspace, build it there and run its tests (the first time some minutes)
	@$(call need,$(RUST))
	target=$$($(CARGO) metadata --no-deps --format-version=1 | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT
	cp -r examples/custom-worker "$$folder/order-screening"
	cp -r .cargo Cargo.lock rust-toolchain.toml "$$folder/order-screening/"
	cd "$$folder/order-screening"
	sed -i "s|\.\./\.\./workers|$$OLDPWD/workers|" Cargo.toml
	CARGO_TARGET_DIR="$$target/stranger" $(CARGO) test

e2e: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
e2e: ## end-to-end tests on the demo's cluster, which stays up: the fast way while developing
	@$(MAKE) up
	$(E2E) --test faults --no-run --quiet
	$(CLUSTER) exec -- $(E2E) -- $(E2E_THREADS) $(ARGS)
	$(CLUSTER) exec -- $(FAULTS) -- $(FAULTS_THREADS) $(ARGS)

# What end-to-end tests stand on.
up: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
up:
	@$(call need,$(PLATFORM))
	$(CLUSTER) up
	$(CLUSTER) kafka up
	$(CLUSTER) build
	$(CLUSTER) handlers
	$(CLUSTER) prometheus

local: ## tests with brokers and workers as processes, without a cluster
	@$(call need,$(PLATFORM))
	$(LOCAL) -- $(ARGS)

chaos: ## break workers and brokers in every way and check what is left: 30 runs of a minute, results in docs/reliability.md
	@$(call need,$(PLATFORM))
	$(CARGO) run --release -p penstock-tests --bin chaos -- --append docs/reliability.md $(ARGS)

bench-topics: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
bench-topics: ## the operator with thousands of topics on the demo's cluster, beside a bare loop
	@$(call need,$(PLATFORM))
	$(CLUSTER) up
	$(CLUSTER) kafka up
	$(CLUSTER) build
	$(CARGO) build --quiet --release -p penstock-tests --bin bench-topics
	$(CLUSTER) exec -- $(CARGO) run --quiet --release -p penstock-tests --bin bench-topics -- $(ARGS)

bench-worker: ## the worker beside plain loops: records a second, CPU, memory, latency
	@$(call need,$(PLATFORM))
	$(CARGO) run --release -p penstock-tests --bin bench-worker -- $(ARGS)

bench-handler: ## what the hop to a handler over HTTP costs: records a second, CPU, latency, beside a bare HTTP client
	@$(call need,$(PLATFORM))
	$(CARGO) run --release -p penstock-tests --bin bench-handler -- $(ARGS)

bench-scaling: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
bench-scaling: ## what watching 200 pipelines costs the operator and Kafka, and how long it takes to wake one, on the demo's cluster
	@$(MAKE) up
	$(CARGO) build --release --quiet -p penstock-tests --bin bench-scaling
	$(CLUSTER) exec -- $(CARGO) run --release --quiet -p penstock-tests --bin bench-scaling -- $(ARGS)

images: export PENSTOCK_CLUSTER := $(PENSTOCK_CLUSTER)
images: ## build the images, those of handlers too, and load them into the cluster
	@$(call need,$(PLATFORM))
	$(CLUSTER) up
	$(CLUSTER) build
	$(CLUSTER) handlers

generate: ## write what is generated from crds/src: crds/*.yaml, the chart's CRDs, docs/api.md
	@$(call need,$(RUST))
	$(CARGO) run --quiet -p penstock-crds --bin crdgen

deny: ## licences, advisories and doubled crates of the dependency tree (needs cargo-deny)
	@$(call need,$(RUST) $(DENY))
	$(CARGO) deny check $(ARGS)

clean: ## remove what cargo built; clusters go with demo-down, caches stay in ~/.cache/penstock
	@$(call need,$(RUST))
	$(CARGO) clean
