# shellcheck shell=bash
# Sourced by ./dev: runs tests, and adds up what they did. Every kind ends with one line "N passed, N failed, N skipped".
: "${scratch:?the folder for logs, made by ./dev}"

passed=0 failed=0 skipped=0

# count PASSED FAILED SKIPPED
count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

# The last line of a run, and its exit code.
finish() {
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ]
}

# count_line FILE: adds the last "N passed, N failed, N skipped" in it; a run that printed none has failed.
count_line() {
	local line
	line=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/\1 \2 \3/p' "$1" | tail -n 1)
	# shellcheck disable=SC2086 # three words
	count ${line:-0 1 0}
}

# unit_tests FOLDER [MESON TEST OPTION...]: the cmocka programs and the replayed corpora; each cmocka case counts.
unit_tests() {
	local folder=$1
	shift
	meson test -C "$folder" --no-rebuild --num-processes "$(nproc)" "$@" >"$scratch/meson-test.log" 2>&1 || true
	awk -f tools/count-tests.awk "$folder/meson-logs/testlog.txt" >"$scratch/unit.log" || true
	cat "$scratch/unit.log"
	count_line "$scratch/unit.log"
}

# program_tests PROGRAM: tests/run.
program_tests() {
	tests/run "$1" | tee "$scratch/program.log" || true
	count_line "$scratch/program.log"
}

# crash_tests FOLDER [OPERATION...]: every operation, ended at every call to a store, and the real program at every system call.
crash_tests() {
	local folder=$1 option
	shift
	"$folder/tests/crash/crash" "$@" | tee "$scratch/crash.log" || true
	count_line "$scratch/crash.log"
	if ! command -v python3 >/dev/null; then
		echo 'skipped crash: python3 is not installed'
		count 0 0 1
		return
	fi
	for option in --self-test ''; do
		# shellcheck disable=SC2086 # no word at all where it is empty
		tests/crash/real.py "$folder/twofold" "$folder/tests/crash/shim.so" $option "$@" | tee "$scratch/crash.log" || true
		count_line "$scratch/crash.log"
	done
}

# soak_tests FOLDER SECONDS [SEED [COUNT]]
soak_tests() {
	local folder=$1
	shift
	"$folder/tests/crash/soak" "$@" | tee "$scratch/soak.log" || true
	count_line "$scratch/soak.log"
}

# one NAME COMMAND...: a check that counts as one test; its output is shown only when it fails.
one() {
	local name=$1
	shift
	if "$@" >"$scratch/one.log" 2>&1; then
		count 1 0 0
	else
		echo "not ok $name"
		cat "$scratch/one.log"
		count 0 1 0
	fi
}

# Servers for the tests, where they can be had; s3rver of exactly the versions in tests/s3rver.
servers() {
	want servers
	[ ! -f build-s3rver/node_modules/s3rver/bin/s3rver.js ] || return 0
	mkdir -p build-s3rver
	cp tests/s3rver/package*.json build-s3rver/
	(cd build-s3rver && npm ci --ignore-scripts --no-audit --no-fund) >"$scratch/npm.log" 2>&1 ||
		echo "dev: s3rver could not be installed from npm; the tests that need it are skipped" >&2
}

# The test machine's kernel (tests/lib-vm.sh), where it can be had.
machine() {
	want vm
	tests/vm/make build-vm >"$scratch/vm.log" 2>&1 ||
		echo "dev: the test machine could not be made; the tests that need it are skipped: $(tail -n 1 "$scratch/vm.log")" >&2
}

cmd_test() {
	need build test model
	servers
	machine
	build_plain
	unit_tests build
	one layers tools/check-layers
	one 'layers: goes red' tools/check-layers --self-test
	model_all quick
	program_tests "$PWD/build/twofold"
	soak_tests build 10 1
	finish
}

# Reports of sanitizers end the process that caused them, so that the test fails.
sanitizer_options() {
	export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1
	export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
	export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1
}

cmd_test_ceph() {
	need build test servers
	build_plain
	tests/run "$PWD/build/twofold" "$PWD/tests/ceph-faults.sh"
}

cmd_asan() {
	need test
	servers
	machine
	build_asan
	sanitizer_options
	unit_tests build-asan --timeout-multiplier 4
	program_tests "$PWD/build-asan/twofold"
	finish
}

cmd_tsan() {
	build_tsan
	sanitizer_options
	unit_tests build-tsan --timeout-multiplier 8 --suite unit
	finish
}

# clang-tidy over every file of ours, and shellcheck over every script; one test a file.
cmd_tidy() {
	need build check
	CC=clang configure build-tidy
	compile build-tidy build.ninja # the list of compile commands follows meson.build
	local file
	while read -r file; do
		one "shellcheck $file" shellcheck -x "$file"
	done < <(git ls-files | xargs -r grep -lE '^#!.*\bbash|^# shellcheck shell=')
	git ls-files 'src/*.c' 'fuzz/*.c' | xargs -r -P "$(nproc)" -n 1 tools/tidy-one build-tidy >"$scratch/tidy.log" || true
	grep -v '^ok ' "$scratch/tidy.log" || true
	count "$(grep -c '^ok ' "$scratch/tidy.log")" "$(grep -c '^not ok ' "$scratch/tidy.log")" 0
	finish
}

# fuzz_one NAME SECONDS
fuzz_one() {
	local corpus=build-fuzz/corpus/$1
	mkdir -p "$corpus" "fuzz/corpus/$1"
	# What is found goes to the first folder, not into the kept corpus.
	"build-fuzz/fuzz/fuzz-$1" -max_total_time="$2" -timeout=20 -rss_limit_mb=2048 -print_final_stats=0 -verbosity=0 \
		-artifact_prefix="build-fuzz/crash-$1-" "$corpus" "fuzz/corpus/$1"
}

# fuzz NAME [SECONDS], or fuzz all [SECONDS]: every target in turn.
cmd_fuzz() {
	sanitizer_options
	local name=${1:-} seconds=${2:-60}
	build_fuzz build.ninja
	if [ "$name" = all ]; then
		for name in $(fuzz_names); do
			one "fuzz-$name: build" build_fuzz "fuzz/fuzz-$name"
			one "fuzz-$name" fuzz_one "$name" "$seconds"
		done
		finish
		return
	fi
	if ! fuzz_names | grep -qxF -- "$name"; then
		echo "dev: say which target: $(fuzz_names | tr '\n' ' ')or all" >&2
		return 2
	fi
	build_fuzz "fuzz/fuzz-$name" && fuzz_one "$name" "$seconds"
}

cmd_cover() {
	need test
	servers
	build_cover
	unit_tests build-cover
	program_tests "$PWD/build-cover/twofold"
	gcovr --root . --filter src/ --exclude '.*_test\.c' --html-details build-cover/coverage.html --txt build-cover/coverage.txt \
		build-cover
	tail -n 3 build-cover/coverage.txt
	echo "line by line: build-cover/coverage.html"
	finish
}
