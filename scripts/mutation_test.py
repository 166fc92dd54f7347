#!/usr/bin/env python3
"""Mutation tests of the CUDA layers: plants bugs one at a time and tells which layer sees each.

The bugs are in tests/cuda/mutations.toml. The sources are copied to build/mutation, once per job, so that the working
tree is never touched, and built there; per bug only what depends on the changed file is rebuilt, and what a release
build of the working tree has compiled before comes out of ccache. Prints a table of bug by layer in markdown. Exit
status 1 if a bug is seen by no layer, 2 if the tests fail without a bug or an entry is stale.

    scripts/mutation_test.py                      all bugs on all layers
    scripts/mutation_test.py --first              all bugs, each until a layer has seen it
    scripts/mutation_test.py --only "missing barrier"
    scripts/mutation_test.py --into docs/kernels.md
"""

import argparse
import concurrent.futures
import filecmp
import itertools
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

KERNEL_LAYERS = ["kernel-source", "kernel-checked", "kernel-ptx"]
BACKEND_LAYER = "backend-lazy"
LAYERS = KERNEL_LAYERS + [BACKEND_LAYER]
BACKEND_TEST = "backend_lazy_test"
QUICKEST_LAYER = "kernel-checked"

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


def target_of(layer, test):
    return test if layer == BACKEND_LAYER else layer.replace("-", "_") + "_" + test


def tests_in(layer, mutation):
    """The tests of a mutation that belong to a layer, as (test, filter)."""
    return [(test, wanted) for test, wanted in mutation["tests"].items()
            if (test == BACKEND_TEST) == (layer == BACKEND_LAYER)]


class Copy:
    """A copy of the sources and its build, in which one bug at a time is planted."""

    def __init__(self, index):
        # A build lies where it lies in the working tree (build/release), so that ccache sees the same relative paths.
        self.source = SCRATCH / str(index)
        self.build_folder = self.source / "build" / "release"
        self.copy_sources()
        self.targets = self.configure()

    def copy_sources(self):
        """Brings the copy up to date; files that did not change keep their times, so that nothing is rebuilt for them."""
        listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                                check=True, capture_output=True, text=True).stdout
        names = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
        for name in names:
            target = self.source / name
            if not target.exists() or not filecmp.cmp(ROOT / name, target, shallow=False):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)
                shutil.copymode(ROOT / name, target)
        for path in self.source.rglob("*"):
            name = path.relative_to(self.source)
            if name.parts[0] != "build" and path.is_file() and name.as_posix() not in names:
                path.unlink()

    def configure(self):
        """Configures the build; gives the names of its targets."""
        command = ["cmake", "-S", str(self.source), "-B", str(self.build_folder), "-G", "Ninja",
                   "-DCMAKE_BUILD_TYPE=Release", "-DPAGELAB_BENCHMARKS=OFF"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Stale("cmake failed:\n" + done.stdout + done.stderr)
        listed = subprocess.run(["ninja", "-C", str(self.build_folder), "-t", "targets", "all"], check=True,
                                capture_output=True, text=True).stdout
        return {line.split(":")[0] for line in listed.splitlines()}

    def build(self, target, jobs):
        """Gives the compiler's output if it refuses, None otherwise."""
        done = subprocess.run(["ninja", "-C", str(self.build_folder), "-j", str(jobs), target], capture_output=True,
                              text=True)
        return None if done.returncode == 0 else done.stdout + done.stderr

    def run(self, target, wanted):
        """How the test program failed, and what it printed; (None, ...) if it passed."""
        command = [str(self.build_folder / "tests" / "cuda" / target), "--gtest_filter=" + wanted, "--gtest_fail_fast"]
        environment = os.environ | {"RC_PARAMS": RAPIDCHECK}
        try:
            done = subprocess.run(command, cwd=self.source, env=environment, timeout=RUN_LIMIT_S,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
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

    def check_without_bugs(self, pairs, jobs):
        """The (target, filter) pairs that are said to see bugs pass without one."""
        for target, wanted in sorted(pairs):
            refused = self.build(target, jobs)
            if refused is not None:
                raise Stale(f"{target} does not build without a bug:\n{refused}")
            failure, output = self.run(target, wanted)
            if failure is not None:
                raise Stale(f"{target} fails without a bug ({failure}):\n{output}")

    def mutated(self, mutation):
        """The text of the mutation's file with the bug in it."""
        path = self.source / mutation["file"]
        if not path.exists():
            raise Stale(f"{mutation['name']}: there is no {mutation['file']}")
        original = path.read_text()
        matches = original.count(mutation["text"])
        if matches != 1:
            raise Stale(f"{mutation['name']}: its text is {matches} times in {mutation['file']}, not once")
        return original.replace(mutation["text"], mutation["replacement"])

    def see(self, mutation, layer, jobs):
        """How a layer sees the bug that is planted now."""
        results = []
        for test, wanted in tests_in(layer, mutation):
            target = target_of(layer, test)
            if target not in self.targets:
                return NO_LAYER
            if self.build(target, jobs) is not None:
                return "does not compile"
            failure, _ = self.run(target, wanted)
            results.append(failure)
        if not results:
            return NOT_RUN
        return next((result for result in results if result is not None), NOT_SEEN)

    def plant(self, mutation, layers, jobs, until_seen):
        """Plants a bug, lets the layers look, takes it out again; gives how each layer saw it."""
        path = self.source / mutation["file"]
        original = path.read_text()
        path.write_text(self.mutated(mutation))
        try:
            results = {}
            for layer in layers:
                results[layer] = self.see(mutation, layer, jobs)
                if until_seen and caught(results[layer]):
                    break
            return results
        finally:
            path.write_text(original)


def caught(result):
    return result not in (NOT_SEEN, NOT_RUN, NO_LAYER)


def order(mutation, layers):
    """The layers in which to look until one has seen the bug: what is quick and sees most first."""
    first = mutation.get("seen_by", QUICKEST_LAYER)
    return sorted(layers, key=lambda layer: layer != first)


def work(copy, mutations, layers, jobs, until_seen):
    """[(mutation, {layer: how it saw the bug})] of a list of mutations."""
    rows = []
    for mutation in mutations:
        start = time.monotonic()
        results = copy.plant(mutation, order(mutation, layers) if until_seen else layers, jobs, until_seen)
        rows.append((mutation, results))
        seen = ", ".join(f"{layer}: {result}" for layer, result in results.items())
        print(f"{mutation['name']}: {seen} ({time.monotonic() - start:.0f} s)", file=sys.stderr, flush=True)
    pairs = {(target_of(layer, test), wanted) for mutation, results in rows for layer in results
             if caught(results[layer]) for test, wanted in tests_in(layer, mutation)}
    copy.check_without_bugs(pairs, jobs)
    return rows


def shares(mutations, count):
    """The mutations in `count` lists of about the same length; those of one file stay together, in their order."""
    groups = [list(group) for _, group in itertools.groupby(mutations, key=lambda mutation: mutation["file"])]
    lists = [[] for _ in range(count)]
    for group in sorted(groups, key=len, reverse=True):
        min(lists, key=len).extend(group)
    return [share for share in lists if share]


def table(layers, rows):
    lines = ["| bug | file | " + " | ".join(layers) + " |", "|---|---|" + "---|" * len(layers)]
    for mutation, results in rows:
        cells = [results.get(layer, NOT_RUN) for layer in layers]
        cells = [f"**{result}**" if caught(result) else result for result in cells]
        lines.append(f"| {mutation['name']} | {mutation['file']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="NAME", help="this bug alone; may be repeated")
    parser.add_argument("--layer", action="append", choices=LAYERS, help="this layer alone; may be repeated")
    parser.add_argument("--first", action="store_true", help="leave a bug as soon as one layer has seen it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="bugs at a time (default: one per processor)")
    parser.add_argument("--into", type=pathlib.Path, metavar="FILE", help="put the table into this markdown file, too")
    arguments = parser.parse_args()
    if arguments.into and (arguments.first or arguments.only or arguments.layer):
        parser.error("--into is for the whole table")
    return arguments


def main():
    arguments = parse_arguments()
    mutations = tomllib.loads(MUTATIONS.read_text())["mutation"]
    if arguments.only:
        unknown = set(arguments.only) - {mutation["name"] for mutation in mutations}
        if unknown:
            raise Stale(f"no such bug: {', '.join(sorted(unknown))}")
        mutations = [mutation for mutation in mutations if mutation["name"] in arguments.only]
    layers = [layer for layer in LAYERS if not arguments.layer or layer in arguments.layer]

    lists = shares(mutations, max(1, arguments.jobs))
    copies = [Copy(index) for index in range(len(lists))]
    for mutation in mutations:
        copies[0].mutated(mutation)
    jobs = max(1, os.cpu_count() // len(lists))
    with concurrent.futures.ThreadPoolExecutor(len(lists)) as pool:
        done = pool.map(lambda copy, share: work(copy, share, layers, jobs, arguments.first), copies, lists)
        by_name = {mutation["name"]: results for rows in done for mutation, results in rows}
    rows = [(mutation, by_name[mutation["name"]]) for mutation in mutations]

    text = table(layers, rows)
    print(text)
    if arguments.into:
        markdown_section.replace(arguments.into, "mutations", text)
    unseen = [(mutation["name"], NO_LAYER in results.values()) for mutation, results in rows
              if not any(caught(result) for result in results.values())]
    for name, undecided in unseen:
        print(f"undecided, since a layer is not built here: {name}" if undecided else f"seen by no layer: {name}",
              file=sys.stderr)
    return 1 if any(not undecided for _, undecided in unseen) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Stale as error:
        print(f"mutation_test: {error}", file=sys.stderr)
        sys.exit(2)
