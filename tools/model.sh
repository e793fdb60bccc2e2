# shellcheck shell=bash
# Sourced by ./dev: checks the model of docs/model/ with spin. docs/model/configurations says what.
: "${scratch:?the folder for logs, made by ./dev}"

# model_build FOLDER LONG MACRO...: the checker of one configuration. Memory is bounded; what does not fit in it ends the run unfinished.
model_build() {
	local folder=$1 long=$2 store=(-DCOLLAPSE -DMEMLIM=2000)
	shift 2
	[ -z "$long" ] || store=(-DBITSTATE)
	mkdir -p "$folder"
	cp docs/model/collect.pml "$folder/"
	(cd "$folder" && spin -a "$@" collect.pml && gcc -w -O2 -DSAFETY "${store[@]}" -o pan pan.c) >"$folder/build.log" 2>&1
}

# model_found LOG: what the run came to.
model_found() {
	if grep -q 'errors: 0$' "$1" && ! grep -qE 'Search not completed|max search depth too small' "$1"; then
		echo holds
	elif grep -qE 'pan:1: (assertion violated|invalid end state)' "$1"; then
		echo fails
	else
		echo 'did not finish'
	fi
}

# model_one NAME VERDICT LONG MACRO...: one line of the report.
model_one() {
	local name=$1 verdict=$2 long=$3 folder=$scratch/model-$1 found states seconds options=(-m20000)
	shift 3
	if ! model_build "$folder" "$long" "$@"; then
		cat "$folder/build.log"
		echo "not ok $name: could not be built"
		count 0 1 0
		return
	fi
	[ -z "$long" ] || options+=(-w33 -k3)
	seconds=$SECONDS
	(cd "$folder" && nice ./pan "${options[@]}") >"$folder/log" 2>&1 || true
	seconds=$((SECONDS - seconds))
	found=$(model_found "$folder/log")
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$folder/log")
	if [ "$found" = "$verdict" ]; then
		printf 'ok %-24s %-6s %10s states %4d s\n' "$name" "$found" "${states:-0}" "$seconds"
		count 1 0 0
	else
		printf 'not ok %-20s %s, expected: %s; %10s states %4d s\n' "$name" "$found" "$verdict" "${states:-0}" "$seconds"
		model_trail "$folder" "$@" | tail -n 60
		count 0 1 0
	fi
}

# model_trail FOLDER MACRO...: the counterexample in words.
model_trail() {
	local folder=$1
	shift
	[ ! -f "$folder/collect.pml.trail" ] || (cd "$folder" && spin -t -T "$@" collect.pml) | grep -E '^(writer|collector|somebody|the )|failed assertion'
}

# model_all WHEN...
model_all() {
	local when name verdict macros _ long chosen=" $* "
	while IFS=$'\t' read -r when name verdict macros _; do
		[[ $when != \#* && $chosen == *" $when "* ]] || continue
		long=
		[ "$when" != long ] || long=long
		# shellcheck disable=SC2086 # words
		model_one "$name" "$verdict" "$long" $macros
	done <docs/model/configurations
}

# model, model long, model trail NAME: the counterexample of one configuration.
cmd_model() {
	need model
	case ${1:-} in
	'') model_all quick full ;;
	long) model_all long ;;
	trail) model_show "${2:?the name of a configuration}" && return ;;
	*)
		echo "dev: ./dev model, ./dev model long, or ./dev model trail NAME" >&2
		return 2
		;;
	esac
	finish
}

model_show() {
	local macros
	macros=$(awk -F '\t' -v n="$1" '$2 == n { print $4 }' docs/model/configurations)
	# shellcheck disable=SC2086 # words
	model_build "$scratch/model-$1" '' $macros
	(cd "$scratch/model-$1" && ./pan -m20000 >log 2>&1) || true
	# shellcheck disable=SC2086
	model_trail "$scratch/model-$1" $macros
}
