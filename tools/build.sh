#!/usr/bin/env bash
# Builds the programs of a release so that the same commit gives the same bytes wherever it lies:
#   tools/build.sh OUT
# writes OUT/langlauf and OUT/langlauf-supervisor. What differs between machines is the compiler and Debian's libraries.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# panic messages and debug information name files: none of them by where this machine keeps it
maps=("$PWD=/langlauf" "$CARGO_TARGET_DIR=/target" "$cargo_home=/cargo" "$(rustc --print sysroot)=/rust")
RUSTFLAGS= CFLAGS=
for map in "${maps[@]}"; do
  RUSTFLAGS+=" --remap-path-prefix=$map"
  CFLAGS+=" -ffile-prefix-map=$map"
done
export RUSTFLAGS CFLAGS
export CARGO_PROFILE_RELEASE_STRIP=${STRIP:-symbols}
for package in ${PACKAGES:-langlauf langlauf-slots}; do
  cargo build --quiet --release --locked -p "$package"
done
for program in langlauf langlauf-supervisor; do
  [ ! -e "$CARGO_TARGET_DIR/release/$program" ] || install -m 755 "$CARGO_TARGET_DIR/release/$program" "$out/"
done
