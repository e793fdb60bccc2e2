# Reads what index-bench measure prints, and prints it as markdown.
BEGIN { FS = "\t" }
$1 == "opened" {
	printf "An index of %.1f million chunks in %d segments; %.0f MiB resident after it was opened.\n\n", $2 / 1e6, $3, $4
	print "| look-ups | threads | a second | resident of the index (MiB) | peak of the process (MiB) |"
	print "| -------- | ------- | -------- | --------------------------- | ------------------------- |"
	next
}
{
	printf "| %.1f million %s | %d | %d | %d | %d |\n", $3 / 1e6, $1, $2, $5, $6, $7
	if ($7 > peak)
		peak = $7
}
END {
	printf "\nDemanded: under 256 MiB resident; reached: %s (%d MiB).\n", peak < 256 ? "yes" : "no", peak
	exit peak >= 256
}
