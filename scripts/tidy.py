#!/usr/bin/env python3
"""clang-tidy over the sources: scripts/tidy.py [--analyze] [FILE...]. --analyze adds the static analyzer, file by file.

Most of what clang-tidy costs is reading headers, so that files of one folder with the same compiler flags are checked
together, as one source made of their texts. If that does not compile (two files have a local name in common) or there
is a finding, it is halved and checked again, down to single files: every finding is one of clang-tidy on the file as
it is. What was clean is remembered in build/tidy/clean by a hash of the preprocessed text, flags and .clang-tidy, and
not checked again. What only a single file shows may be missed where files are checked together: a using-declaration
that another file uses.

Reads the flags from build/tidy (cmake --preset tidy). Exit status 1 if there are findings.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "tidy"
FOLDERS = ("core", "policies", "kernels", "models", "experiments")
TOGETHER = 10  # files
ALONE = "HWY_TARGET_INCLUDE"  # a source that includes itself, once per instruction set


def flags_of(entry):
    """The compiler and its flags, without input, output and dependency files."""
    words = shlex.split(entry["command"])
    words = words[next(i for i, word in enumerate(words) if word.endswith("clang++")):]
    kept, skip = [], False
    for word in words:
        if skip or word in ("-c", entry["file"]):
            skip = False
        elif word == "-o":
            skip = True
        else:
            kept.append(word)
    return tuple(kept)


def groups(wanted, together):
    """[(flags, files)], each list of at most `together` files from one folder."""
    by_kind = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(ROOT) or path.suffix != ".cc" or (wanted and path not in wanted):
            continue
        folder = path.parent.relative_to(ROOT)
        if folder.parts and folder.parts[0] in FOLDERS:
            name = path if ALONE in path.read_text() else folder.parts[0]
            by_kind.setdefault((flags_of(entry), name), []).append(path)
    for (flags, _), files in sorted(by_kind.items(), key=lambda item: str(item[1][0])):
        files = sorted(set(files))
        count = -(-len(files) // together)
        for index in range(count):
            yield flags, files[index::count]


def source_of(files):
    """The file to check: itself if it is one, else a source made of their texts."""
    if len(files) == 1:
        return files[0]
    text = "".join(path.read_text() + "\n" for path in files)
    name = hashlib.sha256("\n".join(map(str, files)).encode()).hexdigest()[:16]
    target = BUILD / "together" / f"{name}.cc"
    target.write_text(text)
    return target


def digest(flags, source, checks):
    """Changes with whatever clang-tidy sees; None if the source does not compile."""
    done = subprocess.run([*flags, "-E", str(source)], capture_output=True)
    if done.returncode != 0:
        return None
    parts = [done.stdout, "\0".join(flags).encode(), (ROOT / ".clang-tidy").read_bytes(), checks.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def check(flags, files, checks):
    """Findings as text, empty if there are none."""
    source = source_of(files)
    stamp = digest(flags, source, checks)
    clean = BUILD / "clean" / stamp if stamp else None
    if clean and clean.exists():
        return ""
    done = subprocess.run(["clang-tidy", "--quiet", f"--config-file={ROOT / '.clang-tidy'}", f"--checks={checks}",
                           str(source), "--", *flags[1:]], cwd=ROOT,
                          capture_output=True, text=True)
    if done.returncode == 0:
        if clean:
            clean.touch()
        return ""
    if len(files) == 1:
        return done.stdout + done.stderr
    half = len(files) // 2
    return check(flags, files[:half], checks) + check(flags, files[half:], checks)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--analyze", action="store_true", help="with the static analyzer: minutes become half an hour")
    parser.add_argument("files", nargs="*", type=pathlib.Path, metavar="FILE", help="these alone")
    arguments = parser.parse_args()
    checks = "clang-analyzer-*" if arguments.analyze else ""
    for folder in ("together", "clean"):
        (BUILD / folder).mkdir(parents=True, exist_ok=True)
    todo = list(groups({path.resolve() for path in arguments.files}, 1 if arguments.analyze else TOGETHER))
    findings = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for text in pool.map(lambda group: check(*group, checks), todo):
            if text:
                print(text, flush=True)
                findings += 1
    files = sum(len(names) for _, names in todo)
    print(f"clang-tidy: {files} files in {len(todo)} groups, findings in {findings}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
