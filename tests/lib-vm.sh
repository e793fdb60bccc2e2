# shellcheck shell=bash
# A test machine with Debian's own kernel, in QEMU: it has the filesystems and devices that the host's kernel may lack (vfat, exfat, NFS, device-mapper, loop with
# partitions), and its power can be cut. It starts in about 3 s, and its processor is 6 to 20 times slower than the host's. Sourced after lib.sh.
#
#   vm_run FOLDER DISK... <<SCRIPT     boots, runs the script (bash, as root, set -e) in FOLDER, and powers off; ends with the script's exit code
#   vm_begin FOLDER DISK... <<SCRIPT   the same without waiting
#   vm_cut                             cuts the power of the machine that vm_begin started: what its kernel has not written to its disks yet is lost
#   vm_wait                            waits for its end; its exit code is the script's
# The machine sees the host's files, and what it changes there is forgotten, but for FOLDER, which is the host's own. The disks (files of the host) are /dev/vda, vdb...
# What it prints is in FOLDER/vm-log. "modprobe -a NAME..." loads what its kernel needs.

# vm_needed: skips the test where there is no such machine. ./dev makes what it boots (tests/vm/make).
vm_needed() {
	needs_tool qemu-system-x86_64
	VM=${TWOFOLD_VM:-$folder/../build-vm}
	[ -f "$VM/ready" ] || skip "the kernel of the test machine is missing: $VM (./dev test makes it)"
	VM=$(cd "$VM" && pwd)
}

vm_script() { # FOLDER
	cat >"$1/vm-script"
	cat >"$1/vm-start" <<-TEXT
	#!/bin/bash
	# By tests/lib-vm.sh: what a test machine does once it has its files.
	exec </dev/null >"$1/vm-log" 2>&1
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC XDG_CACHE_HOME=/run/cache
	export TWOFOLD='$TWOFOLD' TOOLS='$TOOLS' TWOFOLD_PASSWORD_FILE='$TWOFOLD_PASSWORD_FILE'
	[ -x /sbin/modprobe ] || ln -s "$(command -v busybox)" /sbin/modprobe # the kernel itself calls it, too
	twofold() { "\$TWOFOLD" "\$@"; }
	mktree() { "\$TOOLS/mktree" "\$@"; }
	lstree() { "\$TOOLS/lstree" "\$@"; }
	export -f twofold mktree lstree
	mkdir -p "/lib/modules/\$(uname -r)"
	mount --bind "$VM/modules/\$(uname -r)" "/lib/modules/\$(uname -r)"
	ip link set lo up 2>/dev/null || busybox ip link set lo up
	cd "$1"
	bash -exuo pipefail "$1/vm-script"
	code=\$?
	sync
	# isa-debug-exit ends QEMU with 2 * this + 1.
	printf "\\\\x\$(printf %02x "\$code")" | dd of=/dev/port bs=1 seek=244 count=1 2>/dev/null
	TEXT
}

vm_begin() { # FOLDER DISK...
	local at=$1 disk drives=()
	shift
	at=$(cd "$at" && pwd)
	vm_script "$at"
	for disk; do
		drives+=(-drive "file=$disk,if=virtio,format=raw,cache=writeback,discard=unmap")
	done
	VM_LOG=$at/vm-log
	qemu-system-x86_64 -M pc -accel tcg -smp 1 -m 1024 -nodefaults -no-user-config -display none -no-reboot -serial "file:$at/vm-console" \
		-kernel "$VM/vmlinux" -initrd "$VM/initramfs" -append "console=ttyS0 loglevel=4 panic=-1 twofold.work=$at" -device isa-debug-exit,iobase=0xf4,iosize=4 \
		-fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap -device virtio-9p-pci,fsdev=host,mount_tag=host \
		-fsdev "local,id=work,path=$at,security_model=none,multidevs=remap" -device virtio-9p-pci,fsdev=work,mount_tag=work "${drives[@]}" </dev/null &
	VM_PID=$!
}

vm_wait() {
	local code=0
	wait "$VM_PID" || code=$?
	VM_PID=
	[ "$code" = 1 ] && return 0
	tail -n 30 "$VM_LOG"
	tail -n 5 "${VM_LOG%log}console"
	[ $((code % 2)) = 0 ] || return $((code / 2))
	return 125
}

vm_run() {
	vm_begin "$@"
	vm_wait
}

vm_cut() {
	kill -KILL "$VM_PID"
	wait "$VM_PID" 2>/dev/null || true
	VM_PID=
}
