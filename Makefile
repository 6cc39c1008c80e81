# Two commands: `make demo` and `make test`. Both set up what they need.
CARGO ?= cargo
VENV := .venv

PROGRAMS ?=

.PHONY: build-packages package reproducible test-package image test-image setup setup-network demo test demo-network test-network bench-network test-network-kernel tools lint bench fuzz soak clean-demo

# what the build needs, and what tests use as independent judges
BUILD := build-essential libpcsclite-dev pkg-config
JUDGES := chromium-driver curl jq ldap-utils libxml2-utils openssl pcscd python3-venv qpdf slapd softhsm2 vsmartcard-vpcd xmlsec1

define install
@missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then \
  SUDO=""; [ "$$(id -u)" = 0 ] || SUDO=sudo; \
  $$SUDO apt-get update -qq && $$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi
endef

build-packages:
	$(call install,$(BUILD))

setup: build-packages
	$(call install,$(JUDGES))
	@if [ -d /run/systemd/system ]; then \
	  SUDO=""; [ "$$(id -u)" = 0 ] || SUDO=sudo; $$SUDO systemctl disable --now slapd.service; fi

# real IKE peers, and hosts of our own to put them in
NETWORK := bind9-dnsutils bind9-utils busybox-static charon-systemd chrony conntrack faketime iperf3 iproute2 iputils-ping kea-dhcp4-server libcharon-extra-plugins libstrongswan-extra-plugins \
  libstrongswan-standard-plugins nftables procps python3 strongswan-swanctl unbound

# on a machine with systemd the packages start daemons of their own, which nobody here needs
setup-network: build-packages
	$(call install,$(NETWORK))
	@if [ -d /run/systemd/system ]; then \
	  SUDO=""; [ "$$(id -u)" = 0 ] || SUDO=sudo; $$SUDO systemctl disable --now strongswan.service unbound.service chrony.service kea-dhcp4-server.service; fi

# zeep with the official WSDLs is the practice system of the end-to-end tests
$(VENV)/.ready: tests/e2e/requirements.txt
	python3 -m venv $(VENV) && $(VENV)/bin/pip install -q -r tests/e2e/requirements.txt && touch $@

demo: build-packages
	$(CARGO) run -q -p langlauf -- demo $(ARGS)

test: setup $(VENV)/.ready
	$(CARGO) test --workspace

# as root: the tests make network namespaces; where that is not permitted they say so
test-network: setup-network
	$(CARGO) test -p langlauf-e2e --test network -- --nocapture

# a practice LAN, a Konnektor as its router, a concentrator, the TI: each a host of its own; as root
demo-network: setup-network
	@mkdir -p target; bash -o pipefail -c "$(CARGO) test -q -p langlauf-e2e --test network -- --exact --nocapture \
	  demo::a_practice_on_its_network 2>target/demo-network.log | sed '/^$$/d; /^running/d; /^test result/d; /^\.$$/d'" \
	  || { cat target/demo-network.log; exit 1; }
	@grep ^skipped target/demo-network.log || true

# the same commit twice, in folders of different names; half an hour
reproducible: build-packages
	tools/reproducible.sh

# the Debian package, in target/
package: build-packages
	PROGRAMS=$(PROGRAMS) tools/package.sh target

# installed, upgraded on trial, taken back, removed and purged on a clean Debian root; as root
test-package: build-packages
	$(call install,curl debootstrap python3)
	$(CARGO) build --workspace
	PROGRAMS=target/debug tests/package/run.sh

# a disk image for a small box with UEFI, in target/; as root
image: package
	tools/image.sh "$$(ls -t target/langlauf_*.deb | head -1)" target/langlauf.img

# booted by UEFI in qemu, the unit under a real systemd; as root, minutes
test-image: build-packages
	$(CARGO) build --workspace
	PROGRAMS=target/debug tests/image/run.sh

# as a share of what strongSwan does by itself, in the same run
bench-network: setup-network
	$(CARGO) test -p langlauf-e2e --test network -- --ignored --nocapture as_fast

# the same on a kernel with ESP: Debian's, in qemu; minutes. `make test-network-kernel TESTS="carries practice"`
test-network-kernel: setup-network
	$(call install,busybox-static cpio kmod qemu-system-x86)
	tests/kernel/run.sh $(TESTS)

tools:
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz

lint: build-packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

bench: setup $(VENV)/.ready
	$(CARGO) build --release -p langlauf -p langlauf-bench
	$(CARGO) run -q --release -p langlauf-bench

fuzz: tools
	@for target in $$(cd fuzz && cargo fuzz list); do \
	  mkdir -p fuzz/corpus/$$target; seeds=; [ ! -e fuzz/seeds/$$target ] || seeds=seeds/$$target; \
	  (cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run $$target corpus/$$target $$seeds -- -max_total_time=$${SECONDS_EACH:-60}) || exit 1; done

# the long tests, by name
soak: setup $(VENV)/.ready
	$(CARGO) test --workspace --release -- --ignored --nocapture

clean-demo: build-packages
	rm -rf demo demo-extend
