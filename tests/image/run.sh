#!/usr/bin/env bash
# The image boots by UEFI in qemu (software emulation), and systemd runs the unit as it is written. As root; minutes. PROGRAMS names the
# programs, by default those of the tests.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PROGRAMS=${PROGRAMS:-target/debug}
for package in ovmf qemu-system-x86; do
  dpkg -s "$package" >/dev/null 2>&1 || missing="${missing:-} $package"
done
[ -z "${missing:-}" ] || apt-get install -y -qq --no-install-recommends $missing
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools/package.sh "$work" 0.1.0 >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$PROGRAMS/langlauf" demo --once --no-rsa --free-ports --json --folder "$work/world" >"$work/log" 2>&1
cat >"$work/hook" <<H
#!/bin/sh
set -e
root=\$1
mkdir "\$root/root/world"
cp -r "$work/world/." "\$root/root/world/"
chroot "\$root" langlauf init --from /root/world >/dev/null
sed -i 's/^listen = .*/listen = "127.0.0.1:8443"/; s/^listen_admin = .*/listen_admin = "127.0.0.1:8500"/; s/^listen_pages = .*/listen_pages = "127.0.0.1:8501"/' \
  "\$root/etc/langlauf/konnektor.toml"
cat >"\$root/usr/local/sbin/look" <<'L'
#!/bin/bash
answers() {
  for i in \$(seq 300); do
    (exec 3<>/dev/tcp/127.0.0.1/8500) 2>/dev/null && return
    sleep 1
  done
}
answers
exec >/dev/ttyS0 2>&1
echo "== \$(systemctl is-system-running) langlauf \$(systemctl is-active langlauf)"
echo "== restarts \$(systemctl show -P NRestarts langlauf) user \$(stat -c %U "/proc/\$(systemctl show -P MainPID langlauf)")"
langlauf admin --folder /root/world state 2>&1 | head -4
systemctl stop langlauf
echo "== stopped \$(systemctl show -P Result langlauf)"
systemctl start langlauf && answers && echo "== again \$(systemctl is-active langlauf)"
journalctl -b -u langlauf -p warning --no-pager | tail -5
# may it give its rights up where the unit's filter stands? An empty case is not understood
systemd-run -q --wait --pipe -p User=langlauf -p NoNewPrivileges=yes -p MemoryDenyWriteExecute=yes -p SystemCallArchitectures=native \
  -p SystemCallFilter=@system-service -p "SystemCallFilter=~@privileged @resources" langlauf judge </dev/null 2>/dev/null
echo "== judge \$?"
echo "== root \$(passwd -S root | cut -d' ' -f2)"
systemctl --failed --no-legend
ss -Hltnp | sed 's/^/== listens /'
# the second unit, with the rights over the network: a router whose concentrator nobody answers for
cat >>/etc/langlauf/konnektor.toml <<'N'
[vpn]
environment = "TU"
folder = "/run/langlauf/vpn"
[[vpn.concentrators]]
name = "vpnk.langlauf.test"
address = "10.99.0.1"
[network]
helper = "/run/langlauf/network.sock"
gateway = "10.99.0.1"
[network.lan]
name = "lan0"
address = "192.168.10.2"
network = "192.168.10.0/24"
[network.wan]
name = "wan0"
address = "10.99.0.2"
network = "10.99.0.0/24"
N
systemctl enable --now langlauf-network
systemctl restart langlauf && answers
for i in \$(seq 120); do
  nft list table inet langlauf 2>/dev/null | grep -q 4741 && pgrep unbound >/dev/null && pgrep chronyd >/dev/null && pgrep charon >/dev/null && break
  sleep 1
done
echo "== network \$(systemctl is-active langlauf-network) user \$(stat -c %U "/proc/\$(systemctl show -P MainPID langlauf-network)") restarts \$(systemctl show -P NRestarts langlauf-network)"
echo "== filter \$(nft list table inet langlauf | grep -c comment)"
for daemon in unbound chronyd charon; do
  pgrep "^\$daemon" | while read -r pid; do ps -o user:20=,args= -p "\$pid" | sed "s/^/== \$daemon /"; done
done
langlauf admin --folder /root/world network 2>&1 | grep -E '"(in_force|intact|mode)"' | sed 's/^ */== /'
journalctl -b -u langlauf-network -u langlauf -p warning --no-pager | tail -20
systemctl --failed --no-legend
echo "== end"
systemctl poweroff
L
chmod +x "\$root/usr/local/sbin/look"
cat >"\$root/etc/systemd/system/look.service" <<'U'
[Unit]
After=multi-user.target
[Service]
Type=idle
ExecStart=/usr/local/sbin/look
[Install]
WantedBy=multi-user.target
U
for one in lan0 wan0; do
  printf '[NetDev]\nName=%s\nKind=dummy\n' \$one >"\$root/etc/systemd/network/\$one.netdev"
done
printf '[Match]\nName=lan0\n[Network]\nAddress=192.168.10.2/24\n' >"\$root/etc/systemd/network/lan0.network"
printf '[Match]\nName=wan0\n[Network]\nAddress=10.99.0.2/24\n' >"\$root/etc/systemd/network/wan0.network"
chroot "\$root" systemctl enable look
H
chmod +x "$work/hook"
CMDLINE="console=ttyS0" tools/image.sh "$work"/langlauf_0.1.0-1_amd64.deb "$work/image" "$work/hook" >"$work/log" 2>&1 || {
  tail -30 "$work/log"
  exit 1
}
cp /usr/share/OVMF/OVMF_VARS_4M.fd "$work/vars"
# the person at the console: types the first password twice
python3 - "$work/line" <<'P' &
import socket, sys, time
for _ in range(600):
    try:
        line = socket.socket(socket.AF_UNIX); line.connect(sys.argv[1]); break
    except OSError:
        time.sleep(0.5)
heard, asked = b"", 0
while True:
    got = line.recv(4096)
    if not got: break
    heard += got
    while heard.count(b"assword:") > asked:
        asked += 1
        line.sendall(b"ein langes Passwort\n")
P
timeout 900 qemu-system-x86_64 -machine q35 -m 1024 -smp 2 -display none -no-reboot -nic none \
  -chardev socket,id=line,path="$work/line",server=on,wait=off,logfile="$work/serial" -serial chardev:line \
  -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd -drive if=pflash,format=raw,file="$work/vars" \
  -drive if=virtio,format=raw,file="$work/image" || true
fail() { tail -40 "$work/serial"; echo "FAILED: $*" >&2; exit 1; }
said() { grep -q "$1" "$work/serial" || fail "$1"; }
said '== end'
said '== running langlauf active'
said 'restarts 0 user langlauf'
said '"conditions"'
said '== stopped success'
said '== again active'
said '== root P'
said '== judge 1'
said '== network active user langlauf-net restarts 0'
said '== "in_force": true'
said '== "intact": true'
for daemon in unbound chronyd charon; do
  said "== $daemon langlauf-net "
done
# nothing but Langlauf listens
! grep '== listens' "$work/serial" | grep -v 'langlauf' || fail "somebody else listens"
grep '^==' "$work/serial"
echo "the image boots, and its units run"
