# Reads "row TAB program TAB seconds TAB stored bytes TAB KiB of memory" (- for none; all three - : failed), and prints the table as aligned markdown.
BEGIN {
	FS = "\t"
	title["twofold"] = "twofold"
	title["restic"] = "restic"
	title["borg"] = "borg"
	title["tar"] = "tar, zstd"
	title["partclone"] = "partclone, zstd"
	title["qemu"] = "qemu-img"
	title["local"] = "twofold, local folder"
	peers = split("restic borg tar partclone qemu local", peer, " ")

	work["files"] = "files, first backup"
	work["unchanged"] = "files, nothing changed"
	work["restore"] = "files, restore"
	work["image"] = "image, first"
	work["again"] = "image, again, nothing changed"
	work["image-restore"] = "image, restore"
	work["both"] = "files, then the image of them"
	work["prune"] = "prune after forgetting 10 of 20"
	work["check"] = "check of all data"
	work["s3-backup"] = "S3, backup"
	work["s3-restore"] = "S3, restore over 20 ms"
	rows = split("files unchanged restore image again image-restore prune check s3-backup s3-restore both", row, " ")

	# At least so many times as fast as the peer; at the most this part of its time; at the most so many MB stored.
	faster["files", "restic"] = faster["files", "borg"] = 4.5
	part["files", "tar"] = 0.75
	most_stored["files"] = 900
	faster["unchanged", "restic"] = 15
	faster["restore", "restic"] = 2
	faster["image", "partclone"] = 2.3
	faster["image", "qemu"] = 1.35
	faster["again", "restic"] = 3
	faster["image-restore", "qemu"] = 1.6
	faster["prune", "restic"] = faster["prune", "borg"] = 3
	faster["check", "restic"] = 2
	part["s3-backup", "local"] = part["s3-restore", "local"] = 1.5
	most_growth = 1.03
	most_memory = 200
	lines = 0
}

{
	key = $1 SUBSEP $2
	runs[key]++
	if ($3 == "-") {
		failed[key] = 1
		next
	}
	time[key, ++good[key]] = $3
	if ($4 != "-")
		stored[key] = $4 / 1e6
	memory = $5 * 1024 / 1e6
	if (memory > peak[key])
		peak[key] = memory
	if ($1 !~ /^password/ && memory > most[$2])
		most[$2] = memory
}

function median(key,    n, i, j, t, sorted) {
	n = good[key]
	for (i = 1; i <= n; i++) {
		t = time[key, i] + 0
		for (j = i - 1; j > 0 && sorted[j] > t; j--)
			sorted[j + 1] = sorted[j]
		sorted[j + 1] = t
	}
	return n % 2 ? sorted[(n + 1) / 2] : (sorted[n / 2] + sorted[n / 2 + 1]) / 2
}

# A clock of hundredths of seconds.
function seconds(key) { return median(key) > 0 ? median(key) : 0.01 }

function figures(key) {
	if (!(key in runs))
		return ""
	if (key in failed)
		return "failed"
	return sprintf(seconds(key) < 10 ? "%.2f s" : "%.1f s", seconds(key)) (key in stored ? sprintf(" / %.0f MB", stored[key]) : " / -") \
		sprintf(" / %.0f MB", peak[key])
}

function line(a, b, c, d, e, f, g) {
	lines++
	cell[lines, 1] = a
	cell[lines, 2] = b
	cell[lines, 3] = c
	cell[lines, 4] = d
	cell[lines, 5] = e
	cell[lines, 6] = f
	cell[lines, 7] = g
}

function yes(ok) {
	if (!ok)
		missed++
	demands++
	return ok ? "yes" : "no"
}

# One line a peer; the first one names the work.
function compare(r, p,    ours, theirs, times, demand, reached) {
	ours = r SUBSEP "twofold"
	theirs = r SUBSEP p
	times = demand = reached = ""
	if ((r, p) in faster)
		demand = "at least " faster[r, p] "x"
	else if ((r, p) in part)
		demand = "at most " part[r, p] " of its time"
	if (good[ours] && !(ours in failed) && good[theirs]) {
		times = seconds(theirs) / seconds(ours)
		if ((r, p) in faster)
			reached = yes(times >= faster[r, p])
		else if ((r, p) in part)
			reached = yes(1 / times <= part[r, p])
		times = (r, p) in part ? sprintf("%.2f of its time", 1 / times) : sprintf("%.2fx as fast", times)
	} else if (demand != "")
		reached = yes(0)
	line(first ? work[r] : "", first ? figures(ours) : "", title[p], figures(theirs), times, demand, reached)
	first = 0
}

function compare_row(r,    i, ours) {
	ours = r SUBSEP "twofold"
	first = 1
	for (i = 1; i <= peers; i++)
		if ((r SUBSEP peer[i]) in runs)
			compare(r, peer[i])
	if (first)
		line(work[r], figures(ours), "", "", "", "", "")
	if (r in most_stored && ours in stored)
		line("", "", "stored", "", sprintf("%.0f MB", stored[ours]), "at most " most_stored[r] " MB", yes(stored[ours] <= most_stored[r]))
}

function growth(p,    ours) {
	ours = stored["both", p] / stored["before", p]
	return sprintf("%.3fx of the files alone", ours)
}

function growth_row(    i) {
	first = 1
	if (("both", "twofold") in stored)
		line(work["both"], figures("both" SUBSEP "twofold"), "stored", sprintf("%.0f MB before", stored["before", "twofold"]), growth("twofold"), "at most " most_growth "x",
		     yes(stored["both", "twofold"] / stored["before", "twofold"] <= most_growth))
	else
		line(work["both"], "failed", "", "", "", "at most " most_growth "x", yes(0))
	for (i = 1; i <= peers; i++)
		if (("both", peer[i]) in stored)
			line("", "", title[peer[i]], figures("both" SUBSEP peer[i]), "its own: " growth(peer[i]), "", "")
}

function memory_row(    i) {
	if (!("twofold" in most))
		return
	line("peak memory of all of these", sprintf("%.0f MB", most["twofold"]), "", "", "", "at most " most_memory " MB", yes(most["twofold"] <= most_memory))
	for (i = 1; i <= peers; i++)
		if (peer[i] in most)
			line("", "", title[peer[i]], sprintf("%.0f MB", most[peer[i]]), "", "", "")
}

function spaces(n) { return sprintf("%" n "s", "") }

function print_table(    i, c, width, text) {
	for (c = 1; c <= 7; c++)
		for (i = 1; i <= lines; i++)
			if (length(cell[i, c]) > width[c])
				width[c] = length(cell[i, c])
	for (i = 1; i <= lines; i++) {
		text = "|"
		for (c = 1; c <= 7; c++)
			text = text " " cell[i, c] spaces(width[c] - length(cell[i, c])) " |"
		print text
		if (i == 1) {
			text = "|"
			for (c = 1; c <= 7; c++) {
				dashes = spaces(width[c])
				gsub(/ /, "-", dashes)
				text = text " " dashes " |"
			}
			print text
		}
	}
}

END {
	line("work", "twofold: time / stored / memory", "peer", "its time / stored / memory", "ratio", "demanded", "reached")
	for (i = 1; i < rows; i++)
		if ((row[i] SUBSEP "twofold") in runs)
			compare_row(row[i])
	if (("both", "twofold") in runs)
		growth_row()
	memory_row()
	print_table()
	print ""
	printf "%d of %d demands reached.\n", demands - missed, demands
	if (("password", "twofold") in runs) {
		print ""
		print "Twofold opens its default repository with a key file here, as it does by itself. With a password instead, measured once:"
		print "first backup " figures("password" SUBSEP "twofold") ", nothing changed " figures("password-unchanged" SUBSEP "twofold") \
			"; the difference is what Argon2id takes at each start, on purpose."
	}
}
