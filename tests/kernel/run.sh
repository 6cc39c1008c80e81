#!/bin/sh
# The network tests on a kernel that has ESP: Debian's, in qemu by software emulation, with this machine's files beneath. It takes
# minutes; call it through `make test-network-kernel`. Names of tests may be given.
set -eu
cd "$(dirname "$0")/../.."
here=$PWD
work=$here/target/kernel
mkdir -p "$work"

# the kernel, once
if ! ls "$work"/boot/vmlinuz-* >/dev/null 2>&1; then
  package=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
  (cd "$work" && apt-get download -qq "$package" && dpkg -x "$package"_*.deb . && rm "$package"_*.deb)
fi
version=$(ls "$work"/lib/modules)
depmod -b "$work" "$version"

# the tests
binary=$(cargo test -p langlauf-e2e --test network --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"executable":"\([^"]*network-[^"]*\)".*/\1/p' | tail -1)

# a system that mounts this one, without writing to it
root=$work/root
rm -rf "$root"
mkdir -p "$root"/bin "$root"/proc "$root"/sys "$root"/dev "$root"/host "$root"/rw "$root"/new "$root/lib/modules/$version"
cp "$(command -v busybox)" "$root/bin/busybox"
ln -s busybox "$root/bin/sh"
cp "$work/lib/modules/$version"/modules.* "$root/lib/modules/$version/"
for module in virtio_pci 9pnet_virtio 9p overlay; do
  modprobe -d "$work" -S "$version" --show-depends $module
done | sed -n 's/^insmod //p' | sort -u | while read -r file; do
  place=$root/lib/modules/${file##*/lib/modules/}
  mkdir -p "$(dirname "$place")"
  cp "$file" "$place"
done
cat >"$root/init" <<I
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p overlay; do modprobe \$module; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host
mount -t tmpfs -o size=1g rw /rw; mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/host,upperdir=/rw/upper,workdir=/rw/work over /new
mount -t proc proc /new/proc; mount -t sysfs sys /new/sys; mount -t devtmpfs dev /new/dev
mount -t tmpfs run /new/run; mount -t tmpfs tmp /new/tmp
exec switch_root /new /bin/sh $root/inside
I
cat >"$root/inside" <<I
exec >/dev/ttyS0 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root NETWORK_KERNEL=1 NETWORK_CHANGES=${NETWORK_CHANGES:-5}
mkdir -p /lib/modules && mount --bind $work/lib/modules /lib/modules
modprobe -a xfrm_user esp4 xfrm_interface gcm ctr ghash_generic seqiv authenc veth bridge tun nf_tables
mkdir -p /dev/shm && mount -t tmpfs shm /dev/shm
ip link set lo up
cd $here/tests/e2e
$binary --nocapture --test-threads=1 $*
echo "ended with \$?"
echo o >/proc/sysrq-trigger
while :; do :; done
I
chmod +x "$root/init"
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/init.gz"

timeout 3000 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 3072 -smp 2 -nodefaults -nographic -no-reboot -net none \
  -serial stdio -kernel "$work/boot/vmlinuz-$version" -initrd "$work/init.gz" \
  -append "console=ttyS0 quiet loglevel=3 panic=-1 mitigations=off" \
  -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=host,mount_tag=host |
  tee "$work/log"
grep -q "^ended with 0" "$work/log"
