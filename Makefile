# Two commands: `make demo` and `make test`. Both set up what they need.
CARGO ?= cargo
VENV := .venv

.PHONY: setup demo test tools lint bench fuzz soak clean-demo

PACKAGES := build-essential curl jq libpcsclite-dev libxml2-utils openssl pcscd pkg-config python3-venv vsmartcard-vpcd xmlsec1

# Debian packages that tests use as independent judges; nothing of them is in the product
setup:
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  SUDO=""; [ "$$(id -u)" = 0 ] || SUDO=sudo; \
	  $$SUDO apt-get update -qq && $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; fi

# zeep with the official WSDLs is the practice system of the end-to-end tests
$(VENV)/.ready: tests/e2e/requirements.txt
	python3 -m venv $(VENV) && $(VENV)/bin/pip install -q -r tests/e2e/requirements.txt && touch $@

demo:
	$(CARGO) run -q -p langlauf -- demo $(ARGS)

test: setup $(VENV)/.ready
	$(CARGO) test --workspace

tools:
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench:
	$(CARGO) run --release -p langlauf-bench

fuzz: tools
	@for target in $$(cd fuzz && cargo fuzz list); do \
	  (cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$${SECONDS_EACH:-60}) || exit 1; done

# the long tests, by name
soak:
	$(CARGO) test --workspace --release -- --ignored

clean-demo:
	rm -rf demo
