# The project's commands. `make` without a target lists them.
#
# The tools besides Rust and Python (cargo-lambda, the SAM CLI, an AWS emulator, code generators) are installed into
# .tools/, in the versions and with the hashes that tests/tools/ pins. So the tests use the same files on every machine,
# and nothing is installed outside of this folder.

PYTHON ?= python3
PYTHON_VERSION := 3.11
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# The tools that take longest to install come first.
TOOLS := $(addprefix .tools/,$(addsuffix /.installed,sam checkov emulator bindings cargo-lambda iam-simulate consumers cdk aws-cli))
EMULATOR_PYTHON := .tools/emulator/bin/python
PYTEST := $(EMULATOR_PYTHON) -m pytest -p no:cacheprovider
ACCEPTANCE := $(EMULATOR_PYTHON) tests/e2e/acceptance.py
WITH_CARGO_LAMBDA := PATH='$(CURDIR)/.tools/cargo-lambda/bin':"$$PATH"

# Keep Python from writing bytecode files next to the tests.
export PYTHONDONTWRITEBYTECODE := 1

# The steps of a target run one after the other, and those that fail fastest come first. Only the tools are installed in
# parallel: for the demo, the compilation runs at the same time.
ifeq ($(filter installed local,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:
.PHONY: help demo watch local test rust acceptance release test-release bench events schemas tools installed build prerequisites clean

help: ## List the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: prerequisites ## Send every sample event through the function to a local bus, and show what arrives
	@$(MAKE) --no-print-directory --jobs=2 local
	@$(EMULATOR_PYTHON) tests/e2e/demo.py

# $(value …) keeps the $ in a pattern with `$or`.
watch: override export PATTERN := $(value PATTERN)
watch: override export FORWARD := $(value FORWARD)
watch: prerequisites ## Run the function and a local bus until Ctrl-C, and show the events: PATTERN=… FORWARD=URL BATCH=10 JSON=1 LOG=1
	@$(PYTHON) tests/e2e/options.py
	@$(MAKE) --no-print-directory --jobs=2 local
	@$(EMULATOR_PYTHON) tests/e2e/watch.py

# What the demo needs: two of the tools, and the function.
local: build .tools/cargo-lambda/.installed .tools/emulator/.installed
	@:

# The packages that have tests and documentation in Rust. The benchmarks have neither.
PACKAGES := -p scalekit-eventbridge -p scalekit-events -p test-support

# The program for people is a workspace of its own: see cli/Cargo.toml.
CLI := --manifest-path cli/Cargo.toml

# Clippy also checks the benchmarks, except `defaults`: its dependencies take long to compile.
#
# Installing the tools takes minutes the first time, so it runs in parallel with the checks and tests in Rust, which need
# none of them. The tests of the deployment, which are the quick form of the acceptance, need the release build. That takes
# several minutes the first time, so both run in parallel with the other end-to-end tests.
test: prerequisites ## Run all checks and tests
	@$(MAKE) --no-print-directory tools & \
	$(MAKE) --no-print-directory rust; status=$$?; \
	wait $$! && exit $$status
	.tools/sam/bin/cfn-lint template.yaml deploy/*.yaml
	cargo build --locked
	@echo 'Running the tests of the deployment in parallel with the other end-to-end tests'
	@{ $(WITH_CARGO_LAMBDA) cargo lambda build --release --locked --quiet && \
		{ $(ACCEPTANCE) emulator --quick; status=$$?; \
		$(PYTEST) -rs -m 'not acceptance' tests/e2e/test_d*.py && exit $$status; }; } > target/test-deployment.log 2>&1 & \
	$(PYTEST) -m 'not acceptance' tests/e2e/test_[!d]*.py; status=$$?; \
	wait $$! || status=1; cat target/test-deployment.log; exit $$status

# `cargo doc` gets the packages and the example because its dependencies then have the features that Clippy has compiled.
rust: prerequisites
	cargo fmt --all --check
	cargo fmt $(CLI) --check
	cargo clippy --workspace --exclude defaults --all-targets --all-features --locked -- -D warnings
	cargo clippy $(CLI) --all-targets --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --locked --workspace --exclude defaults --all-features --lib --example consumer
	cargo test --locked $(PACKAGES) --all-features
	cargo test --locked $(CLI)

# On AWS, the acceptance deploys the release in dist/, which this builds if there is none. On the emulator, it deploys a
# build for this machine.
acceptance: .tools/emulator/.installed .tools/bindings/.installed $(if $(EMULATOR),.tools/sam/.installed .tools/cargo-lambda/.installed,dist/SHA256SUMS) ## Prove a deployment in your AWS account, or with EMULATOR=1 on this machine: QUICK=1 KEEP=1 REMOVE=1 YES=1
	@cargo build --locked --quiet
	@$(if $(EMULATOR),$(WITH_CARGO_LAMBDA) cargo lambda build --release --locked --quiet)
	@$(ACCEPTANCE) $(if $(EMULATOR),emulator,aws) $(if $(QUICK),--quick) $(if $(KEEP),--keep) $(if $(REMOVE),--remove) $(if $(YES),--yes)

dist/SHA256SUMS:
	@$(MAKE) --no-print-directory release

# The code generators for the packages for consumers. Node comes from the policy simulator.
PACKAGING := .tools/bindings/.installed .tools/consumers/.installed

# The tests of a release run both binaries. The binary for the other architecture runs under qemu.
release: $(PACKAGING) .tools/cargo-lambda/.installed .tools/emulator/.installed ## Build a release into dist/ and test it
	@$(WITH_CARGO_LAMBDA) $(EMULATOR_PYTHON) deploy/release.py
	@$(MAKE) --no-print-directory test-release

test-release: $(PACKAGING) .tools/cargo-lambda/.installed .tools/emulator/.installed
	$(PYTEST) -rs tests/e2e/test_dist.py
	$(PYTEST) -rs tests/e2e/test_packages.py --packages dist

bench: .tools/cargo-lambda/.installed ## Measure the function's own work and the whole process, and draw the chart
	$(WITH_CARGO_LAMBDA) cargo bench --locked --package benches

events: prerequisites ## Generate the invocations and the events as delivered in events/ from events/bodies/
	cargo run --locked --example events

schemas: prerequisites ## Generate the schemas, the AsyncAPI document and the catalogue in events/ from the Rust tables and types
	cargo run --locked --package scalekit-events --features schemas --example schemas

tools: prerequisites ## Install the pinned tools into .tools/ (the other commands do this when needed)
	@$(MAKE) --no-print-directory --jobs=2 installed

installed: $(TOOLS)
	@:

# A changed pin file reinstalls the tool. An interrupted installation leaves no stamp, so it starts over.
.tools/%/.installed: tests/tools/%.txt | prerequisites
	@echo 'Installing $* into .tools/ (once)' >&2
	@rm -rf '.tools/$*'
	@$(PYTHON) -m venv '.tools/$*'
	@'.tools/$*/bin/python' -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
		--requirement '$<'
	@if [ -d 'tests/tools/$*' ]; then $(call install_node_packages,$*); fi
	@touch '$@'

# Some tools are Node packages. Node itself comes from PyPI, so that it needn't be installed on the machine. A tool without
# a Node of its own uses that of the policy simulator.
.tools/iam-simulate/.installed: tests/tools/iam-simulate/package-lock.json
.tools/consumers/.installed: tests/tools/consumers/package-lock.json .tools/iam-simulate/.installed
.tools/cdk/.installed: deploy/cdk/package-lock.json

install_node_packages = cp tests/tools/$(1)/package*.json '.tools/$(1)/' && cd '.tools/$(1)' \
	&& PATH="$$PWD/bin:$$PWD/../iam-simulate/bin:$$PATH" npm_config_cache="$$PWD/.npm" npm ci --ignore-scripts --no-audit --no-fund \
		--no-update-notifier --loglevel=error > npm.log || { cat npm.log; exit 1; }

# The demo would compile the function too, but without showing Cargo's progress. Cargo counts its own jobs: make allows
# only as many as the tools need.
build: prerequisites
	@[ -e target/debug/scalekit-eventbridge ] || echo 'Compiling the function, which takes several minutes the first time' >&2
	@MAKEFLAGS= cargo build --locked

prerequisites:
	@command -v cargo > /dev/null || $(call missing,Rust $(RUST_VERSION) or newer; install it with rustup)
	@rustc --version | awk -v least='$(RUST_VERSION)' '{ split($$2, is, "."); split(least, min, "."); \
			exit !(is[1] > min[1] || is[1] == min[1] && is[2] >= min[2]) }' \
		|| $(call missing,Rust $(RUST_VERSION) or newer instead of $$(rustc --version); run rustup update)
	@command -v cc > /dev/null \
		|| $(call missing,a C compiler; it is in the package build-essential or in the Xcode command line tools)
	@command -v $(PYTHON) > /dev/null \
		|| $(call missing,Python $(PYTHON_VERSION) or newer; set PYTHON= if it isn't $(PYTHON))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(PYTHON_VERSION)".split("."))))' \
		|| $(call missing,Python $(PYTHON_VERSION) or newer instead of $$($(PYTHON) --version); set PYTHON= to another)
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
		|| $(call missing,the venv module of Python; it is in the package python3-venv)

missing = { echo "This needs $(1)." >&2; exit 1; }

clean: ## Remove what these commands built and installed
	cargo clean
	rm -rf .tools .aws-sam dist
