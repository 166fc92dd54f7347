#!/usr/bin/env python3
"""Mutation tests of the CUDA layers: plants bugs one at a time and tells which layer sees each.

The bugs are in tests/cuda/mutations.toml. The sources are copied to build/mutation/source, so that the working tree
is never touched, and built there; per bug only what depends on the changed file is rebuilt. Prints a table of bug by
layer in markdown. Exit status 1 if a bug is seen by no layer, 2 if the tests fail without a bug or an entry is stale.

    scripts/mutation_test.py                      all bugs
    scripts/mutation_test.py --only "missing barrier"
    scripts/mutation_test.py --into docs/kernels.md
"""

import argparse
import filecmp
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import tomllib

import markdown_section

ROOT = pathlib.Path(__file__).resolve().parent.parent
MUTATIONS = ROOT / "tests" / "cuda" / "mutations.toml"
SCRATCH = ROOT / "build" / "mutation"
SOURCE = SCRATCH / "source"
BUILD = SCRATCH / "build"

KERNEL_LAYERS = ["kernel-source", "kernel-checked", "kernel-ptx"]
BACKEND_LAYER = "backend-lazy"
LAYERS = KERNEL_LAYERS + [BACKEND_LAYER]
BACKEND_TEST = "backend_lazy_test"

# A run with a bug may loop for ever; without one it takes seconds.
RUN_LIMIT_S = 60
# Properties repeat the same draws in every run, so that the table does.
RAPIDCHECK = "seed=1 max_success=20"
REPORT = re.compile(r"\b(illegal address|race|uninitialised|barrier|collective|hang|unsupported): ")

NOT_SEEN = "not seen"
NOT_RUN = "-"
NO_LAYER = "layer not built"


class Stale(Exception):
    """An entry of mutations.toml that does not fit the sources, or tests that fail without a bug."""


def copy_sources():
    """Brings SOURCE up to date; files that did not change keep their times, so that nothing is rebuilt for them."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            check=True, capture_output=True, text=True).stdout
    names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    for name in names:
        target = SOURCE / name
        if not target.exists() or not filecmp.cmp(ROOT / name, target, shallow=False):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
            shutil.copymode(ROOT / name, target)
    for path in SOURCE.rglob("*"):
        if path.is_file() and path.relative_to(SOURCE).as_posix() not in names:
            path.unlink()


def configure():
    """Configures the build of the copy; gives the names of its targets."""
    command = ["cmake", "-S", str(SOURCE), "-B", str(BUILD), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
               "-DPAGELAB_BENCHMARKS=OFF"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Stale("cmake failed:\n" + done.stdout + done.stderr)
    listed = subprocess.run(["ninja", "-C", str(BUILD), "-t", "targets", "all"], check=True, capture_output=True,
                            text=True).stdout
    return {line.split(":")[0] for line in listed.splitlines()}


def target_of(layer, test):
    return test if layer == BACKEND_LAYER else layer.replace("-", "_") + "_" + test


def tests_in(layer, mutation):
    """The tests of a mutation that belong to a layer, as (test, filter)."""
    return [(test, wanted) for test, wanted in mutation["tests"].items()
            if (test == BACKEND_TEST) == (layer == BACKEND_LAYER)]


def build(target):
    """Gives the compiler's output if it refuses, None otherwise."""
    done = subprocess.run(["ninja", "-C", str(BUILD), "-j", str(os.cpu_count()), target], capture_output=True, text=True)
    return None if done.returncode == 0 else done.stdout + done.stderr


def run(target, wanted):
    """How the test program failed, and what it printed; (None, ...) if it passed."""
    command = [str(BUILD / "tests" / "cuda" / target), "--gtest_filter=" + wanted, "--gtest_fail_fast"]
    environment = os.environ | {"RC_PARAMS": RAPIDCHECK}
    try:
        done = subprocess.run(command, cwd=SCRATCH, env=environment, timeout=RUN_LIMIT_S, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return "no end", ""
    if done.returncode == 0:
        if re.search(r"Running [1-9]\d* tests? from", done.stdout):
            return None, done.stdout
        raise Stale(f"{target}: no test fits the filter {wanted}")
    report = REPORT.search(done.stdout)
    if report:
        return report.group(1), done.stdout
    if done.returncode < 0:
        return f"signal {-done.returncode}", done.stdout
    return "wrong values", done.stdout


def check_baseline(mutations, layers, targets):
    """Without a bug every program builds and every filter passes."""
    filters = {}
    for mutation in mutations:
        for layer in layers:
            for test, wanted in tests_in(layer, mutation):
                target = target_of(layer, test)
                if target in targets:
                    filters.setdefault(target, set()).add(wanted)
    for target, wanted in sorted(filters.items()):
        refused = build(target)
        if refused is not None:
            raise Stale(f"{target} does not build without a bug:\n{refused}")
        for one in sorted(wanted):
            failure, output = run(target, one)
            if failure is not None:
                raise Stale(f"{target} fails without a bug ({failure}):\n{output}")


def mutated(mutation):
    """The text of the mutation's file with the bug in it."""
    path = SOURCE / mutation["file"]
    if not path.exists():
        raise Stale(f"{mutation['name']}: there is no {mutation['file']}")
    original = path.read_text()
    matches = original.count(mutation["text"])
    if matches != 1:
        raise Stale(f"{mutation['name']}: its text is {matches} times in {mutation['file']}, not once")
    return original.replace(mutation["text"], mutation["replacement"])


def see(mutation, layer, targets):
    """How a layer sees the bug that is planted now."""
    results = []
    for test, wanted in tests_in(layer, mutation):
        target = target_of(layer, test)
        if target not in targets:
            return NO_LAYER
        if build(target) is not None:
            return "does not compile"
        failure, _ = run(target, wanted)
        results.append(failure)
    if not results:
        return NOT_RUN
    return next((result for result in results if result is not None), NOT_SEEN)


def caught(result):
    return result not in (NOT_SEEN, NOT_RUN, NO_LAYER)


def plant(mutation, layers, targets):
    """Plants a bug, lets every layer look, takes it out again; gives how each layer saw it."""
    path = SOURCE / mutation["file"]
    original = path.read_text()
    path.write_text(mutated(mutation))
    try:
        return [see(mutation, layer, targets) for layer in layers]
    finally:
        path.write_text(original)


def table(layers, rows):
    lines = ["| bug | file | " + " | ".join(layers) + " |", "|---|---|" + "---|" * len(layers)]
    for mutation, results in rows:
        cells = [f"**{result}**" if caught(result) else result for result in results]
        lines.append(f"| {mutation['name']} | {mutation['file']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="this bug alone; may be repeated")
    parser.add_argument("--layer", action="append", choices=LAYERS, help="this layer alone; may be repeated")
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="put the table into this markdown file, too")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    mutations = tomllib.loads(MUTATIONS.read_text())["mutation"]
    if arguments.only:
        unknown = set(arguments.only) - {mutation["name"] for mutation in mutations}
        if unknown:
            raise Stale(f"no such bug: {', '.join(sorted(unknown))}")
        mutations = [mutation for mutation in mutations if mutation["name"] in arguments.only]
    layers = [layer for layer in LAYERS if not arguments.layer or layer in arguments.layer]

    copy_sources()
    for mutation in mutations:
        mutated(mutation)
    targets = configure()
    check_baseline(mutations, layers, targets)

    rows = []
    for mutation in mutations:
        start = time.monotonic()
        results = plant(mutation, layers, targets)
        rows.append((mutation, results))
        print(f"{mutation['name']}: {', '.join(results)} ({time.monotonic() - start:.0f} s)", file=sys.stderr,
              flush=True)
    text = table(layers, rows)
    print(text)
    if arguments.into:
        markdown_section.replace(arguments.into, "mutations", text)
    missed = [mutation["name"] for mutation, results in rows
              if not any(caught(result) for result in results) and NO_LAYER not in results]
    undecided = [mutation["name"] for mutation, results in rows
                 if not any(caught(result) for result in results) and NO_LAYER in results]
    for name in missed:
        print(f"seen by no layer: {name}", file=sys.stderr)
    for name in undecided:
        print(f"undecided, since a layer is not built here: {name}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Stale as error:
        print(f"mutation_test: {error}", file=sys.stderr)
        sys.exit(2)
