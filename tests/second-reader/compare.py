#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""compare.py TREE FOLDER PREFIX: whether "second_reader.py ... tree" in the file TREE tells of FOLDER, below PREFIX in the snapshot, what the system tells of it."""
import hashlib
import json
import os
import stat
import sys

folder, prefix = os.fsencode(sys.argv[2]), os.fsencode(sys.argv[3])


def raw(text):
	return bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode()


def ns(time):
	return time[0] * 10**9 + time[1]


told = {}
with open(sys.argv[1]) as lines:
	for line in lines:
		a = json.loads(line)
		path = raw(a["path"])
		if path.startswith(prefix + b"/"):
			told[path[len(prefix):]] = a

problems = 0


def problem(path, what, told_value, real_value):
	global problems
	problems += 1
	print("%r: %s is told as %r, but is %r" % (path, what, told_value, real_value))


def compare(path, a):
	real = folder + path
	st = os.lstat(real)
	for what, value in (("mode", st.st_mode), ("uid", st.st_uid), ("gid", st.st_gid), ("inode", st.st_ino), ("links", st.st_nlink), ("rdev", st.st_rdev)):
		if a[what] != value and not (prefix.startswith(b"/p") and what == "inode"):
			problem(path, what, a[what], value)
	for what, value in (("mtime", st.st_mtime_ns), ("ctime", st.st_ctime_ns)):
		if ns(a[what]) != value:
			problem(path, what, ns(a[what]), value)
	xattrs = {n.encode(): os.getxattr(real, n, follow_symlinks=False) for n in os.listxattr(real, follow_symlinks=False)}
	if {raw(n): raw(v) for n, v in a["xattrs"].items()} != xattrs:
		problem(path, "xattrs", a["xattrs"], xattrs)
	if stat.S_ISLNK(st.st_mode) and raw(a["target"]) != os.readlink(real):
		problem(path, "target", a["target"], os.readlink(real))
	if stat.S_ISREG(st.st_mode):
		with open(real, "rb") as f:
			digest = hashlib.sha256(f.read()).hexdigest()
		if (a["size"], a["sha256"]) != (st.st_size, digest):
			problem(path, "content", (a["size"], a["sha256"]), (st.st_size, digest))


found = set()
for place, folders, files in os.walk(folder):
	for name in folders + files:
		path = os.path.join(place, name)[len(folder):]
		found.add(path)
		if path in told:
			compare(path, told[path])
		else:
			problem(path, "it", None, "there")
for path in told.keys() - found:
	problem(path, "it", "there", None)
print(len(found), "entries,", problems, "problems")
sys.exit(problems != 0 or not found)
