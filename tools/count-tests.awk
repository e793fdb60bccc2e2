# Adds up meson's testlog.txt: every cmocka case counts; a program without cases (a replayed corpus) counts as one.
# Prints what failed, with its output, and what was skipped, with the last line that it printed before (the reason).

function flush_program(    i, bad, name) {
	if (program == "")
		return
	bad = 0
	for (i = 1; i <= cases; i++) {
		name = program ": " case_name[i]
		if (state[case_name[i]] == "ok") {
			passed++
		} else if (state[case_name[i]] == "skipped") {
			skipped++
			print "skipped " name (reason[case_name[i]] == "" ? "" : ": " reason[case_name[i]])
		} else {
			failed++
			bad = 1
			print "not ok " name
		}
	}
	if (result != "exit status 0" && !bad) {
		if (result == "exit status 77") {
			skipped++
			print "skipped " program
		} else {
			failed++
			bad = 1
			print "not ok " program " (" result ")"
		}
	} else if (cases == 0) {
		passed++
	}
	if (bad)
		printf "%s", output
	program = ""
	cases = 0
	output = ""
	last = ""
	delete state
	delete reason
	delete case_name
}

/^=+ [0-9]+\/[0-9]+ =+$/ { flush_program(); next }
/^test: / && program == "" { program = $NF; next }
/^result: / && result_for != program { sub(/^result: +/, ""); result = $0; result_for = program; next }
/^Summary of Failures:|^Ok: +[0-9]+$/ { flush_program(); exit_now = 1 }
exit_now { next }
{ if (length(output) < 20000) output = output "    " $0 "\n" }
/^\[ RUN      \] / { name = substr($0, 14); case_name[++cases] = name; last = ""; next }
/^\[       OK \] / { state[substr($0, 14)] = "ok"; next }
/^\[  SKIPPED \] / {
	name = substr($0, 14)
	for (i = 1; i <= cases; i++)
		if (case_name[i] == name && state[name] == "") {
			state[name] = "skipped"
			reason[name] = last
		}
	next
}
/^[^\[]/ { last = $0 }
END {
	flush_program()
	printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
}
