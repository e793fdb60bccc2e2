# shellcheck shell=bash
# Folders into the repository and back; what is left out; what is not read again; what goes wrong meanwhile.
. "$(dirname "$0")/lib.sh"

round_trip() {
	needs init backup restore
	mktree tree "$1"
	twofold init
	expect 0 twofold backup tree
	expect 0 twofold restore "latest:$PWD/tree" --target back
	# The target itself is the user's; give it what the source has, to compare all below it.
	chmod --reference=tree back
	touch -r tree back
	same_tree tree back
	expect 0 twofold restore "latest:$PWD/tree" --target again --verify
}

test_round_trip_1() { round_trip 1; }
test_round_trip_2() { round_trip 2; }
test_round_trip_3() { round_trip $((RANDOM)); }

# Without root: everything that a user may make comes back, and nothing complains.
test_round_trip_as_user() {
	needs init backup restore
	needs_tool setpriv
	chmod 777 . home
	[ "$(id -u)" != 0 ] || cp "$base/key" key && chmod 644 key
	export TWOFOLD_PASSWORD_FILE=$PWD/key
	as_nobody "$TOOLS/mktree" tree 5
	as_nobody "$TWOFOLD" init
	expect 0 as_nobody "$TWOFOLD" backup tree
	expect 0 as_nobody "$TWOFOLD" restore "latest:$PWD/tree" --target back
	touch -r tree back
	same_tree tree back plain
}

# What root stored, a user restores: 3, because owners and devices could not be set, and said so; contents are whole.
test_restore_of_roots_tree_as_user() {
	needs init backup restore
	needs_root
	mkdir tree
	echo secret >tree/file
	chown 1234:1234 tree/file
	mknod tree/null c 1 3
	cp "$base/key" key
	chmod 644 key
	export TWOFOLD_PASSWORD_FILE=$PWD/key
	twofold init
	twofold backup tree
	chmod -R a+rX repo
	mkdir target
	chmod 777 target home
	expect 3 as_nobody "$TWOFOLD" restore "latest:$PWD/tree" --target target/back
	grep -q '^twofold: warning: ' err
	cmp tree/file target/back/file
}

test_nothing_changed_reads_nothing() {
	needs init backup
	mktree tree 7
	rm -r tree/times # files with a time stamp in the future are read again, rightly: so was what changed meanwhile
	sleep 2.2 # so are files as young as the backup
	twofold init
	twofold backup tree
	expect 0 twofold --json backup tree
	[ "$(field files_new)" = 0 ]
	[ "$(field files_changed)" = 0 ]
	[ "$(field bytes_read)" = 0 ]
	[ "$(field files_unchanged)" = "$(find tree -type f -printf '%D:%i\n' | wc -l)" ] || [ "$(field files_unchanged)" -gt 1500 ]
	[ "$(field added_raw)" -lt 100000 ]
}

test_changes_are_counted() {
	needs init backup restore
	mkdir tree
	for i in 1 2 3 4 5; do head -c 100000 /dev/urandom >"tree/$i"; done
	sleep 2.2
	twofold init
	expect 0 twofold --json backup tree
	[ "$(field files_new)" = 5 ]
	[ "$(field bytes_read)" = 500000 ]
	echo changed >>tree/1
	rm tree/2
	echo new >tree/6
	chmod 600 tree/3 # metadata only: ctime differs, so it is read, but nothing is added
	expect 0 twofold --json backup tree
	[ "$(field files_new)" = 1 ]
	[ "$(field files_changed)" = 2 ]
	[ "$(field files_unchanged)" = 2 ]
	expect 0 twofold restore "latest:$PWD/tree" --target back
	touch -r tree back
	same_tree tree back
}

# A file is written over in place, with the same size and its old mtime, within the clock's granularity of the backup.
test_racily_clean_file_is_read_again() {
	needs init backup restore
	mkdir tree
	twofold init
	for i in 1 2 3 4 5 6 7 8; do
		echo "aaaa $i" >tree/file
		twofold backup tree
		echo "bbbb $i" 1<>tree/file
		twofold backup tree
		twofold restore "latest:$PWD/tree" --target "back-$i"
		cmp tree/file "back-$i/file"
	done
}

test_excludes() {
	needs init backup restore
	mkdir -p tree/keep tree/.cache tree/cachedir tree/marked tree/build
	echo x | tee tree/keep/a.c tree/keep/a.o tree/.cache/x tree/cachedir/x tree/marked/x tree/marked/.nobackup tree/build/x tree/from-file >/dev/null
	printf 'Signature: 8a477f597d28d172789f06886806bc55\n' >tree/cachedir/CACHEDIR.TAG
	head -c 2000000 /dev/zero >tree/large
	printf '# comment\nfrom-file\n' >patterns
	twofold init
	expect 0 twofold backup tree --exclude '*.o' --exclude build --exclude-from patterns --exclude-caches --exclude-if-present .nobackup \
		--exclude-larger-than 1M
	expect 0 twofold restore "latest:$PWD/tree" --target back
	here back/keep/a.c back/.cache/x
	gone back/keep/a.o back/build back/from-file back/large back/cachedir/x back/marked/x
	expect 1 twofold backup tree --exclude-from /no/such/file
	says /no/such/file
}

test_one_file_system() {
	needs init backup restore
	needs_root
	mkdir -p tree/mounted
	echo outside >tree/outside
	mount -t tmpfs none tree/mounted 2>/dev/null || skip 'cannot mount tmpfs'
	echo inside >tree/mounted/inside
	twofold init
	twofold backup --one-file-system tree
	twofold restore "latest:$PWD/tree" --target back
	here back/mounted back/outside
	gone back/mounted/inside
	twofold backup tree
	twofold restore "latest:$PWD/tree" --target all
	[ -e all/mounted/inside ]
}

test_several_sources_and_the_root_of_them() {
	needs init backup restore
	mkdir -p one/sub two
	echo 1 >one/sub/f
	echo 2 >two/f
	twofold init
	expect 0 twofold backup one/sub two "$PWD/two/../one/sub"
	expect 0 twofold restore latest --target back
	cmp one/sub/f "back$PWD/one/sub/f"
	cmp two/f "back$PWD/two/f"
}

test_path_that_is_not_there() {
	needs init backup
	twofold init
	expect 1 twofold backup no-such-path
	says no-such-path
	# One of several: the others are stored, and the missing one is named.
	echo x >there
	local code=0
	twofold backup there no-such-path 2>err || code=$?
	[ $code = 3 ] || [ $code = 1 ]
	grep -q no-such-path err
}

test_unreadable_file_is_named() {
	needs init backup
	needs_root
	needs_tool setpriv
	mkdir tree
	echo x >tree/fine
	echo x >tree/forbidden
	chmod 600 tree/forbidden
	cp "$base/key" key
	chmod 644 key
	chmod 777 . home
	export TWOFOLD_PASSWORD_FILE=$PWD/key
	as_nobody "$TWOFOLD" init
	expect 3 as_nobody "$TWOFOLD" backup tree
	grep '^twofold: warning: ' err | grep -q tree/forbidden
	expect 3 as_nobody "$TWOFOLD" --json backup tree
	grep -q '"type":"warning".*forbidden' out
	[ "$(field warnings)" = 1 ]
}

test_interrupted_and_taken_up_again() {
	needs init backup restore
	mkdir tree
	for i in $(seq 40); do head -c 8000000 /dev/urandom >"tree/$i"; done
	twofold init
	# Incompressible and synced: takes long enough to be caught in the middle. SIGINT is ignored in what a script starts with &.
	"$TWOFOLD" backup tree >out 2>err &
	local pid=$! code=0
	for _ in $(seq 200); do
		[ "$(find repo/packs -type f ! -name '*tmp*' 2>/dev/null | wc -l)" -lt 2 ] || break
		kill -0 $pid 2>/dev/null || break
		sleep 0.02
	done
	kill -TERM $pid 2>/dev/null || true
	wait $pid || code=$?
	[ $code != 0 ] || skip 'the backup was done before it could be interrupted'
	[ $code = 130 ]
	says 'next backup'
	expect 0 twofold --json backup tree
	[ "$(field added_raw)" -lt 320000000 ]
	expect 0 twofold restore "latest:$PWD/tree" --target back
	touch -r tree back
	same_tree tree back
}

test_changing_while_read() {
	needs init backup
	mkdir tree
	head -c 200000000 /dev/urandom >tree/growing
	twofold init
	( while :; do echo more; done >>tree/growing ) &
	local writer=$! code=0
	twofold backup tree >out 2>err || code=$?
	kill $writer
	[ $code = 3 ]
	grep '^twofold: warning: ' err | grep -q tree/growing
}

test_empty_and_single_file_sources() {
	needs init backup restore
	mkdir empty
	echo content >file
	twofold init
	expect 0 twofold backup empty
	expect 0 twofold backup file
	expect 0 twofold restore "latest:$PWD/file" --target back
	cmp file back/file
}

test_repository_inside_the_source() {
	needs init backup restore
	mkdir tree
	echo x >tree/x
	export TWOFOLD_REPOSITORY=$PWD/tree/repo
	twofold init
	local code=0
	twofold backup tree >out 2>err || code=$?
	[ $code = 0 ] || [ $code = 3 ]
	twofold restore "latest:$PWD/tree/x" --target back
	cmp tree/x back/x
}

test_progress_objects() {
	needs init backup
	mktree tree 3
	twofold init
	expect 0 twofold --json backup tree
	no grep -v '^{"type":"[a-z]*".*}$' out
	[ "$(grep -c '"type":"summary"' out)" = 1 ]
	expect 0 twofold --quiet backup tree
	[ ! -s out ]
	[ ! -s err ]
}

# Limits, by option and by environment; of both directions, each by itself.
test_rate_limits() {
	mkdir tree
	head -c 3145728 /dev/urandom >tree/random
	expect 0 twofold init
	takes_at_least 2800 expect 0 twofold --limit-upload 1M backup tree
	TWOFOLD_LIMIT_DOWNLOAD=1M takes_at_least 2800 expect 0 twofold --limit-upload 1K restore latest --target back
	same_tree tree "back$PWD/tree"
	expect 2 twofold --limit-upload 10 backup tree
	TWOFOLD_LIMIT_UPLOAD=fast expect 1 twofold backup tree
	says 'TWOFOLD_LIMIT_UPLOAD is '
	takes_at_least 1900 expect 0 twofold --limit-upload 2M store-test --size 4M "$PWD/place"
}

run_cases
