#!/usr/bin/python3
"""What serving software adds to the device's time of a step: [device] host_* keys, from published end-to-end measurements.

    scripts/fit_host.py --profiles ../shared/profiles --figures ../shared/papers/sosp23_figures.json \\
        --devices experiments/devices --into docs/devices.md

The device's time comes from the descriptions that scripts/fit_device.py wrote; what a measured step takes beyond it is the
host's. Least squares of relative residuals, numbers below zero held at zero.
"""

import argparse
import copy
import json
import pathlib
import statistics
import timeit
import tomllib
import types

import numpy

import device_profiles as profiles
import markdown_section
from step_formulas import decode_s, prefill_s

# Of a vLLM, by number of requests and requests/s.
RUNS = ["vllm-100-1", "vllm-100-2", "vllm-200-2", "vllm-300-3", "vllm-400-4"]


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


# vLLM pull request 820 (Yard1, 2023-08-22): sampling all requests at once instead of one after the other took LLaMA-2-13B on
# one A100 from 3.70 to 4.77 requests/s and 478.8 tokens a request, of ShareGPT, random sampling. The public trace has 325.8
# output tokens of 482.2 under that benchmark's bounds.
REQUEST_S = (1 / 3.70 - 1 / 4.77) / (478.8 * 325.8 / 482.2)
# Of that the share of a request that is decoded greedily, by calls to the device: an argmax, its result read, the
# log-probability read; random sampling has 11 kernels of torch.multinomial and reads 4 results.
GREEDY_SHARE = 3 / 15


def figure1(device, figures, context):
    """OPT-13B decoding on an A100-40GB by batch, each sequence at `context` tokens, which the paper does not state: seconds of
    the host per step and request, and the errors without and with them. A request is one sequence here."""
    published = figures["fig1_throughput_tok_s"]
    batches = published["batch"][1:]
    measured = [batch / speed for batch, speed in zip(batches, published["tok_s"][1:])]
    predicted = [decode_s(device, "opt-13b", 1, batch, context) for batch in batches]
    features = [(1, batch) for batch in batches]
    step, request = least_squares(features, numpy.subtract(measured, predicted), measured)
    fitted = [device_s + step + request * batch for device_s, batch in zip(predicted, batches)]
    return step, request, percent(predicted, measured), percent(fitted, measured)


def context_of_figure1(device, figures, request):
    """The context at which Figure 1 leaves `request` seconds of the host to each request: attention takes the rest."""
    return min(range(1, 2048), key=lambda context: abs(figure1(device, figures, context)[1] - request))


def fork_token_s():
    """What a beam that splits costs per token: a deep copy of its blocks of token ids and of its log-probabilities, one dict per
    output token, as the authors' Sequence.fork has it. Timed here, at 20 prompt and 40 output tokens, median of 9."""
    blocks = [types.SimpleNamespace(number=i, size=16, token_ids=list(range(16)), tokens=16) for i in range(4)]
    logprobs = [{1000 + i: -0.5} for i in range(40)]
    times = timeit.repeat(lambda: copy.deepcopy((blocks, logprobs)), number=200, repeat=9)
    return statistics.median(times) / 200 / 60


def faster_transformer(device, folder):
    """GPT-20B on one to eight A100-80GB, whole requests: prefill, then a step per further token. What a step takes beyond the
    device is taken to be the host's; on several devices there is nothing left of it, since their all-reduces were fitted on
    these rows (scripts/fit_device.py)."""
    for gpus in (1, 2, 4, 8):
        measured, predicted, steps = profiles.faster_transformer(folder, gpus, lambda *step: decode_s(device, "GPT-20B", gpus, *step),
                                                                 lambda *step: prefill_s(device, "GPT-20B", gpus, *step))
        (step,) = least_squares([(count,) for count in steps], numpy.subtract(measured, predicted), measured)
        fitted = [device_s + step * count for device_s, count in zip(predicted, steps)]
        yield (f"| FasterTransformer, {gpus} GPU | NVIDIA's table, GPT-20B, batches to 32, {len(measured)} rows | "
               f"{1e3 * step:.2f} | 0 | 0 | 0 | | {percent(predicted, measured)} | {percent(fitted, measured)} |")


def sequence_s(folder):
    """What a sequence costs the host of a vLLM whose sampler takes all of them at once (vidur, one GPU): the slope over the batch
    of scheduling, input preparation, sampling and taking the outputs in."""
    rows = [row for row in profiles.table(folder / "vidur" / "a100_cpu_overheads_legacy.csv") if row["tensor_parallel_degree"] == "1"]
    parts = ["schedule", "prepare_inputs_e2e", "sampler_e2e", "process_model_outputs"]
    batch = [float(row["batch_size"]) for row in rows]
    return 1e-3 * numpy.polyfit(batch, [sum(float(row[f"{part}_mean"]) for part in parts) for row in rows], 1)[0], len(rows)


def ray(folder):
    """Time in Ray's calls per step, by tensor-parallel degree, in a vLLM of 2023 (vidur)."""
    by_degree = {}
    for row in profiles.table(folder / "vidur" / "a100_cpu_overheads_legacy.csv"):
        by_degree.setdefault(int(row["tensor_parallel_degree"]), []).append(float(row["ray_comm_time_mean"]))
    alone = statistics.median(by_degree[1])
    for gpus in sorted(set(by_degree) - {1}):
        extra = statistics.median(by_degree[gpus]) - alone
        yield (f"| vLLM with Ray, {gpus} GPUs | vidur, median of {len(by_degree[gpus])} | | | | | {extra:.2f} | "
               f"beyond one GPU's {alone:.2f} | |")


def splitwise(device, folder):
    """A vLLM of 2023 on two to eight A100-80GB, decode steps of batches to 32: what is left of a step beyond the device."""
    for model, gpus in (("llama2-70b", 2), ("llama2-70b", 4), ("llama2-70b", 8), ("bloom-176b", 8)):
        measured, predicted, features = [], [], []
        for row in profiles.table(folder / "splitwise" / "perf_model_a100.csv"):
            batch, prompt, output = (int(row[key]) for key in ("batch_size", "prompt_size", "token_size"))
            if (row["model"], row["tensor_parallel"]) == (model, str(gpus)) and batch <= 32:
                measured.append(1e-3 * float(row["token_time"]))
                predicted.append(decode_s(device, model, gpus, batch, prompt + output / 2))
                features.append((1, batch))
        found = least_squares(features, numpy.subtract(measured, predicted), measured)
        step, request = 1e3 * found
        fitted = numpy.array(predicted) + numpy.array(features) @ found
        yield (f"| vLLM with Ray, {gpus} GPUs | splitwise, {model}, {len(measured)} rows | {step:.2f} | {request:.3f} | | | in the step | "
               f"{percent(predicted, measured)} | {percent(fitted, measured)} |")


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
    return (f"| vLLM of the DistServe runs | `{name}` | {step:.2f} | | {sequence:.3f} | {token:.4f} | | "
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
    yield ("| software | measured by | host_step, ms | host_request, ms | host_sequence, ms | host_prefill_token, ms | "
           "host_parallel, ms | error of the device alone, median / worst % | with the host, % |")
    yield "|---|---|--:|--:|--:|--:|--:|---|---|"
    sequence, rows = sequence_s(folder)
    device = devices["a100-40gb"]
    for context in (414, context_of_figure1(device, figures, REQUEST_S + sequence)):
        step, request, alone, together = figure1(device, figures, context)
        yield (f"| SOSP'23 vLLM and Orca | Figure 1 at {context} tokens | {1e3 * step:.2f} | "
               f"{1e3 * max(request - sequence, 0):.3f} | {1e3 * min(request, sequence):.3f} | | | {alone} | {together} |")
    yield (f"| vLLM, one request sampled after the other | its pull request 820 | | {1e3 * REQUEST_S:.3f}, "
           f"greedy {1e3 * REQUEST_S * GREEDY_SHARE:.3f} | | | | | |")
    yield f"| vLLM, sampler over all sequences at once | vidur, {rows} rows on one GPU | | | {1e3 * sequence:.3f} | | | | |"
    yield from faster_transformer(devices["a100-80gb"], folder)
    yield from ray(folder)
    yield from splitwise(devices["a100-80gb"], folder)
    for name in ("profiler-a100-80g.vllm.json", "profiler-a100-80g.vllm.full.json"):
        yield distserve(devices["a100-80gb"], folder, name)
    for names in [[name] for name in RUNS] + [RUNS]:
        found, alone, together = serving_loop(devices["a100-80gb"], folder, names)
        step, sequence, token = 1e3 * found
        label = f"run `{names[0]}`" if len(names) == 1 else "all five runs"
        yield f"| the same behind its server | {label} | {step:.2f} | | {sequence:.3f} | {token:.4f} | | {alone} | {together} |"


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
    print(f"A beam that splits, per token, on this machine: {1e6 * fork_token_s():.1f} us")
    if arguments.into:
        markdown_section.replace(arguments.into, "host", text)


if __name__ == "__main__":
    main()
