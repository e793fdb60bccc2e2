#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""real.py PROGRAM SHIM [--self-test] [OPERATION...]: the real program on a real folder, ended at every system call that changes something there.

power    The calls of one undisturbed run are recorded. For each point in the record a folder is made as a power cut may leave it: what was not synced (bytes of a file,
         names in a folder) is lost, or there, or there in part, as chance decides in several ways.
kill     SIGKILL in place of each call, and in the middle of each write.
errors   Each call fails with ENOSPC, EDQUOT, EROFS (and all later ones), or EIO (once).

Then: check --read-data finds nothing, no snapshot that was committed is missing, the same command again succeeds, and check finds nothing.
--self-test leaves syncs out of the record, one kind after the other, and expects that it is noticed each time.
"""
import concurrent.futures
import errno
import filecmp
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

PROGRAM, SHIM = (os.path.realpath(p) for p in sys.argv[1:3])  # Place copies them: who builds meanwhile does not disturb
RANDOM_CUTS = 3


class Wrong(Exception):
    pass


# --- the program -------------------------------------------------------------------------------


class Place:
    """A folder for everything: sources, repositories, the key."""

    def __init__(self):
        parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = os.path.realpath(tempfile.mkdtemp(prefix="twofold-real-", dir=parent))
        self.count = 0
        self.program, self.shim = (shutil.copy(p, self.path) for p in (PROGRAM, SHIM))
        with open(self.at("key"), "w", encoding="ascii") as f:
            f.write("twofold-key-1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n")

    def at(self, *names):
        return os.path.join(self.path, *names)

    def fresh(self):
        self.count += 1
        return self.at(f"work-{self.count}")

    def run(self, repo, *args, **shim):
        env = {k: v for k, v in os.environ.items() if not k.startswith("TWOFOLD_")}
        env.update(HOME=self.path, TWOFOLD_PASSWORD_FILE=self.at("key"), LC_ALL="C.UTF-8")
        if shim:
            env["LD_PRELOAD"] = self.shim
            env.update({"SHIM_" + k.upper(): str(v) for k, v in shim.items()})
        done = subprocess.run([self.program, "--repo", repo, "--no-cache", *args], env=env, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=120)
        return done

    def must(self, repo, *args):
        done = self.run(repo, *args)
        if done.returncode:
            raise Wrong(f"twofold {' '.join(args[:2])}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def snapshots(self, repo):
        done = self.run(repo, "snapshots", "--json")
        # One that the log has as forgotten, and whose removal was interrupted, is named until it is forgotten again.
        if done.returncode and not (done.returncode == 3 and "it was forgotten, and is there" in done.stdout):
            raise Wrong(f"twofold snapshots: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        out = done.stdout
        return {o["id"] for o in map(json.loads, out.splitlines()) if o.get("type") == "snapshot"}


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def noise(seed, size):
    return random.Random(seed).randbytes(size)


# --- operations ------------------------------------------------------------------------------------


class Operation:
    """name, what it begins with, its command; where it writes; what must hold of it."""

    def __init__(self, name, base, command, keeps=True, adds=0, target=None, same=None, again=None, loses=()):
        self.name, self.base, self.command = name, base, command
        self.keeps = keeps    # every snapshot that was there
        self.adds = adds      # how many snapshots it makes
        self.target = target  # what is written, where that is not the repository
        self.same = same      # compares the target; raises Wrong
        self.again = again    # a command that must work afterwards, too
        self.loses = set(loses)  # snapshots that are damaged before, and replaced


def same_tree(source):
    def compare(target):
        def walk(c):
            if c.left_only or c.right_only or c.funny_files:
                raise Wrong(f"restored: only in one: {c.left_only + c.right_only + c.funny_files}")
            for name in c.common_files:
                a, b = os.path.join(c.left, name), os.path.join(c.right, name)
                s, t = os.lstat(a), os.lstat(b)
                if not filecmp.cmp(a, b, shallow=False) or (s.st_mode, s.st_mtime_ns) != (t.st_mode, t.st_mtime_ns):
                    raise Wrong(f"restored: {name} differs")
            for sub in c.subdirs.values():
                walk(sub)
        walk(filecmp.dircmp(source, target, ignore=[]))
    return compare


def same_file(source):
    def compare(target):
        if not filecmp.cmp(source, target, shallow=False):
            raise Wrong("restored: the image differs")
    return compare


def prepare(place):
    """Sources in two versions, and repositories to begin with. Returns the operations."""
    old, tree, disk = place.at("old"), place.at("tree"), place.at("disk")
    for folder in (old, tree):
        os.makedirs(os.path.join(folder, "sub", "deep"))
        for i in range(6):
            write(os.path.join(folder, "sub" if i % 2 else "", f"f{i}"), noise(i, 700 * i))
        write(os.path.join(folder, "sub/deep/large"), noise(99, 400_000))
    write(os.path.join(old, "only-old"), noise(50, 350_000))
    write(os.path.join(tree, "f0"), noise(7, 9000))
    write(os.path.join(tree, "new"), noise(8, 300_000))
    for folder in (old, tree):
        for here, _, names in os.walk(folder):
            for name in names:
                os.utime(os.path.join(here, name), ns=(10**18, 10**18 + len(name)))
    write(disk, noise(20, 200_000) + bytes(300_000) + noise(21, 24_288))
    write(disk + "-2", noise(20, 100_000) + noise(22, 100_000) + bytes(300_000) + noise(21, 24_288))

    empty, base, forgotten = place.at("empty"), place.at("base"), place.at("forgotten")
    place.must(empty, "init")
    shutil.copytree(empty, base)
    place.must(base, "backup", old)
    place.must(base, "image", disk)
    first = sorted(place.snapshots(base))
    listed = [json.loads(line) for line in place.must(base, "snapshots", "--json").stdout.splitlines()]
    files = next(o["id"] for o in listed if o.get("kind") == "files")
    image = next(o["id"] for o in listed if o.get("kind") == "image")
    assert len(first) == 2
    operations = [
        Operation("init", None, ["init"]),
        Operation("backup, first", empty, ["backup", tree], adds=1),
        Operation("backup, incremental", base, ["backup", tree], adds=1),
        Operation("image", base, ["image", disk + "-2"], adds=1),
        Operation("forget", base, ["forget", files], keeps=False),
        Operation("key add", base, ["key", "add", "--new-password-file", place.at("key2")]),
        Operation("restore", base, ["restore", f"{files}:{old}", "--target", "@"], target="folder", same=same_tree(old)),
        Operation("restore-image", base, ["restore-image", image, "--yes", "--target", "@"], target="file", same=same_file(disk)),
    ]
    write(place.at("key2"), b"twofold-key-1 " + b"77" * 32 + b"\n")
    if "\n  prune " in place.run(empty, "help").stdout:
        shutil.copytree(base, forgotten)
        place.must(forgotten, "backup", tree)
        place.must(forgotten, "forget", files)
        again = ["backup", old]
        operations.append(Operation("prune", forgotten, ["prune"], again=again))
        operations.append(Operation("prune, all packs made anew", forgotten, ["prune", "--max-unused", "0"], again=again))
    return operations + prepare_healing(place, base, tree)


def packs(repo):
    return {os.path.join(here, name) for here, _, names in os.walk(os.path.join(repo, "packs")) for name in names}


def prepare_healing(place, base, tree):
    other, guarded, lost = place.at("other"), place.at("guarded"), place.at("lost")
    place.must(other, "init")
    shutil.copytree(base, guarded)
    place.must(guarded, "parity", "add")
    shutil.copytree(base, lost)
    before, known = packs(lost), place.snapshots(lost)
    place.must(lost, "backup", tree)
    for pack in packs(lost) - before:
        os.unlink(pack)
    return [
        Operation("copy", other, ["copy", "--from", base, "--from-password-file", place.at("key")], adds=2),
        Operation("parity remove", guarded, ["parity", "remove"]),
        Operation("repair --cut", lost, ["repair", "--cut"], loses=place.snapshots(lost) - known),
    ]


# --- what a power cut leaves -------------------------------------------------------------------------


class Disk:
    """A folder as the calls of a record leave it: what is durable, and what is pending."""

    def __init__(self, root, base):
        self.root = root
        self.names = {"": "folder"}  # path below root -> "folder", or number of a file
        self.files = {}              # number -> [bytes of before or path, writes, how many are synced]
        self.pending = []            # (folder, path, what or None)
        for here, folders, files in os.walk(base) if base else ():
            for name in folders:
                self.names[os.path.relpath(os.path.join(here, name), base)] = "folder"
            for name in files:
                path = os.path.join(here, name)
                self.files[path] = [path, [], 0]
                self.names[os.path.relpath(path, base)] = path

    def relative(self, path):
        path = os.path.normpath(path)
        return "" if path == self.root else os.path.relpath(path, self.root)

    def set(self, path, what):
        self.pending.append((os.path.dirname(path), path, what))

    def current(self, path):
        for _, at, what in reversed(self.pending):
            if at == path:
                return what
        return self.names.get(path)

    def apply(self, words, data):
        op = words[0]
        if op == "create":
            path = self.relative(words[2])
            if self.current(path) is None:
                number = (words[1], len(self.files))
                self.files[number] = [b"", [], 0]
                self.set(path, number)
                self.files[words[1]] = self.files[number]
            return
        if op == "write":
            self.files[words[1]][1].append((int(words[2]), data))
        elif op == "size":
            self.files[words[1]][1].append((int(words[2]), None))
        elif op == "sync" and words[1] == "file":
            if words[2] in self.files:
                self.files[words[2]][2] = len(self.files[words[2]][1])
        elif op == "sync":
            folder = self.relative(words[3])
            for f, path, what in self.pending:
                if f == folder:
                    self.names[path] = what
            self.pending = [p for p in self.pending if p[0] != folder]
        elif op in ("rename", "link"):
            a, b = (self.relative(p) for p in (words[1], words[2]))
            self.set(b, self.current(a))
            if op == "rename":
                self.set(a, None)
        elif op == "unlink":
            self.set(self.relative(words[1]), None)
        elif op == "mkdir":
            self.set(self.relative(words[1]), "folder")
        elif op != "other":
            raise Wrong(f"the record has an unknown call: {words}")

    def content(self, number, cut):
        before, writes, synced = self.files[number]
        if not writes and isinstance(before, str):
            return before
        data = bytearray(before)
        for i, (at, chunk) in enumerate(writes):
            if chunk is None:
                continue
            take = len(chunk) if i < synced else cut.bytes(len(chunk))
            if take:
                data.extend(bytes(max(0, at + take - len(data))))
                data[at:at + take] = chunk[:take]
        return bytes(data)

    def state(self, cut):
        """path -> "folder", bytes, or the path of a file of before."""
        names = dict(self.names)
        for _, path, what in self.pending:
            if cut.name():
                names[path] = what
        whole = {}
        for path in sorted(p for p in names if names[p] is not None):
            folder = os.path.dirname(path)
            if path and (folder not in whole or whole[folder] != "folder"):
                continue
            whole[path] = "folder" if names[path] == "folder" else self.content(names[path], cut)
        return whole


class Cut:
    """One way in which a power cut treats what is pending."""

    def __init__(self, name, names, data, seed=0):
        self.label, self.names, self.data = name, names, data
        self.dice = random.Random(seed)

    def name(self):
        return self.names if self.names is not None else self.dice.random() < 0.5

    def bytes(self, size):
        if self.data is not None:
            return size if self.data else 0
        return self.dice.choice((0, size // 2, size))


def cuts(at):
    yield Cut("nothing unsynced stays", False, False)
    yield Cut("all stays", True, True)
    yield Cut("names stay, bytes do not", True, False)
    yield Cut("bytes stay, names do not", False, True)
    for i in range(RANDOM_CUTS):
        yield Cut(f"chance {i}", None, None, at * 100 + i)


def read_record(path):
    with open(path, "rb") as f:
        while line := f.readline():
            text = line.decode().rstrip("\n")
            op, rest = text.split(" ", 1)
            words = [op, *(rest.split("\t") if op in ("rename", "link") else rest.split(" "))]
            yield words, f.read(int(words[3])) if op == "write" else b""


def digest(state):
    h = hashlib.blake2b()
    for path, what in sorted(state.items()):
        h.update(repr((path, what if isinstance(what, str) else hashlib.blake2b(what).digest())).encode())
    return h.digest()


def build(state, target):
    os.mkdir(target, 0o700)
    for path, what in sorted(state.items()):
        here = os.path.join(target, path)
        if what == "folder":
            os.makedirs(here, exist_ok=True)
        elif isinstance(what, str):
            os.link(what, here)
        else:
            write(here, what)


# --- trials ---------------------------------------------------------------------------------------------


class Row:
    def __init__(self, place, op):
        self.place, self.op = place, op
        self.before = place.snapshots(op.base) if op.base else set()
        self.forgets = op.command[1] if op.command[0] == "forget" else None

    def begin(self):
        repo = self.place.fresh()
        if self.op.base:
            shutil.copytree(self.op.base, repo, copy_function=os.link)
        return repo

    def command(self, target):
        return [target if a == "@" else a for a in self.op.command]

    def check(self, repo, when):
        try:
            there = self.place.snapshots(repo)
            missing = (self.before - {self.forgets} - self.op.loses) - there
            if len(there) < len(self.before - {self.forgets}):
                raise Wrong(f"there are {len(there)} snapshots left")
            # What is damaged until it is cut is still there.
            if not self.op.loses & there:
                self.place.must(repo, "check", "--read-data")
            elif when != "afterwards":
                raise Wrong("what is damaged was not replaced")
        except Wrong as e:
            raise Wrong(f"{when}: {e}") from None
        if missing:
            raise Wrong(f"{when}: snapshots are missing: {missing}")

    def verify(self, repo, target, finished=False):
        """What is left must do; then the same again."""
        op = self.op
        if op.target:
            self.place.must(repo, *self.command(target))
            op.same(target)
            return
        if op.base:
            self.check(repo, "afterwards")
            if finished and len(self.place.snapshots(repo)) < len(self.before - {self.forgets}) + op.adds:
                raise Wrong("the new snapshot is lost")
        again = self.place.run(repo, *op.command)
        forgotten = op.command[0] == "forget" and "there is none" in again.stderr
        made = op.command[0] == "init" and "there is one already" in again.stderr
        if again.returncode and not forgotten and not made:
            raise Wrong(f"the same again: exit code {again.returncode}: {again.stderr.strip()}")
        if op.again:
            self.place.must(repo, *op.again)
        self.check(repo, "after the same again")
        if op.adds and len(self.place.snapshots(repo)) < len(self.before) + op.adds:
            raise Wrong("after the same again: no new snapshot")
        if op.loses and len(self.place.snapshots(repo)) != len(self.before):
            raise Wrong("after the same again: snapshots were replaced twice")

    def drop(self, *paths):
        for path in paths:
            if path and os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif path and os.path.exists(path):
                os.unlink(path)

    def record(self):
        repo, log = self.begin(), self.place.fresh()
        target = self.place.fresh() if self.op.target else None
        done = self.place.run(repo, *self.command(target), root=target or repo, log=log)
        if done.returncode:
            raise Wrong(f"undisturbed: {done.stderr}")
        calls = list(read_record(log))
        self.drop(log, target)
        return repo, calls

    # each returns what is wrong, or None
    def power(self, label, state, finished):
        repo = self.place.fresh()
        try:
            build(state, repo)
            self.verify(repo, None, finished)
            return None
        except (Wrong, subprocess.TimeoutExpired) as e:
            return f"{label}: {e}"
        finally:
            self.drop(repo)

    def disturbed(self, label, want, **shim):
        repo = self.begin()
        target = self.place.fresh() if self.op.target else None
        try:
            done = self.place.run(repo, *self.command(target), root=target or repo, **shim)
            if want is None:
                if done.returncode not in (-9, 0, 3):
                    raise Wrong(f"exit code {done.returncode}: {done.stderr}")
            else:
                self.judge(done, want)
            self.verify(repo, target, finished=done.returncode in (0, 3))
            return None
        except (Wrong, subprocess.TimeoutExpired) as e:
            return f"{label}: {e}"
        finally:
            self.drop(repo, target)

    def judge(self, done, want):
        if done.returncode not in (0, 1, 3):
            raise Wrong(f"exit code {done.returncode}: {done.stderr}")
        if done.returncode and os.strerror(want) not in done.stderr:
            raise Wrong(f"the error does not say why: {done.stderr.strip()}")
        if done.returncode == 1 and sum(line.startswith("twofold: ") for line in done.stderr.splitlines()) < 1:
            raise Wrong(f"no line that says what failed: {done.stderr.strip()}")


def power_trials(row, skip=None):
    repo, calls = row.record()
    disk = Disk(repo, row.op.base)
    seen = set()
    for at, (words, data) in enumerate(calls, 1):
        if not skip or not skip(words):
            disk.apply(words, data)
        for cut in cuts(at):
            state = disk.state(cut)
            key = (digest(state), at == len(calls))
            if key not in seen:
                seen.add(key)
                yield row.power, (f"power cut after call {at} of {len(calls)} ({words[0]}), {cut.label}", state, at == len(calls)), {}
    row.drop(repo)


def kill_trials(row):
    repo, calls = row.record()
    row.drop(repo)
    for at, (words, _) in enumerate(calls, 1):
        yield row.disturbed, (f"killed at call {at} of {len(calls)} ({words[0]})", None), {"kill": at}
        if words[0] == "write":
            yield row.disturbed, (f"killed in the middle of call {at} of {len(calls)}", None), {"kill": at, "half": 1}


ERRORS = ((errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, True), (errno.EIO, False))


def error_trials(row):
    repo, calls = row.record()
    row.drop(repo)
    for at, (words, _) in enumerate(calls, 1):
        for number, stay in ERRORS:
            shim = {"fail": f"{at}:{number}", **({"stay": 1} if stay else {})}
            yield row.disturbed, (f"{errno.errorcode[number]} at call {at} of {len(calls)} ({words[0]})", number), shim


def run_all(pool, trials):
    """Returns (how many, what was wrong)."""
    waiting = [pool.submit(f, *args, **kwargs) for f, args, kwargs in trials]
    found = [w.result() for w in waiting]
    return len(found), [f for f in found if f]


def self_test(place, operations, pool):
    """A local.c without one of its syncs must be noticed."""
    row = Row(place, next(o for o in operations if o.name == "backup, first"))
    ways = {
        "no sync of the file": lambda w: w[0] == "sync" and w[1] == "file",
        "no sync of the object's folder": lambda w: w[0] == "sync" and w[1] == "folder" and w[3].rstrip("/").rsplit("/", 1)[-1] in ("snapshots", "index", "sessions"),
        "no sync of a new folder's parent": lambda w: w[0] == "sync" and w[1] == "folder" and w[3].rstrip("/").rsplit("/", 1)[-1] not in ("snapshots", "index", "sessions") and len(w[3].rstrip("/").rsplit("/", 1)[-1]) != 2,
    }
    failed = 0
    for name, skip in ways.items():
        count, found = run_all(pool, power_trials(row, skip))
        print(f"{'ok' if found else 'not ok'} self-test: {name}: {len(found)} of {count} power cuts do harm" + (f", as: {found[-1][:200]}" if found else ""))
        failed += not found
    return len(ways), failed


def main():
    args = sys.argv[3:]
    place = Place()
    passed = failed = 0
    try:
        operations = prepare(place)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
            if "--self-test" in args:
                args.remove("--self-test")
                count, bad = self_test(place, operations, pool)
                passed, failed = count - bad, bad
            else:
                print(f"{'operation':28} {'what':8} {'trials':>7} {'passed':>7}")
                for op in operations:
                    if args and not any(op.name.startswith(a) for a in args):
                        continue
                    kinds = {"kill": kill_trials, "errors": error_trials} if op.target else {"power": power_trials, "kill": kill_trials, "errors": error_trials}
                    for what, trials in kinds.items():
                        count, found = run_all(pool, trials(Row(place, op)))
                        passed, failed = passed + count - len(found), failed + len(found)
                        for line in found[:12]:
                            print(f"not ok {op.name}, {line}")
                        print(f"{op.name:28} {what:8} {count:7} {count - len(found):7}", flush=True)
    finally:
        shutil.rmtree(place.path, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


sys.exit(main())
