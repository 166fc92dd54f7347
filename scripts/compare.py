#!/usr/bin/env python3
"""Runs variants of one experiment over several seeds and prints a table of their results.

    scripts/compare.py experiments/fairness.toml --seeds 5 --metric clients.0.mean_ttft_s \\
        policy.scheduling.name=fcfs "policy.scheduling.name=vtc policy.scheduling.output_cost=4.0"

A variant is a list of KEY=VALUE, as for `pagelab run --set`, separated by spaces. A metric is a path into summary.json. Each
cell is the mean over the seeds 1 to N, and in brackets the least and the most of them. Python's standard library only.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def value_at(summary, path):
    """The number at a dotted path of a summary; a part that is a number is the place in a list."""
    value = summary
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            there = ", ".join(map(str, value)) if isinstance(value, dict) else "nothing of that name"
            sys.exit(f"compare.py: summary.json has no '{path}': at '{part}' there is {there}")
    if not isinstance(value, (int, float)):
        sys.exit(f"compare.py: '{path}' of summary.json is not a number")
    return value


def run(program, experiment, sets, seed):
    """The summary of one run."""
    with tempfile.TemporaryDirectory(prefix="pagelab_compare_") as folder:
        out = pathlib.Path(folder) / "run"
        command = [program, "run", experiment, "--quiet", "--out", out, "--set", f"seed={seed}"]
        for assignment in sets:
            command += ["--set", assignment]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"compare.py: {' '.join(map(str, command))} failed:\n{done.stderr}")
        return json.loads((out / "summary.json").read_text())


def label_of(variant):
    """A variant without what is the same in most of them."""
    return variant.replace("policy.", "").replace(".name=", "=").replace("scheduling=", "").replace("batching=", "")


def cell(values):
    return f"{statistics.mean(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=pathlib.Path)
    parser.add_argument("variants", nargs="+", metavar="VARIANT")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="1 to N (default 3)")
    parser.add_argument("--metric", action="append", metavar="PATH", help="may be repeated")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/release/pagelab")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="runs at a time (default: cores)")
    options = parser.parse_args()
    metrics = options.metric or ["normalized_latency_s_per_token.mean", "ttft_s.mean", "time_between_tokens_s.p99"]
    if options.seeds < 1 or options.jobs < 1:
        parser.error("--seeds and --jobs must be at least 1")
    if not options.program.exists():
        parser.error(f"{options.program} is not there; build it, or name it by --program")

    seeds = range(1, options.seeds + 1)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {variant: [pool.submit(run, options.program, options.experiment, variant.split(), seed) for seed in seeds]
                for variant in options.variants}
        print("| variant | " + " | ".join(metrics) + " |")
        print("|---|" + "---|" * len(metrics))
        for variant, results in runs.items():
            summaries = [result.result() for result in results]
            cells = [cell([value_at(summary, metric) for summary in summaries]) for metric in metrics]
            print(f"| {label_of(variant)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
