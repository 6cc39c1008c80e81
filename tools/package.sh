#!/usr/bin/env bash
# Makes the Debian package: tools/package.sh OUT [VERSION]. PROGRAMS names a folder with built programs; without it they are built.
set -euo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
version=${2:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}
stage=target/package
rm -rf "$stage" && mkdir -p "$stage"
if [ -n "${PROGRAMS:-}" ]; then
  cp "$PROGRAMS/langlauf" "$PROGRAMS/langlauf-supervisor" "$stage/"
else
  tools/build.sh "$stage"
fi
command -v cargo-deb >/dev/null || cargo install --locked cargo-deb
cp CHANGELOG.md "$stage/NOTES.md"
# the bill of materials, with a time and paths that are the same wherever it is made
command -v cargo-cyclonedx >/dev/null || cargo install --locked cargo-cyclonedx
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
(cd crates/langlauf && cargo cyclonedx --quiet --format json --override-filename langlauf-sbom --target all)
sed "s|$PWD|/langlauf|g" crates/langlauf/langlauf-sbom.json >"$stage/sbom.cdx.json"
find crates bench tests -name langlauf-sbom.json -delete
"$stage/langlauf" release build --program "$stage/langlauf" --version "$version" --source "$(git rev-parse HEAD)" \
  --notes "$stage/NOTES.md" --sbom "$stage/sbom.cdx.json" --out "$stage/artefact.zip" >/dev/null
"$stage/langlauf" release unpack "$stage/artefact.zip" "$stage/release" >/dev/null
chmod -R go+rX "$stage/release"
cargo deb --quiet -p langlauf --no-build --no-strip --deb-version "$version-1" --output "$out/"
ls "$out"/*.deb
