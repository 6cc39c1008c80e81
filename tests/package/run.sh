#!/usr/bin/env bash
# The Debian package on a clean Debian root: installed, upgraded on trial, taken back, removed, purged. As root; needs debootstrap,
# cargo-deb and the programs (PROGRAMS=target/debug takes those of the tests). No systemd runs in there: the unit's own command
# line is started by hand with the unit's user.
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
root=$work/root
port=18500
stop() {
  set +e
  [ -z "${supervisor:-}" ] || kill "$supervisor" 2>/dev/null && wait "$supervisor" 2>/dev/null
  umount "$root/proc" 2>/dev/null
  rm -rf "$work"
}
trap stop EXIT
say() { echo "--- $*"; }
fail() { echo "FAILED: $*" >&2; tail -20 "$work/log" 2>/dev/null >&2; exit 1; }
in_root() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }
wait_for() { # seconds, command…
  local left=$(($1 * 5)); shift
  until "$@"; do left=$((left - 1)); [ "$left" -gt 0 ] || return 1; sleep 0.2; done
}

cache=target/debian-root.tar
if [ ! -e "$cache" ]; then
  say "a clean Debian 12"
  debootstrap --variant=minbase bookworm "$work/fresh" >"$work/log" 2>&1 || fail debootstrap
  tar -C "$work/fresh" -cf "$cache" . && rm -rf "$work/fresh"
fi
mkdir "$root" && tar -C "$root" -xf "$cache"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"

say "two versions of the package"
export PROGRAMS=${PROGRAMS:-target/debug}
tools/package.sh "$work/first" 0.1.0 >"$work/log" 2>&1 || fail package
tools/package.sh "$work/second" 0.1.1 >"$work/log" 2>&1 || fail package
cp "$work"/first/*.deb "$work"/second/*.deb "$root/root/"

in_root apt-get update -qq
in_root apt-get install -y -qq --no-install-recommends libpcsclite1 util-linux >"$work/log" 2>&1 || fail dependencies
files() { (cd "$root" && find etc usr var lib -xdev \( -path var/lib/apt -o -path var/lib/dpkg -o -path var/log -o -path var/cache \) -prune -o -print | sort); }
files >"$work/before"

say "install"
in_root apt-get install -y -qq --no-install-recommends /root/langlauf_0.1.0-1_amd64.deb >"$work/log" 2>&1 || fail install
in_root langlauf --version
[ "$(in_root stat -c '%U %a' /var/lib/langlauf)" = "langlauf 700" ] || fail "rights of /var/lib/langlauf"
[ "$(in_root stat -c '%U %a' /var/lib/langlauf/slots/pointer.json)" = "langlauf 600" ] || fail "rights of the pointer"
grep -q '"confirmed": "a"' "$root/var/lib/langlauf/slots/pointer.json" || fail "slot A"

say "set up as a test world's device, and start as the unit does"
"$PROGRAMS/langlauf" demo --once --no-rsa --free-ports --json --folder "$work/world" >"$work/log" 2>&1 || fail demo
mkdir "$root/root/world" && cp -r "$work/world/." "$root/root/world/"
in_root langlauf init --from /root/world | sed 's/with .*/with …/'
sed -i "s/^listen = .*/listen = \"127.0.0.1:$((port + 1))\"/; s/^listen_admin = .*/listen_admin = \"127.0.0.1:$port\"/; \
  s/^listen_pages = .*/listen_pages = \"127.0.0.1:$((port + 2))\"/" "$root/etc/langlauf/konnektor.toml"
command=$(sed -n '/^ExecStart=/,/[^\\]$/p' "$root/lib/systemd/system/langlauf.service" | sed 's/^ExecStart=//; s/\\$//' | tr -d '\n')
start() {
  # shellcheck disable=SC2086
  chroot "$root" setpriv --reuid langlauf --regid langlauf --init-groups env PATH=/usr/bin:/bin $command >"$work/log" 2>&1 &
  supervisor=$!
}
serves() { [ "$(curl -sk -o /dev/null -w '%{http_code}' "https://127.0.0.1:$((port + 2))/login")" = 200 ]; }
start
wait_for 60 serves || fail "the pages do not answer"
confirmed() { in_root setpriv --reuid langlauf --regid langlauf --init-groups /usr/lib/langlauf/langlauf-supervisor show --slots /var/lib/langlauf/slots; }
runs() { confirmed | python3 -c "import json,sys; p=json.load(sys.stdin); sys.exit(p[p['confirmed']]['version'] != '$1' or p['trial'] is not None)"; }
runs 0.1.0 || fail "0.1.0 is not confirmed"

say "upgrade by apt: on trial, then confirmed"
in_root apt-get install -y -qq --no-install-recommends /root/langlauf_0.1.1-1_amd64.deb >"$work/apt" 2>&1 || { cat "$work/apt"; fail upgrade; }
wait_for 90 runs 0.1.1 || fail "0.1.1 was not confirmed"
wait_for 30 serves || fail "not served after the upgrade"

say "a bad release: back by itself"
bad=$root/var/lib/langlauf/bad
mkdir "$bad" && printf '#!/bin/sh\nexit 1\n' >"$bad/langlauf" && chmod 755 "$bad/langlauf"
size=$(stat -c %s "$bad/langlauf") hash=$(sha256sum "$bad/langlauf" | cut -d' ' -f1)
echo "{\"version\":\"0.1.2\",\"source\":\"bad\",\"program\":\"langlauf\",\"parts\":[{\"path\":\"langlauf\",\"size\":$size,\"sha256\":\"$hash\"}]}" >"$bad/release.json"
in_root chown -R langlauf:langlauf /var/lib/langlauf/bad
in_root setpriv --reuid langlauf --regid langlauf --init-groups /usr/lib/langlauf/langlauf-supervisor offer --slots /var/lib/langlauf/slots /var/lib/langlauf/bad
back() { confirmed | grep -q rolled_back; }
wait_for 60 back || fail "not taken back"
wait_for 60 serves || fail "not served after the return"
runs 0.1.1 || fail "0.1.1 is not back"

say "remove: programs go, state and configuration stay"
kill "$supervisor" && wait "$supervisor" || true
supervisor=
in_root apt-get remove -y -qq langlauf >"$work/log" 2>&1 || fail remove
[ ! -e "$root/usr/bin/langlauf" ] && [ -e "$root/var/lib/langlauf/state/langlauf.db" ] || fail "removal"

say "purge: nothing is left"
in_root apt-get purge -y -qq langlauf >"$work/log" 2>&1 || fail purge
files >"$work/after"
# the accounts stay, as Debian's policy has it
diff "$work/before" "$work/after" | grep '^[<>]' | grep -vE ' etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$' >"$work/left" || true
[ ! -s "$work/left" ] || { cat "$work/left"; fail "something is left"; }
say "the package does what it says"
