#!/usr/bin/python3
"""What serving software adds to the device's time of a step: [device] host_* keys, from published end-to-end measurements.

    scripts/fit_host.py --profiles ../shared/profiles --figures ../shared/papers/sosp23_figures.json \\
        --devices experiments/devices --into docs/devices.md

The device's time comes from the descriptions that scripts/fit_device.py wrote; what a measured step takes beyond it is the
host's. Least squares of relative residuals, numbers below zero held at zero.
"""

import argparse
import json
import pathlib
import statistics
import tomllib

import numpy

import device_formulas as formulas
import device_profiles as profiles
import markdown_section

# (layers, hidden, heads, vocabulary), feed-forward of 4 x hidden, f16.
SHAPES = {"opt-13b": (40, 5120, 40, 50272), "GPT-20B": (44, 6144, 48, 51200)}

# Of a vLLM, by number of requests and requests/s.
RUNS = ["vllm-100-1", "vllm-100-2", "vllm-200-2", "vllm-300-3", "vllm-400-4"]


def forward(d, model, gpus, tokens, rows, attention):
    """Seconds of a forward pass over `tokens` tokens, as CostModel::forward has it for OPT."""
    layers, hidden, heads, vocabulary = SHAPES[model]
    shard = hidden / gpus
    products = [(3 * shard, hidden), (hidden, shard), (4 * shard, hidden), (hidden, 4 * shard)]
    linear = sum(formulas.gemm(d["gemm"], tokens, n, k) for n, k in products)
    # Two norms, two residuals, the activation and the write of K and V; beside the layers two for the embedding.
    moved = 2 * tokens * (2 * 2 * hidden + 2 * 3 * hidden + 2 * 4 * shard + 4 * shard)
    simple = 6 * d["elementwise"]["launch_s"] + moved / d["elementwise"]["bandwidth"]
    total = layers * (linear + simple + attention) + 2 * formulas.elementwise(d["elementwise"], 5 * tokens * hidden)
    if gpus > 1:
        total += 2 * layers * formulas.all_reduce(d["all_reduce"], gpus, 2 * tokens * hidden)
        total += formulas.all_reduce(d["all_reduce"], gpus, 2 * rows * vocabulary)
    return (total + formulas.elementwise(d["elementwise"], 4 * rows * hidden) +
            formulas.gemm(d["gemm"], rows, vocabulary / gpus, hidden) + formulas.sampling(d["sampling"], rows, vocabulary))


def decode_s(d, model, gpus, sequences, context):
    heads = SHAPES[model][2] // gpus
    attention = formulas.decode_attention(d["decode_attention"], sequences, context, heads, heads)
    return forward(d, model, gpus, sequences, sequences, attention)


def prefill_s(d, model, gpus, prompts, tokens):
    heads = SHAPES[model][2] // gpus
    attention = formulas.prefill_attention(d["prefill_attention"], prompts, tokens, 0, heads, heads)
    return forward(d, model, gpus, prompts * tokens, prompts, attention)


def least_squares(features, extra, measured):
    """Coefficients at or above 0 of `features` (one row per measurement) for the seconds `extra`, relative to `measured`."""
    x, y = numpy.array(features, float) / numpy.array(measured)[:, None], numpy.array(extra) / numpy.array(measured)
    used = list(range(x.shape[1]))
    while used:
        solution = numpy.linalg.lstsq(x[:, used], y, rcond=None)[0]
        if solution.min() >= 0:
            break
        used.pop(int(solution.argmin()))
    result = numpy.zeros(x.shape[1])
    result[used] = solution
    return result


def percent(predicted, measured):
    error = 100 * numpy.abs(numpy.array(predicted) / numpy.array(measured) - 1)
    return f"{numpy.median(error):.1f} / {error.max():.1f}"


def figure1(device, figures, context):
    """OPT-13B decoding on an A100-40GB by batch, each sequence at `context` tokens, which the paper does not state."""
    published = figures["fig1_throughput_tok_s"]
    batches = published["batch"][1:]
    measured = [batch / speed for batch, speed in zip(batches, published["tok_s"][1:])]
    predicted = [decode_s(device, "opt-13b", 1, batch, context) for batch in batches]
    features = [(1, batch) for batch in batches]
    step, sequence = least_squares(features, numpy.subtract(measured, predicted), measured)
    fitted = [device_s + step + sequence * batch for device_s, batch in zip(predicted, batches)]
    return (f"| SOSP'23 vLLM and Orca | Figure 1, {len(batches)} points at {context} tokens | {1e3 * step:.2f} | {1e3 * sequence:.3f} | | | "
            f"{percent(predicted, measured)} | {percent(fitted, measured)} |")


def faster_transformer(device, folder):
    """GPT-20B on one to eight A100-80GB, whole requests: prefill, then a step per further token."""
    for gpus in (1, 2, 4, 8):
        measured, predicted, steps = [], [], []
        for row in profiles.table(folder / "published_tables" / "fastertransformer_gpt_a100_80gb.csv"):
            batch, prompt, output = (int(row[key]) for key in ("batch", "input_len", "output_len"))
            if (row["model"], row["tp"], row["pp"]) != ("GPT-20B", str(gpus), "1") or row["latency_ms"] == "OOM" or batch > 32:
                continue
            measured.append(float(row["latency_ms"]) * 1e-3)
            steps.append(output)
            predicted.append(prefill_s(device, "GPT-20B", gpus, batch, prompt) +
                             sum(decode_s(device, "GPT-20B", gpus, batch, prompt + i) for i in range(1, output)))
        (step,) = least_squares([(count,) for count in steps], numpy.subtract(measured, predicted), measured)
        fitted = [device_s + step * count for device_s, count in zip(predicted, steps)]
        yield (f"| FasterTransformer, {gpus} GPU | NVIDIA's table, GPT-20B, batches to 32, {len(measured)} rows | "
               f"{1e3 * step:.2f} | 0 | 0 | | {percent(predicted, measured)} | {percent(fitted, measured)} |")


def ray(folder):
    """Time in Ray's calls per step, by tensor-parallel degree, in a vLLM of 2023 (vidur)."""
    by_degree = {}
    for row in profiles.table(folder / "vidur" / "a100_cpu_overheads_legacy.csv"):
        by_degree.setdefault(int(row["tensor_parallel_degree"]), []).append(float(row["ray_comm_time_mean"]))
    alone = statistics.median(by_degree[1])
    for gpus in sorted(set(by_degree) - {1}):
        extra = statistics.median(by_degree[gpus]) - alone
        yield (f"| vLLM with Ray, {gpus} GPUs | vidur, median of {len(by_degree[gpus])} | | | | {extra / (gpus - 1):.2f} | "
               f"{extra:.2f} ms a step beyond one GPU's {alone:.2f} | |")


def distserve(device, folder, name):
    """DistServe's fits for OPT-13B on an A100-80GB, on a grid of steps: decode a + b sum(context) + c batch, prefill
    a + b sum(length) + c sum(length^2), in ms."""
    fits = json.loads((folder / "distserve" / name).read_text())["facebook/opt-13b"]["1"]
    (a, b, c), (p, q, r) = fits["decoding_smallbs"], fits["prefill"]
    measured, predicted, features = [], [], []
    for batch in (1, 2, 4, 8, 16, 32, 64):
        for context in (256, 512, 1024):
            measured.append(1e-3 * (a + b * batch * context + c * batch))
            predicted.append(decode_s(device, "opt-13b", 1, batch, context))
            features.append((1, batch, 0))
    for prompts in (1, 2, 4):
        for length in (64, 128, 256, 512, 1024, 2000):
            if prompts * length <= 2048:
                measured.append(1e-3 * (p + q * prompts * length + r * prompts * length**2))
                predicted.append(prefill_s(device, "opt-13b", 1, prompts, length))
                features.append((1, prompts, prompts * length))
    found = least_squares(features, numpy.subtract(measured, predicted), measured)
    fitted = numpy.array(predicted) + numpy.array(features) @ found
    step, sequence, token = 1e3 * found
    return (f"| vLLM of the DistServe runs | `{name}` | {step:.2f} | {sequence:.3f} | {token:.4f} | | "
            f"{percent(predicted, measured)} | {percent(fitted, measured)} |")


def serving_loop_rows(device, folder, name):
    """One measured run: each request's time from its first to its last token is steps of those that run beside it and the
    prefills that come between, each a step of its own. Seconds measured and of the device, and what the host is paid for."""
    rows = [row for row in profiles.table(folder / "distserve" / "opt13b_sharegpt_measured_runs.csv.xz") if row["run"] == name]
    prompt, output = (numpy.array([float(row[key]) for row in rows]) for key in ("input_tokens", "output_tokens"))
    arrival = numpy.array([float(row["arrival_s"]) for row in rows])
    first = arrival + numpy.array([float(row["ttft_ms"]) for row in rows]) * 1e-3
    last = arrival + numpy.array([float(row["latency_ms"]) for row in rows]) * 1e-3
    measured, predicted, features = [], [], []
    for i in numpy.flatnonzero(output >= 20):
        moments = numpy.linspace(first[i], last[i], 101)[1:, None]
        runs = (first < moments) & (moments <= last)
        made = numpy.clip((moments - first) / (last - first), 0, 1) * output
        sequences = runs.sum(axis=1)
        step_s = decode_s(device, "opt-13b", 1, sequences, ((prompt + made) * runs).sum(axis=1) / sequences)
        between, steps = (first[i] < first) & (first < last[i]), output[i] - 1
        measured.append(last[i] - first[i])
        predicted.append(steps * step_s.mean() + prefill_s(device, "opt-13b", 1, 1, prompt[between]).sum())
        features.append((steps + between.sum(), steps * sequences.mean() + between.sum(), prompt[between].sum()))
    return measured, predicted, features


def serving_loop(device, folder, names):
    """Seconds of the host per step, sequence and prefill token in the runs `names`, each run counting the same; and the
    errors without and with them."""
    parts = [serving_loop_rows(device, folder, name) for name in names]
    measured, predicted, features = (numpy.concatenate(part) for part in zip(*parts))
    counts = numpy.repeat([len(part[0]) ** 0.5 for part in parts], [len(part[0]) for part in parts])
    found = least_squares(features, measured - predicted, measured * counts)
    return found, percent(predicted, measured), percent(predicted + features @ found, measured)


def table(devices, folder, figures):
    yield ("| software | measured by | host_step, ms | host_sequence, ms | host_prefill_token, ms | host_worker, ms | "
           "error of the device alone, median / worst % | with the host, % |")
    yield "|---|---|--:|--:|--:|--:|---|---|"
    for context in (414, 64):
        yield figure1(devices["a100-40gb"], figures, context)
    yield from faster_transformer(devices["a100-80gb"], folder)
    yield from ray(folder)
    for name in ("profiler-a100-80g.vllm.json", "profiler-a100-80g.vllm.full.json"):
        yield distserve(devices["a100-80gb"], folder, name)
    for names in [[name] for name in RUNS] + [RUNS]:
        found, alone, together = serving_loop(devices["a100-80gb"], folder, names)
        step, sequence, token = 1e3 * found
        label = f"run `{names[0]}`" if len(names) == 1 else "all five runs"
        yield f"| the same behind its server | {label} | {step:.2f} | {sequence:.3f} | {token:.4f} | | {alone} | {together} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=pathlib.Path, required=True, help="folder of the published measurements")
    parser.add_argument("--figures", type=pathlib.Path, required=True, help="sosp23_figures.json (Figure 1)")
    parser.add_argument("--devices", type=pathlib.Path, required=True, help="folder of the descriptions")
    parser.add_argument("--into", type=pathlib.Path, help="put the table into this markdown file")
    arguments = parser.parse_args()
    devices = {name: tomllib.loads((arguments.devices / f"{name}.toml").read_text()) for name in ("a100-40gb", "a100-80gb")}
    figures = json.loads(arguments.figures.read_text())["other"]
    text = "\n".join(table(devices, arguments.profiles, figures)) + "\n"
    print(text, end="")
    if arguments.into:
        markdown_section.replace(arguments.into, "host", text)


if __name__ == "__main__":
    main()
