#!/usr/bin/env bash
# Builds the same commit twice, in folders of different names, and compares byte by byte. Half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for place in one another/place/with/a/longer/name; do
  git clone --quiet . "$work/$place"
  git -C "$work/$place" checkout --quiet "$commit"
  (cd "$work/$place" && env -u CARGO_TARGET_DIR tools/build.sh "$work/$place/out")
done
for program in langlauf langlauf-supervisor; do
  cmp "$work/one/out/$program" "$work/another/place/with/a/longer/name/out/$program"
  sha256sum "$work/one/out/$program" | sed "s|$work/one/out/||"
done
echo "$commit is reproducible"
