#!/usr/bin/env bash
# A disk image for a small x86 box with UEFI: Debian 12 with the package, and nothing that listens but Langlauf. As root; works in a
# folder of its own, without loop devices. Written to a stick or disk with dd, it asks for root's password at the console when it
# boots for the first time; there is none from the factory.
#   tools/image.sh PACKAGE.deb IMAGE [HOOK]      HOOK: a program that is given the root folder before it is packed
set -euo pipefail
cd "$(dirname "$0")/.."
package=$(realpath "$1")
image=$(realpath -m "$2")
hook=${3:-}
size=${SIZE:-3072} # MiB of the root file system
esp=256
tools="debootstrap dosfstools e2fsprogs fdisk mtools"
for tool in $tools; do
  dpkg -s "$tool" >/dev/null 2>&1 || missing="${missing:-} $tool"
done
[ -z "${missing:-}" ] || apt-get install -y -qq --no-install-recommends $missing
work=$(mktemp -d)
root=$work/root
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$work"' EXIT
in_root() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }

cache=target/debian-root.tar
if [ ! -e "$cache" ]; then
  debootstrap --variant=minbase bookworm "$work/fresh"
  mkdir -p target && tar -C "$work/fresh" -cf "$cache" . && rm -rf "$work/fresh"
fi
mkdir "$root" && tar -C "$root" -xf "$cache"
cp /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
cp "$package" "$root/root/langlauf.deb"
cat >"$root/etc/apt/sources.list" <<'S'
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-updates main
deb http://security.debian.org/debian-security bookworm-security main
S
in_root apt-get update -qq
in_root apt-get full-upgrade -y -qq
in_root apt-get install -y -qq --no-install-recommends linux-image-amd64 initramfs-tools systemd-sysv systemd-boot-efi udev dbus kmod \
  iproute2 nano less
in_root apt-get install -y -qq /root/langlauf.deb
# the last one: from now on names are the running image's
in_root apt-get install -y -qq --no-install-recommends systemd-resolved
rm "$root/root/langlauf.deb"
in_root apt-get clean

# langlauf-network starts what it needs of these itself; a box without a cable is no broken one
for unit in strongswan unbound chrony chrony-wait kea-dhcp4-server nftables systemd-timesyncd systemd-networkd-wait-online; do
  in_root systemctl mask "$unit.service"
done
in_root systemctl enable systemd-networkd systemd-resolved langlauf
echo langlauf >"$root/etc/hostname"
printf '127.0.0.1 localhost langlauf\n' >"$root/etc/hosts"
printf 'LABEL=langlauf / ext4 errors=remount-ro 0 1\nLABEL=LL-BOOT /boot/efi vfat umask=0077,nofail 0 2\n' >"$root/etc/fstab"
mkdir -p "$root/boot/efi"
cat >"$root/etc/systemd/network/80-wired.network" <<'N'
# until [network] of Langlauf says otherwise
[Match]
Name=en* eth*
[Network]
DHCP=yes
N
cat >"$root/etc/issue" <<'I'
Langlauf (TI-Konnektor, nicht zugelassen / not approved)
Einrichten / set up:  langlauf init --help
Erste Anmeldung / first login:  langlauf first-login

I
# the first boot makes a number of its own and asks for root's password
echo uninitialized >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" "$root"/etc/ssh/ssh_host_*
in_root passwd -ld root >/dev/null
cat >"$root/etc/systemd/system/first-password.service" <<'F'
# the console is nobody's until root has a password
[Unit]
Description=Password of root
ConditionPathExists=!/var/lib/first-password
After=systemd-user-sessions.service
Before=getty.target getty@tty1.service serial-getty@ttyS0.service
[Service]
Type=oneshot
StandardInput=tty
StandardOutput=tty
TTYPath=/dev/console
TTYReset=yes
ExecStart=/bin/sh -c 'echo; echo "Langlauf: Kennwort für root / password of root"; until passwd root; do :; done; touch /var/lib/first-password'
[Install]
WantedBy=getty.target
F
in_root systemctl enable first-password
# a kernel that apt brings must come to where the firmware finds it
cat >"$root/usr/local/sbin/to-esp" <<'K'
#!/bin/sh
set -e
mountpoint -q /boot/efi || exit 0
kernel=$(ls -v /boot/vmlinuz-* | tail -1)
initrd=/boot/initrd.img-${kernel#/boot/vmlinuz-}
[ -e "$initrd" ] || exit 0
for pair in "$kernel vmlinuz" "$initrd initrd.img"; do
  set -- $pair
  cp "$1" "/boot/efi/$2.new" && sync -f /boot/efi && mv "/boot/efi/$2.new" "/boot/efi/$2"
done
K
chmod 755 "$root/usr/local/sbin/to-esp"
for place in kernel/postinst.d kernel/postrm.d initramfs/post-update.d; do
  mkdir -p "$root/etc/$place"
  ln -s /usr/local/sbin/to-esp "$root/etc/$place/zz-to-esp"
done
[ -z "$hook" ] || "$hook" "$root"
# names as the line's DHCP has them; nothing listens for them
mkdir -p "$root/etc/systemd/resolved.conf.d"
printf '[Resolve]\nDNSStubListener=no\nLLMNR=no\nMulticastDNS=no\n' >"$root/etc/systemd/resolved.conf.d/quiet.conf"
ln -sf /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
umount "$root/proc"

kernel=$(ls "$root"/boot/vmlinuz-* | tail -1)
initrd=$(ls "$root"/boot/initrd.img-* | tail -1)
boot=$work/esp.img
truncate -s ${esp}M "$boot"
mkfs.vfat -n LL-BOOT "$boot" >/dev/null
mmd -i "$boot" ::EFI ::EFI/BOOT ::loader ::loader/entries
mcopy -i "$boot" "$root/usr/lib/systemd/boot/efi/systemd-bootx64.efi" ::EFI/BOOT/BOOTX64.EFI
mcopy -i "$boot" "$kernel" ::vmlinuz
mcopy -i "$boot" "$initrd" ::initrd.img
printf 'timeout 2\ndefault langlauf\neditor no\n' | mcopy -i "$boot" - ::loader/loader.conf
printf 'title Langlauf\nlinux /vmlinuz\ninitrd /initrd.img\noptions root=LABEL=langlauf rw quiet console=tty0 %s\n' "${CMDLINE:-}" |
  mcopy -i "$boot" - ::loader/entries/langlauf.conf

disk=$work/disk.img
truncate -s "$size"M "$work/root.img"
mkfs.ext4 -q -L langlauf -d "$root" "$work/root.img"
truncate -s $((1 + esp + size + 1))M "$disk"
sfdisk -q "$disk" <<P
label: gpt
start=1MiB, size=${esp}MiB, type=uefi, name=boot
start=$((1 + esp))MiB, size=${size}MiB, type=linux, name=langlauf
P
dd if="$boot" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/root.img" of="$disk" bs=1M seek=$((1 + esp)) conv=notrunc,sparse status=none
mkdir -p "$(dirname "$image")"
cp --sparse=always "$disk" "$image"
echo "$image"
