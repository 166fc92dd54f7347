#!/usr/bin/env python3
"""What whole simulated runs take, from the program's start to its end, steps.csv written: seconds of CPU, and memory.

    tests/bench/bench_runs.py --pagelab build/release/pagelab
    tests/bench/bench_runs.py --pagelab build/release/pagelab --against OTHER/build/release/pagelab

The runs follow one another in turn, so that a noisy machine disturbs all of them alike. --against runs another build beside it and
prints the ratio of the medians. The last two lines tell how memory grows with the length of a run.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TRACES = HERE / ".." / ".." / ".." / "shared" / "traces"
SKIPPED = 77  # as CTest is told
RUNS = {"10,000 requests": ("sharegpt_10000.toml", []),
        "one hour": ("sharegpt_hour.toml", []),
        "one hour, 1 request/s": ("sharegpt_hour.toml", ["workload.arrivals.rate_per_s=1"]),
        "four hours, 1 request/s": ("sharegpt_hour.toml", ["workload.arrivals.rate_per_s=1", "workload.duration_s=14400"])}


def run(program, file, settings):
    """(seconds of CPU, peak memory in MB) of one run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "run", str(HERE / file), "--out", folder + "/run", "--quiet"]
        for setting in settings:
            command += ["--set", setting]
        child = os.posix_spawn(program, command, os.environ)
        _, status, used = os.wait4(child, 0)
    if status != 0:
        sys.exit(f"{' '.join(command)} failed")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pagelab", required=True, help="the program")
    parser.add_argument("--against", help="another build of it")
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    if not TRACES.is_dir() and os.environ.get("CI") != "true":
        print("skipped: the traces of ../shared/traces are not there")
        sys.exit(SKIPPED)
    programs = [options.pagelab] + ([options.against] if options.against else [])
    taken = {}
    for _ in range(options.repeat):
        for name, (file, settings) in RUNS.items():
            for program in programs:
                taken.setdefault((name, program), []).append(run(program, file, settings))
    print("| run | CPU, s: median (least) | peak memory, MB |" + (" other, s | ratio |" if options.against else ""))
    print("|---|--:|--:|" + ("--:|--:|" if options.against else ""))
    medians = {}
    for (name, program), runs in taken.items():
        medians[name, program] = statistics.median(seconds for seconds, _ in runs)
    for name in RUNS:
        runs = taken[name, options.pagelab]
        line = (f"| {name} | {medians[name, options.pagelab]:.3f} ({min(seconds for seconds, _ in runs):.3f}) "
                f"| {max(memory for _, memory in runs):.0f} |")
        if options.against:
            other = medians[name, options.against]
            line += f" {other:.3f} | {medians[name, options.pagelab] / other:.2f} |"
        print(line)


if __name__ == "__main__":
    main()
