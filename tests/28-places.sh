# shellcheck shell=bash
# Repositories in folders that are no ordinary disk: a FAT stick, a network mount; and what the power leaves of them when it fails, for real.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-vm.sh"
. "$(dirname "$0")/lib-sshd.sh"

# mount_share: ./share is the folder ./served of an sshd, as a network drive that has no hard links and whose listings may be old.
mount_share() {
	sshfs -F "$PWD/ssh/client" -o disable_hardlink,dir_cache=no -p "$SSHD_PORT" "127.0.0.1:$PWD/served" share
}

test_fat_stick() {
	vm_needed
	needs_tool mkfs.vfat
	truncate -s 300M stick
	mkfs.vfat -n STICK stick >/dev/null
	mkdir vm
	vm_run vm "$PWD/stick" <<-'SCRIPT'
	modprobe -a nls_cp437 nls_ascii vfat
	mkdir /stick /run/tree
	mount -t vfat -o utf8 /dev/vda /stick
	export TWOFOLD_REPOSITORY=/stick/Backups/of\ me
	seq 200000 >/run/tree/numbers
	seq 20000 | split -l 100 - "/run/tree/part "
	head -c 3000000 /dev/urandom >/run/tree/noise
	ln /run/tree/noise /run/tree/linked
	twofold -q init
	twofold -q backup /run/tree
	twofold -q backup /run/tree
	rm /run/tree/noise /run/tree/linked
	head -c 3000000 /dev/urandom >/run/tree/other
	twofold -q backup /run/tree
	twofold -q check --read-data
	# Without the cache: what the stick lists and gives is all there is.
	umount /stick
	mount -t vfat -o utf8 /dev/vda /stick
	twofold --no-cache -q forget --keep-last 1 --prune
	twofold --no-cache -q check --read-data
	twofold --no-cache -q restore latest --target /run/back
	diff -r /run/tree /run/back/run/tree
	test "$(twofold --json snapshots | grep -c '"type":"snapshot"')" = 1
	test "$(du -sm "$TWOFOLD_REPOSITORY/packs" | cut -f 1)" -lt 5
	# A FAT disk as what is backed up: times of two seconds, no owners.
	mkdir /stick/photos
	seq 1 50000 >/stick/photos/IMG_0001.JPG
	touch -d '2 minutes ago' /stick/photos/IMG_0001.JPG
	twofold -q backup /stick/photos
	twofold --json backup /stick/photos >summary
	cat summary
	grep -q '"files_unchanged":1\b' summary
	umount /stick
	SCRIPT
}
# Backups one after the other on two filesystems at once; the power goes in the middle of it. What was reported is there, and the next backup just works.
test_power_cut() {
	vm_needed
	needs_tool mkfs.vfat mkfs.ext4
	truncate -s 400M ext4 vfat
	mkfs.ext4 -q ext4
	mkfs.vfat vfat >/dev/null
	mkdir vm
	cat >vm/places <<-'PLACES'
	modprobe -a nls_cp437 nls_ascii vfat ext4
	mkdir -p /ext4 /vfat
	mount -t ext4 /dev/vda /ext4
	mount -t vfat /dev/vdb /vfat
	mkdir -p /ext4/home
	export HOME=/ext4/home
	PLACES
	# The tree of a number: a third of it is new.
	cat >vm/tree <<-'TREE'
	rm -rf "$2" && mkdir "$2"
	seq 100000 >"$2/always"
	seq "$1" "$(($1 + 100000))" >"$2/new"
	openssl enc -aes-128-ctr -pbkdf2 -k "$1" -nosalt </dev/zero 2>/dev/null | head -c 400000 >"$2/noise"
	TREE
	vm_begin vm "$PWD/ext4" "$PWD/vfat" <<-'SCRIPT'
	. ./places
	set +x
	for place in ext4 vfat; do
		(
			export TWOFOLD_REPOSITORY=/$place/repo
			twofold -q init
			for number in $(seq 1000); do
				bash ./tree $number /run/tree-$place
				cd /run/tree-$place
				twofold -q backup . --tag n$number
				cd "$OLDPWD"
				echo $number >>reported-$place
			done
		) &
	done
	wait
	SCRIPT
	local from=$SECONDS
	until [ -s vm/reported-ext4 ] && [ -s vm/reported-vfat ] && [ "$(wc -l <vm/reported-ext4)" -gt $((2 + RANDOM % 4)) ]; do
		kill -0 "$VM_PID" || vm_wait
		[ $((SECONDS - from)) -lt 900 ]
		sleep 0.$((RANDOM % 10))
	done
	vm_cut
	vm_run vm "$PWD/ext4" "$PWD/vfat" <<-'SCRIPT'
	. ./places
	for place in ext4 vfat; do
		export TWOFOLD_REPOSITORY=/$place/repo
		number=$(tail -n 1 reported-$place)
		bash ./tree "$number" /run/tree
		twofold --json snapshots --tag "n$number" >of-number || { cat of-number; ls -lR /$place | tail -n 60; false; }
		twofold -q restore "$(sed -n 's/.*"type":"snapshot","id":"\([0-9a-f]*\)".*/\1/p' of-number)" --target /run/back-$place
		find /run/back-$place -type f | sort
		for name in always new noise; do
			cmp /run/tree/$name "$(find /run/back-$place -name $name)"
		done
		twofold check --read-data
		twofold snapshots >snapshots-$place
		for ((; number; number--)); do grep -qw "n$number" snapshots-$place; done
		twofold -q backup /run/tree
		twofold -q prune
		twofold check --read-data
	done
	SCRIPT
}

# A network drive that goes away in the middle of a backup, and comes back.
test_network_drive() {
	needs_tool sshfs fusermount3 ssh ps
	[ -c /dev/fuse ] || skip 'no FUSE here'
	sshd_start "$PWD/ssh"
	trap sshd_stop EXIT
	mkdir served share
	mount_share || skip 'sshfs cannot mount here'
	TWOFOLD_REPOSITORY=$PWD/share/repo
	mktree tree 5
	rm -rf tree/sparse
	expect 0 twofold init
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	for i in 1 2 3 4 5 6 7 8; do head -c 12M /dev/urandom >"tree/noise$i"; done
	"$TWOFOLD" -q backup tree >out 2>err &
	local writer=$!
	until [ "$(find served/repo/packs -type f | wc -l)" -gt 3 ]; do kill -0 $writer && sleep 0.02; done
	sshd_kill KILL
	local code=0
	wait $writer || code=$?
	cat err
	[ $code = 1 ]
	grep -q 'write .*share/repo' err
	[ "$(wc -l <err)" = 1 ]
	grep -qE 'connect it again|its connection is failing' err
	fusermount3 -u -z share 2>/dev/null || true # sshfs ends by itself
	until mount_share 2>/dev/null; do sleep 0.1; done
	expect 0 twofold backup tree
	expect 0 twofold check --read-data
	TWOFOLD_LIST_LAG=1 expect 0 twofold forget --keep-last 1 --prune
	grep -q 'waiting 2 seconds' out err
	expect 0 twofold restore latest --target back
	same_tree tree "back$PWD/tree"
	fusermount3 -u share
	# What the drive showed is what is there.
	TWOFOLD_REPOSITORY=$PWD/served/repo expect 0 twofold check --read-data
}

run_cases
