#!/usr/bin/env python3
"""References per second of CPU time of pagelab's eviction policies beside libCacheSim's, on the same traces in one run.

Needs the package libcachesim (pip install libcachesim) and the program bench_eviction, whose cache has 5,000 blocks.
Its miss ratios are printed too: they show that both sides did the same.
"""

import argparse
import array
import json
import lzma
import os
import pathlib
import statistics
import struct
import subprocess
import tempfile
import time

import libcachesim

CAPACITY = 5000
POLICIES = {"lru": libcachesim.LRU, "fifo": libcachesim.FIFO, "lfu": libcachesim.LFU, "clock": libcachesim.Clock,
            "sieve": libcachesim.Sieve, "s3fifo": libcachesim.S3FIFO, "arc": libcachesim.ARC, "slru": libcachesim.SLRU,
            "twoq": libcachesim.TwoQ, "belady": libcachesim.Belady}


def write_oracle_general(source, target):
    """libCacheSim's binary format: time, id, size, place of the next reference (-1: never)."""
    ids = array.array("I", lzma.open(source).read())
    following = [-1] * len(ids)
    seen = {}
    for place in range(len(ids) - 1, -1, -1):
        following[place] = seen.get(ids[place], -1)
        seen[ids[place]] = place
    with open(target, "wb") as out:
        for place, block in enumerate(ids):
            out.write(struct.pack("<IQIq", place // 1000, block + 1, 1, following[place]))
    return len(ids)


def theirs(policy, file, references):
    reader = libcachesim.TraceReader(str(file), libcachesim.TraceType.ORACLE_GENERAL_TRACE)
    cache = POLICIES[policy](CAPACITY, hashpower=17)  # a table that fits: the default of 2^24 is slower
    start = time.process_time()
    misses, _ = cache.process_trace(reader)
    return 1e-6 * references / (time.process_time() - start), misses


def ours(bench, shared, policy, trace):
    command = [bench, f"--benchmark_filter=^{policy}/{trace}$", "--benchmark_min_time=0.05", "--benchmark_format=json"]
    result = subprocess.run(command, capture_output=True, check=True, env=dict(os.environ, PAGELAB_SHARED=str(shared)))
    row = json.loads(result.stdout)["benchmarks"][0]
    return 1e-6 * row["items_per_second"], row["miss_ratio"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shared", type=pathlib.Path, help="the folder that holds cache_traces/")
    parser.add_argument("--bench", default="build/release/tests/bench/bench_eviction")
    parser.add_argument("--traces", nargs="+", default=["zipf10", "zipf08", "scan", "shift"])
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for trace in options.traces:
            files[trace] = pathlib.Path(folder) / trace
            references = write_oracle_general(options.shared / "cache_traces" / f"{trace}.u32.xz", files[trace])
        for _ in range(options.rounds):
            for trace in options.traces:
                for policy in POLICIES:
                    pair = (ours(options.bench, options.shared, policy, trace), theirs(policy, files[trace], references))
                    rows.setdefault((trace, policy), []).append(pair)
    print(f"{'trace':8} {'policy':8} {'ours':>8} {'theirs':>8} {'ratio':>6}   miss ratios (million references/s)")
    for (trace, policy), pairs in rows.items():
        rate, their_rate = (statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        print(f"{trace:8} {policy:8} {rate:8.1f} {their_rate:8.1f} {rate / their_rate:6.1f}   "
              f"{pairs[0][0][1]:.4f} {pairs[0][1][1]:.4f}")


if __name__ == "__main__":
    main()
