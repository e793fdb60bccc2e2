# shellcheck shell=bash
# Sourced by ./dev: one build folder for each way of building.
: "${scratch:?the folder for logs, made by ./dev}"

# configure FOLDER [MESON OPTION...]: once; later calls leave it as it is (ninja notices changed meson.build files).
configure() {
	local folder=$1
	shift
	[ -f "$folder/build.ninja" ] && return 0
	rm -rf "$folder"
	meson setup "$folder" "$@" >"$scratch/meson.log" 2>&1 || {
		cat "$scratch/meson.log" >&2
		return 1
	}
}

# compile FOLDER [TARGET...]: quiet unless it warns or fails.
compile() {
	local folder=$1
	shift
	if ! ninja -C "$folder" "$@" >"$scratch/ninja.log" 2>&1; then
		grep -v '^\[' "$scratch/ninja.log" >&2
		return 1
	fi
	grep -A 5 'warning:' "$scratch/ninja.log" >&2 || true
}

build_plain() {
	need build
	configure build -Dbuildtype=debugoptimized -Doptimization=2 && compile build
}

build_asan() {
	need build check
	CC=clang configure build-asan -Dbuildtype=debugoptimized -Doptimization=1 \
		-Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-fno-sanitize-recover=undefined && compile build-asan
}

build_tsan() {
	need build check
	CC=clang configure build-tsan -Dbuildtype=debugoptimized -Doptimization=1 -Db_sanitize=thread -Db_lundef=false &&
		compile build-tsan
}

build_cover() {
	need build cover
	configure build-cover -Dbuildtype=debug -Db_coverage=true && compile build-cover
}

# Only the fuzz targets: libFuzzer brings its own main.
build_fuzz() {
	need build check
	CC=clang configure build-fuzz -Dbuildtype=debugoptimized -Doptimization=1 -Dfuzz=true -Db_lundef=false &&
		compile build-fuzz "$@"
}

fuzz_names() {
	ninja -C build-fuzz -t targets all | sed -n 's|^fuzz/fuzz-\([^:./]*\):.*|\1|p' | sort -u
}
