# shellcheck shell=bash
# Folders within folders, deeper than an image's tree goes: what lies too deep is named, all else is there.
. "$(dirname "$0")/lib.sh"

test_image_of_deep_chains() {
	needs image ls
	needs_tool mkfs.ext4 debugfs
	local chain i
	truncate -s 24M disk
	mkfs.ext4 -q -F -N 4000 disk
	for chain in a b c; do
		echo 'cd /'
		for ((i = 0; i < 1030; i++)); do printf 'mkdir %s\ncd %s\n' $chain $chain; done
	done >commands
	debugfs -w -f commands disk >/dev/null 2>&1
	twofold init
	expect 3 twofold image disk
	# One warning a chain, and none of lost+found, which comes after them.
	[ "$(grep -c 'lies too deep' err)" = 3 ]
	# 1023 below the root are entered, and one more is seen; and lost+found.
	expect 0 twofold ls -R latest
	[ "$(grep -c . out)" = $((3 * 1024 + 1)) ]
}

run_cases
