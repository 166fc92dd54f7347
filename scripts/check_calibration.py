#!/usr/bin/env python3
"""How well a simulated device predicts this machine: the same experiments on the CPU and on its description.

Calibrates the CPU for each model (or takes a description that is there), then runs the model under a light and a
heavy load, in real time on the CPU and in virtual time on the description, and prints both sides: throughput and mean
normalized latency. A machine is not equally fast all the time: CPU runs are repeated, the loads in turn, and their medians
taken; and the CPU is calibrated before and after them, and the mean of both predictions compared. Start it on a machine
that does nothing else:

    scripts/check_calibration.py --pagelab build/pagelab --threads 1 --out build/calibration
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

# Requests per second and requests of a light load (some requests together) and of one that no model here can serve.
LOADS = {"light": (0.5, 16), "overload": (20.0, 48)}
QUICK_LOADS = {"light": (10.0, 2), "overload": (100.0, 4)}

EXPERIMENT = """
seed = 1
[model]
shape = "{model}"
dtype = "bf16"
[device]
{device}
block_size = 16
device_blocks = 1024
host_blocks = 0
kv_dtype = "bf16"
[clock]
kind = "real"
[workload]
requests = {requests}
[workload.lengths]
kind = "uniform"
prompt_min = 16
prompt_max = 256
output_min = 16
output_max = 96
[workload.arrivals]
kind = "poisson"
rate_per_s = {rate}
[sampling]
method = "random"
forced_output = true
[policy.batching]
name = "mixed"
max_tokens = 2048
[output]
trace = false
"""

METRICS = {"throughput": ("output tokens/s", lambda s: s["throughput"]["output_tokens_per_s"]),
           "latency": ("s/token", lambda s: s["normalized_latency_s_per_token"]["mean"])}


def calibrate(options, model, when):
    """A description of the CPU as it is now."""
    description = (options.out / f"{model}-{when}.toml").resolve()
    command = [options.pagelab, "calibrate", "--device", "cpu", "--threads", str(options.threads), "--model", model,
               "--out", description]
    print(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout, end="", flush=True)
    return description


def run(options, name, model, load, device):
    """The summary of one run."""
    rate, requests = options.loads[load]
    file = options.out / f"{name}.toml"
    file.write_text(EXPERIMENT.format(model=model, device=device, requests=requests, rate=rate))
    folder = options.out / name
    subprocess.run([options.pagelab, "run", file, "--out", folder, "--quiet"], check=True)
    return json.loads((folder / "summary.json").read_text())


def table(options, measured, simulated):
    """The lines of the table, and the largest deviation of each metric."""
    worst = dict.fromkeys(METRICS, 0.0)
    yield "| model | load | metric | cpu, median (least to most) | sim, calibrated before; after | deviation of their mean |"
    yield "|---|---|---|---|---|---|"
    for model in options.models:
        for load in options.loads:
            for metric, (unit, value) in METRICS.items():
                cpu = [value(summary) for summary in measured[model, load]]
                sim = [value(summary) for summary in simulated[model, load]]
                deviation = statistics.mean(sim) / statistics.median(cpu) - 1
                worst[metric] = max(worst[metric], abs(deviation))
                yield (f"| {model} | {load} | {metric}, {unit} | {statistics.median(cpu):.4g} "
                       f"({min(cpu):.4g} to {max(cpu):.4g}) | {'; '.join(f'{one:.4g}' for one in sim)} | {100 * deviation:+.1f} % |")
    for metric, deviation in worst.items():
        yield f"{metric}: at most {100 * deviation:.1f} % off"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pagelab", default="build/pagelab", help="the program")
    parser.add_argument("--models", nargs="+", default=["opt-125m", "llama-110m", "gpt2"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=3, help="of each experiment on the CPU")
    parser.add_argument("--description", type=pathlib.Path, help="use this description; none: calibrate now")
    parser.add_argument("--quick", dest="loads", action="store_const", const=QUICK_LOADS, default=LOADS,
                        help="a few requests: does it run? No result")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a new folder for everything that is written")
    return parser.parse_args()


def main():
    options = arguments()
    if options.out.exists():
        sys.exit(f"{options.out} is there already")
    options.out.mkdir(parents=True)
    measured, simulated = {}, {}
    for model in options.models:
        given = options.description
        descriptions = {"given": given.resolve()} if given else {"before": calibrate(options, model, "before")}
        for repeat in range(options.runs):
            for load in options.loads:
                device = f'kind = "cpu"\nthreads = {options.threads}'
                summary = run(options, f"cpu-{model}-{load}-{repeat}", model, load, device)
                measured.setdefault((model, load), []).append(summary)
        if not given:
            descriptions["after"] = calibrate(options, model, "after")
        for load in options.loads:
            for when, description in descriptions.items():
                device = f'kind = "sim"\ndescription = "{description}"'
                summary = run(options, f"sim-{model}-{load}-{when}", model, load, device)
                simulated.setdefault((model, load), []).append(summary)
    for line in table(options, measured, simulated):
        print(line)


if __name__ == "__main__":
    main()
