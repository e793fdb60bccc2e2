# shellcheck shell=bash
# second-reader/ is a reader of repositories that was written from docs/FORMAT.md alone. What the program writes must be what that text says.
. "$(dirname "$0")/lib.sh"

export PYTHONDONTWRITEBYTECODE=1

second() {
	python3 "$folder/second-reader/second_reader.py" "$TWOFOLD_REPOSITORY" "$@"
}

# A little of everything: enough names for several pages, enough parts for a paged content, and chunks that are cut.
make_tree() {
	local i
	mkdir -p "$1/many" "$1/deep/er"
	for ((i = 0; i < 400; i++)); do
		printf '%d' $i >"$1/many/$i-of-names-that-are-long-enough-to-fill-a-page-of-the-list"
	done
	for ((i = 0; i < 40; i++)); do
		printf 'block %d' $i | dd of="$1/sparse" bs=65536 seek=$i conv=notrunc status=none
	done
	truncate -s 3000000 "$1/sparse"
	seq -w 0 150000 >"$1/large"
	: >"$1/empty"
	printf x >"$1/"$'not UTF-8 \xff\nline'
	ln "$1/large" "$1/deep/er/second name"
	ln -s ../large "$1/deep/link"
	mkfifo "$1/fifo"
	touch -d '1960-05-04 03:02:01.000000009' "$1/empty"
	chmod 2750 "$1/deep"
}

needs_all() {
	needs init backup
	needs_tool python3
	python3 -c 'import ctypes; ctypes.CDLL("libcrypto.so.3"); ctypes.CDLL("libzstd.so.1"); ctypes.CDLL("libsodium.so.23")' || skip 'a library for the second reader is missing'
}

test_files() {
	needs_all
	make_tree tree
	setfattr -n user.x -v 'a b' tree/large || echo "no xattrs here"
	twofold init
	twofold backup tree
	second "key:$TWOFOLD_PASSWORD_FILE" check
	second "key:$TWOFOLD_PASSWORD_FILE" cuts latest
	second "key:$TWOFOLD_PASSWORD_FILE" tree latest >told
	python3 "$folder/second-reader/compare.py" told tree "$PWD/tree"
	grep -q '"paged": true' told
	second "key:$TWOFOLD_PASSWORD_FILE" cat latest "$PWD/tree/large" | cmp - tree/large
	echo more >>tree/large
	twofold backup tree
	second "key:$TWOFOLD_PASSWORD_FILE" tree latest >told
	python3 "$folder/second-reader/compare.py" told tree "$PWD/tree"
}

test_image() {
	needs_all
	needs image
	needs_tool mkfs.ext4 sfdisk
	make_tree tree
	truncate -s 24M disk
	printf 'label: gpt\nstart=2048, size=40960, type=L\n' | sfdisk -q disk
	mkfs.ext4 -q -F -E offset=1048576 -d tree disk 20M
	twofold init
	twofold image disk
	twofold backup tree
	second "key:$TWOFOLD_PASSWORD_FILE" check
	local image
	image=$(second "key:$TWOFOLD_PASSWORD_FILE" snapshots | sed -n '1s/.*"id": "\([0-9a-f]*\)".*/\1/p')
	second "key:$TWOFOLD_PASSWORD_FILE" disk "$image" >again
	cmp disk again
	second "key:$TWOFOLD_PASSWORD_FILE" tree "$image" | grep -o '"sha256": "[^"]*"' | sort >sums-of-image
	second "key:$TWOFOLD_PASSWORD_FILE" tree latest | grep -o '"sha256": "[^"]*"' | sort >sums-of-files
	cmp sums-of-image sums-of-files
}

test_password() {
	needs_all
	echo 'a password' >password
	export TWOFOLD_PASSWORD_FILE=$PWD/password
	mkdir tree
	echo content >tree/file
	twofold init
	twofold backup tree
	second password:password cat latest "$PWD/tree/file" | cmp - tree/file
	echo 'another' >password
	no second password:password snapshots
}

run_cases
