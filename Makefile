# Everything that this project does, in one command each. `make` alone lists them.
#
# The tools beside Rust and Python (cargo-lambda, the SAM CLI, an AWS emulator) are installed into .tools/, in the
# versions that tests/tools/ pins: nothing of the machine's changes, and a test means the same everywhere.

PYTHON ?= python3
PYTHON_VERSION := 3.11
RUST_VERSION := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Those that take longest come first.
TOOLS := $(addprefix .tools/,$(addsuffix /.installed,sam checkov emulator bindings cargo-lambda))
EMULATOR_PYTHON := .tools/emulator/bin/python
WITH_CARGO_LAMBDA := PATH='$(CURDIR)/.tools/cargo-lambda/bin':"$$PATH"

# Unless told not to, the SAM CLI insists on the profile that is set, reports its use, and writes to the home folder.
SAM := env -u AWS_PROFILE SAM_CLI_TELEMETRY=0 __SAM_CLI_APP_DIR='$(CURDIR)/.tools/sam' .tools/sam/bin/sam

# Python is not to leave bytecode beside the tests.
export PYTHONDONTWRITEBYTECODE := 1

# The steps of a target are in the order in which they fail fastest: they don't run side by side. Only the tools' do.
ifneq ($(MAKECMDGOALS),installed)
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:
.PHONY: help demo watch test bench events schemas tools installed build prerequisites clean

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "%-14s %s\n", $$1, $$2 }'

demo: tools build ## Send every event through the function to a local bus, and show what comes out
	@$(EMULATOR_PYTHON) tests/e2e/demo.py

watch: tools build ## Leave the demo's function and bus running, to send deliveries by hand
	@$(EMULATOR_PYTHON) tests/e2e/demo.py --play

# The end-to-end tests come last: they take longest, and their summary closes the output. Those of the deployment wait for
# the release, which takes minutes the first time and is built beside the others.
test: tools ## Run all checks and tests
	cargo fmt --all --check
	cargo clippy --workspace --exclude defaults --all-targets --all-features --locked -- -D warnings
	cargo clippy --no-default-features --lib --locked -- -D warnings
	RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --all-features --locked
	cargo test --all-features --locked
	$(SAM) validate --lint --template-file template.yaml
	cargo build --locked
	@echo 'Compiling the release beside the end-to-end tests'
	@$(WITH_CARGO_LAMBDA) cargo lambda build --release --locked --quiet & \
	$(EMULATOR_PYTHON) -m pytest -p no:cacheprovider tests/e2e/test_[!d]*.py tests/e2e/test_d*.py; status=$$?; \
	wait; exit $$status

bench: .tools/cargo-lambda/.installed ## Measure the function's own work and the whole process, and draw the README's chart
	$(WITH_CARGO_LAMBDA) cargo bench --locked --package benches

events: prerequisites ## Write the envelopes in events/ again, from the bodies in events/bodies/
	cargo run --locked --example events

schemas: prerequisites ## Write the schemas in events/schemas/ again, from the Rust types
	cargo run --locked --no-default-features --features schemas --example schemas

tools: prerequisites ## Install the pinned tools into .tools/ (the other commands do so when needed)
	@$(MAKE) --no-print-directory --jobs=2 installed

installed: $(TOOLS)
	@:

# A changed pin file installs the tool anew. An install that was interrupted leaves no stamp, and starts over.
.tools/%/.installed: tests/tools/%.txt | prerequisites
	@echo 'Installing $* into .tools/ (once)'
	@rm -rf '.tools/$*'
	@$(PYTHON) -m venv '.tools/$*'
	@'.tools/$*/bin/python' -m pip install --quiet --disable-pip-version-check --requirement '$<'
	@touch '$@'

# Ahead of time, so that the developer sees Cargo at work; the demo would compile too, but silently.
build: prerequisites
	@echo 'Compiling the function, which takes minutes the first time'
	@cargo build --locked

prerequisites:
	@command -v cargo > /dev/null || $(call missing,Rust $(RUST_VERSION) or newer; install it with rustup)
	@rustc --version | awk -v least='$(RUST_VERSION)' '{ split($$2, is, "."); split(least, min, "."); \
			exit !(is[1] > min[1] || is[1] == min[1] && is[2] >= min[2]) }' \
		|| $(call missing,Rust $(RUST_VERSION) or newer in the place of $$(rustc --version); run rustup update)
	@command -v cc > /dev/null \
		|| $(call missing,a C compiler; it is in the package build-essential or in the Xcode command line tools)
	@command -v $(PYTHON) > /dev/null \
		|| $(call missing,Python $(PYTHON_VERSION) or newer; PYTHON= names it if it is not $(PYTHON))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(PYTHON_VERSION)".split("."))))' \
		|| $(call missing,Python $(PYTHON_VERSION) or newer in the place of $$($(PYTHON) --version); PYTHON= names another)
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
		|| $(call missing,the venv module of Python; it is in the package python3-venv)

missing = { echo "This needs $(1)." >&2; exit 1; }

clean: ## Remove all that these commands made
	cargo clean
	rm -rf .tools .aws-sam
