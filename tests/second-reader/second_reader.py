#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""second_reader.py REPOSITORY SECRET COMMAND [ARGUMENT...]: reads a repository by what docs/FORMAT.md says, and by nothing else.

SECRET is key:FILE or password:FILE (its first line). Commands:
  snapshots           one JSON object a snapshot, oldest first
  tree SNAPSHOT       one JSON object an entry, with the SHA-256 of the content; of an image, its volumes as p1, p2, ...
  cat SNAPSHOT PATH   the content of one file
  disk SNAPSHOT       the bytes of the disk of an image
  check               every pack's table against the index, every chunk against its id, every inode table
  log                 every signature, and who signed each snapshot
  cuts SNAPSHOT       whether the files' chunks end where the cutting algorithm says
SNAPSHOT is the beginning of an id, or "latest"."""
import hashlib
import json
import os
import sys

from blake3 import keyed_hash
from libraries import Aes128
from reader import INODES, METADATA, DATA, RANGES, ENTRIES, Damage, Repository, need


def plain(value):
	"""Bytes as JSON can hold them: text where it is UTF-8 and printable, else hexadecimal digits behind "hex:"."""
	if isinstance(value, dict):
		return {plain(k): plain(v) for k, v in value.items()}
	if isinstance(value, (list, tuple)):
		return [plain(v) for v in value]
	if isinstance(value, bytes):
		try:
			text = value.decode()
			if text.isprintable() and not text.startswith("hex:"):
				return text
		except UnicodeDecodeError:
			pass
		return "hex:" + value.hex()
	return value


def choose(repository, name):
	found = [s for s in repository.snapshots() if name == "latest" or s["id"].startswith(name)]
	need(found, "no such snapshot")
	return found[-1]


def roots(s):
	"""(path, root of the entries, attributes or None) of what a snapshot shows"""
	if s["kind"] == 1:
		yield b"", s["entries"], None
	else:
		for v in s["volumes"]:
			if "entries" in v:
				yield b"/p%d" % v["number"] if v["number"] else b"", v["entries"], v["root"]


def walk(repository, s):
	def below(path, root):
		for a in repository.list(root, ENTRIES):
			a["path"] = path + b"/" + a["name"]
			yield a
			if "entries" in a:
				yield from below(a["path"], a["entries"])
	for path, root, a in roots(s):
		if a:
			yield dict(a, path=path or b"/")
		yield from below(path, root)


def cmd_snapshots(repository):
	for s in repository.snapshots():
		print(json.dumps(plain(s), sort_keys=True))


def cmd_tree(repository, name):
	for a in map(dict, walk(repository, choose(repository, name))):
		if "content" in a:
			digest = hashlib.sha256()
			for piece in repository.file(a):
				digest.update(piece)
			a["sha256"] = digest.hexdigest()
			a["parts"] = sum(1 for _ in repository.parts(a))
			a["paged"] = not isinstance(a.pop("content"), list)
		a.pop("entries", None)
		a.pop("name", None)
		print(json.dumps(plain(a), sort_keys=True))


def cmd_cat(repository, name, path):
	for a in walk(repository, choose(repository, name)):
		if a["path"] == os.fsencode(path):
			for piece in repository.file(a):
				sys.stdout.buffer.write(piece)
			return
	raise Damage("no such file")


def cmd_disk(repository, name):
	s = choose(repository, name)
	total = 0
	for length, kind, chunk_id, offset, whole in repository.list(s["map"], RANGES):
		total += length
		if kind == 0:
			sys.stdout.buffer.write(repository.chunk(chunk_id, DATA, whole)[offset:offset + length])
		else:
			sys.stdout.buffer.seek(length, os.SEEK_CUR)
	need(total == s["disk"][0], "the ranges do not add up to the disk's size")
	sys.stdout.buffer.truncate(total)


def cmd_check(repository):
	rows = {}
	for prefix in repository.names("packs"):
		for name in repository.names("packs/" + prefix):
			rows.update(repository.table(name))
	need(repository.rows.keys() <= rows.keys(), "the index has chunks that no pack has")
	for chunk_id, row in rows.items():
		repository.rows.setdefault(chunk_id, row)
		repository.chunk(chunk_id, row[1])
	for s in repository.snapshots():
		for v in s.get("volumes", []):
			if "inodes" in v:
				for inode in repository.list(v["inodes"], INODES):
					if not isinstance(inode.get("content", []), list):
						need(sum(p[0] for p in repository.parts(inode)) == inode["size"], "parts do not add up")
	print(len(rows), "chunks,", sum(row[1] == METADATA for row in rows.values()), "of them metadata")


def cmd_log(repository):
	entries, vouchers, names = repository.log()
	for s in repository.snapshots():
		payload = repository.sealed("snapshots", s["id"], 4)[1]
		made = keyed_hash(repository.chunk_keys[METADATA], payload)
		by = [names[key].decode() for digest, key in vouchers.get(bytes.fromhex(s["id"]), ()) if digest == made]
		print(s["id"], ", ".join(by) or "unsigned")
	print(len(entries), "entries,", sum(19 in d for d, _ in entries.values()), "signed")


class Cutter:
	"""Where a stream is cut: "Cutting" in FORMAT.md, default sizes."""
	MIN, AVG, MAX = 262144, 1048576, 4194304

	def __init__(self, key):
		self.aes = Aes128(key[:16])
		self.gear = []
		for i in range(64):
			digest = hashlib.sha256(b"twofold gear" + key[16:] + i.to_bytes(4, "little")).digest()
			self.gear += [int.from_bytes(digest[j:j + 8], "little") for j in range(0, 32, 8)]

	def length(self, data):
		if len(data) <= self.MIN:
			return len(data)
		limit = min(len(data), self.MAX)
		nominated, gear, h = 2**64 * 512 // self.AVG, self.gear, 0
		for byte in data[self.MIN - 64:self.MIN]:
			h = (2 * h + gear[byte]) & 0xFFFFFFFFFFFFFFFF
		for p in range(self.MIN, limit):
			if h < nominated:
				v = int.from_bytes(self.aes.encrypt(h.to_bytes(8, "little") + bytes(8))[:4], "little")
				if v < (2**22 if p < self.AVG else 2**25):
					return p
			h = (2 * h + gear[data[p]]) & 0xFFFFFFFFFFFFFFFF
		return limit


def cmd_cuts(repository, name):
	cutter, chunks = Cutter(repository.cutting_key), 0
	for a in walk(repository, choose(repository, name)):
		if "content" not in a:
			continue
		run, lengths = bytearray(), []
		for length, chunk_id in list(repository.parts(a)) + [(1, None)]:
			if chunk_id is not None:
				run += repository.chunk(chunk_id, DATA, length)
				lengths.append(length)
				continue
			chunks += len(lengths)
			for length in lengths:
				need(cutter.length(run) == length, "%r is cut elsewhere" % a["path"])
				del run[:length]
			lengths = []
	print(chunks, "chunks end where they should")


def read_secret(secret):
	way, _, path = secret.partition(":")
	with open(path, "rb") as f:
		lines = f.read().splitlines()
	if way == "password":
		return {"passphrase": lines[0]}
	line = [l for l in lines if l and not l.startswith(b"#")][0]
	need(line.startswith(b"twofold-key-1 ") and len(line) == 78, "not a key file")
	return {"key_file": bytes.fromhex(line[14:].decode())}


def main(folder, secret, command, *arguments):
	repository = Repository(folder, **read_secret(secret))
	globals()["cmd_" + command](repository, *arguments)


if __name__ == "__main__":
	if len(sys.argv) < 4:
		sys.exit(__doc__)
	try:
		main(*sys.argv[1:])
	except Damage as damage:
		sys.exit("second_reader: " + str(damage))
