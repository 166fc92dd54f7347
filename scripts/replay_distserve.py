#!/usr/bin/python3
"""Replays the measured vLLM runs of OPT-13B (DistServe) on the simulated A100-80GB and compares latencies.

    scripts/replay_distserve.py --pagelab build/release/pagelab --profiles ../shared/profiles \\
        --into docs/devices.md

Each run's arrivals and lengths become a trace under --work, experiments/opt13b_distserve.toml is run on it, and the table
shows mean and 90th percentile of three latencies, simulated and measured, with their difference.
"""

import argparse
import csv
import pathlib
import shutil
import subprocess
import tomllib

import numpy

import device_profiles as profiles
import fit_host
import markdown_section

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / "experiments"
EXPERIMENT, DEVICE = EXPERIMENTS / "opt13b_distserve.toml", EXPERIMENTS / "devices" / "a100-80gb.toml"
# Seconds of the host per step, sequence and prefill token, as scripts/fit_host.py finds them for DistServe's fit.
FIT = (0.00563, 0.000049, 0.000041)


def measured_run(folder, name):
    """The rows of a run. The file's other runs prefill on one instance and decode on another: no single engine."""
    table = profiles.table(folder / "distserve" / "opt13b_sharegpt_measured_runs.csv.xz")
    return [row for row in table if row["run"] == name]


def hosts(folder):
    """(label, run, host): DistServe's fit; what the other four runs took; what the run itself took."""
    yield from (("fit", run, FIT) for run in fit_host.RUNS)
    device = tomllib.loads(DEVICE.read_text())
    for run in fit_host.RUNS:
        yield "the other runs", run, fit_host.serving_loop(device, folder, [name for name in fit_host.RUNS if name != run])[0]
    for run in fit_host.RUNS:
        yield "the run itself", run, fit_host.serving_loop(device, folder, [run])[0]


def measured(rows):
    return {name: numpy.array([float(row[f"{name}_ms"]) for row in rows]) for name in ("ttft", "tpot", "latency")}


def simulated(program, work, name, rows, host):
    trace, out = work / f"{name}.csv", work / name
    with open(trace, "w", encoding="utf-8") as file:
        file.write("arrival_s,input_tokens,output_tokens\n")
        file.writelines(f"{row['arrival_s']},{row['input_tokens']},{row['output_tokens']}\n" for row in rows)
    keys = ("device.host_step_s", "device.host_sequence_s", "device.host_prefill_token_s")
    values = [f"workload.lengths.file={trace.resolve()}", f"workload.requests={len(rows)}",
              *(f"{key}={seconds}" for key, seconds in zip(keys, host))]
    shutil.rmtree(out, ignore_errors=True)
    sets = [part for value in values for part in ("--set", value)]
    subprocess.run([program, "run", EXPERIMENT, "--quiet", "--out", out, *sets], check=True, stdout=subprocess.DEVNULL)
    with open(out / "requests.csv", encoding="utf-8") as file:
        done = [row for row in csv.DictReader(file) if row["status"] == "finished"]
    if len(done) != len(rows):
        raise RuntimeError(f"{name}: {len(done)} of {len(rows)} requests finished")
    column = lambda name: numpy.array([float(row[name]) for row in done])
    return {"ttft": 1e3 * column("ttft_s"), "tpot": 1e3 * column("tpot_s"),
            "latency": 1e3 * (column("finished_s") - column("arrival_s"))}


def cell(ours, theirs):
    return f"{ours:,.0f} / {theirs:,.0f} ({100 * (ours / theirs - 1):+.0f} %)"


def table(program, folder, work):
    names = [f"{name} {what}" for name in ("TTFT", "TPOT", "latency") for what in ("mean", "p90")]
    yield "| host from | run | requests/s | " + " | ".join(names) + " |"
    yield "|---|---|--:|" + "--:|" * len(names)
    for label, name, host in hosts(folder):
        rows = measured_run(folder, name)
        ours, theirs = simulated(program, work, name, rows, host), measured(rows)
        cells = [cell(how(ours[key]), how(theirs[key])) for key in ("ttft", "tpot", "latency")
                 for how in (numpy.mean, lambda values: numpy.percentile(values, 90))]
        yield f"| {label} | {name} | {len(rows) / float(rows[-1]['arrival_s']):.1f} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pagelab", type=pathlib.Path, required=True, help="the program")
    parser.add_argument("--profiles", type=pathlib.Path, required=True, help="folder of the published measurements")
    parser.add_argument("--work", type=pathlib.Path, default="build/distserve", help="folder for traces and runs")
    parser.add_argument("--into", type=pathlib.Path, help="put the table into this markdown file")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    text = "\n".join(table(arguments.pagelab, arguments.profiles, arguments.work)) + "\n"
    print(text, end="")
    if arguments.into:
        markdown_section.replace(arguments.into, "replay", text)


if __name__ == "__main__":
    main()
