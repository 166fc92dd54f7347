#!/usr/bin/python3
"""Fits device descriptions (experiments/devices/*.toml) to published kernel measurements, and tells how far off they are.

    scripts/fit_device.py --profiles ../shared/profiles --figures ../shared/papers/sosp23_figures.json \\
        --out experiments/devices --into docs/devices.md

Every fourth row, by a hash of what was asked of the device, is kept from the fit; the table of errors is made on those.
Free numbers are found by coordinate descent on the mean absolute logarithm of predicted over measured time.
"""

import argparse
import copy
import json
import pathlib
import zlib

import numpy

import device_formulas as formulas
import device_profiles as profiles
import markdown_section
import step_formulas

# Data sheets: FLOP/s of dense f16 tensor cores, bytes/s of memory.
PEAKS = {"a100-80gb": (312e12, 2.039e12), "a100-40gb": (312e12, 1.555e12), "h100-80gb": (989e12, 3.35e12)}
# Usable GiB: a100-40gb and a100-80gb give the blocks of Table 1 (docs/devices.md); no such measurement of an H100.
MEMORY_GIB = {"a100-80gb": 79.17, "a100-40gb": 39.41, "h100-80gb": 79.17}
SOURCES = {
    "a100-80gb": "aiconfigurator (vLLM 0.14, NCCL 2.27), vidur and LLMCompass on A100-SXM4-80GB; swaps: SOSP'23 Figure 19a",
    "a100-40gb": "a100-80gb with 1,555 GB/s; decode attention: SOSP'23 Figure 18a; swaps: SOSP'23 Figure 19a",
    "h100-80gb": "aiconfigurator (vLLM 0.14, NCCL 2.29) on H100-80GB; elementwise, sampling, swaps: a100-80gb, scaled"}

# Any overlap from 1.8 to 6 fits the matrix products as well. It matters where memory is slower than measured, on a100-40gb:
# recomputing 256 tokens there takes 39.9 ms with 4 and 41.4 with 1.8, Figure 19a has 36 to 39 (with the host's 2).
OVERLAP = 4.0
# Points of the curve by rows. Tiles have 128 rows, or 64: a row more is a tile more, which vidur's rows (steps of 8) show.
ROWS_A100 = [1.0, 8.0, 32.0, 64.0, 72.0, 128.0, 136.0, 256.0, 264.0, 384.0, 392.0, 512.0, 520.0, 768.0, 1024.0, 2048.0, 4096.0]
ROWS_H100 = [1.0, 8.0, 32.0, 64.0, 96.0, 128.0, 160.0, 192.0, 256.0, 384.0, 512.0, 768.0, 1024.0, 2048.0, 4096.0]

# The pre-release kernel gives a block to a warp. A warp pays a latency per block (per 32 tokens where blocks are longer:
# its lanes) beside streaming b tokens: L + b t. With 16 tokens it reaches 0.49 of the peak bandwidth (Figure 18a) where
# FlashAttention reaches 0.74 (profiles, 0.3 GB); if the latency is the whole difference, L = 8 t. Reasoned, not measured.
BLOCK_SIZES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
LATENCY_TOKENS = 8.0


def block_factor(size):
    lanes = min(size, 32)
    return (LATENCY_TOKENS + lanes) / lanes / ((LATENCY_TOKENS + 16) / 16)


def columns(rows):
    return [numpy.array(column, float) for column in zip(*rows)]


def split(rows):
    """Rows for the fit, rows kept from it."""
    parts = [], []
    for row in rows:
        parts[zlib.crc32(repr(row[:-1]).encode()) % 4 == 0].append(row)
    return parts


def descend(start, loss):
    """Coordinate descent in the logarithm of each number, with steps from 50 % down to 1 %."""
    best, lowest = numpy.array(start, float), loss(numpy.array(start, float))
    for step in (0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.008):
        for _ in range(6):
            before = lowest
            for i in range(len(best)):
                for factor in (numpy.exp(step), numpy.exp(-step)):
                    while True:
                        moved = best.copy()
                        moved[i] *= factor
                        new = loss(moved)
                        if new >= lowest - 1e-9:
                            break
                        best, lowest = moved, new
            if before - lowest < 1e-5:
                break
    return best


# The x of each curve, and the power of it that the work grows with.
CURVES = {"compute_efficiency": ("compute_rows", 1), "traffic_efficiency": ("traffic_bytes", 1), "efficiency": ("kv_bytes", 1)}


def is_sound(x, efficiency, power):
    """No share above 1, and x**power / efficiency never falls: more work is never done sooner. (Curves are linear in log x.)"""
    slopes = numpy.diff(efficiency) / numpy.diff(numpy.log(x))
    return max(efficiency) <= 1 and (power * numpy.array(efficiency[:-1]) >= slopes).all()


def fit(table, free, predict, seconds, weights=None, curves=CURVES):
    """A copy of `table` whose keys `free` are fitted so that predict(table) comes near `seconds`."""
    sizes = [len(table[key]) if isinstance(table[key], list) else 0 for key in free]

    def filled(numbers):
        result, at = dict(table), 0
        for key, size in zip(free, sizes):
            result[key] = list(numbers[at:at + size]) if size else numbers[at]
            at += max(size, 1)
        return result

    def loss(numbers):
        new = filled(numbers)
        fitted = [key for key in free if key in curves]
        if not all(is_sound(new[curves[key][0]], new[key], curves[key][1]) for key in fitted):
            return numpy.inf
        rough = sum(numpy.abs(numpy.diff(numpy.log(new[key]))).sum() for key in fitted)
        return numpy.average(numpy.abs(numpy.log(predict(new) / seconds)), weights=weights) + 3e-4 * rough

    start = [number for key in free for number in numpy.atleast_1d(table[key])]
    return filled(descend(start, loss))


def powers(low, high, step=1):
    return [float(2**i) for i in range(low, high + 1, step)]


def balance(*labels):
    """Weights under which every combination of labels counts the same."""
    _, index, count = numpy.unique(numpy.stack(labels), axis=1, return_inverse=True, return_counts=True)
    return 1 / count[index.ravel()]


class Errors:
    """Relative errors by operator, source and class of size; a markdown table in the end."""

    def __init__(self):
        self.lines = []

    def add(self, device, operator, source, predicted, seconds, classes=()):
        error = numpy.abs(predicted / seconds - 1)
        parts = [f"{label}: {100 * numpy.median(error[mask]):.1f}" for label, mask in classes if mask.any()]
        self.lines.append(f"| {device} | {operator} | {source} | {len(error):,} | {100 * numpy.median(error):.1f} | "
                          f"{100 * numpy.percentile(error, 90):.1f} | {', '.join(parts)} |")

    def text(self):
        return "\n".join(["| device | operator | measured by | rows | median error, % | p90, % | median by size, % |",
                          "|---|---|---|--:|--:|--:|---|"] + self.lines) + "\n"


def row_classes(m):
    return [("1-32 rows", m <= 32), ("33-128", (m > 32) & (m <= 128)), ("129-512", (m > 128) & (m <= 512)), ("more", m > 512)]


def fit_gemm(name, peaks, sources, rows, errors):
    """`rows` are the points of the curve by rows of the left matrix."""
    parts = {source: split(rows) for source, rows in sources.items()}
    train = [(index, *row) for index, (rows, _) in enumerate(parts.values()) for row in rows]
    source, m, n, k, seconds = columns(train)
    weights = powers(18, 30)
    table = dict(launch_s=4e-6, overlap=OVERLAP, peak_flops=peaks[0], bandwidth=peaks[1], compute_rows=rows,
                 compute_efficiency=[0.6] * len(rows), traffic_bytes=weights, traffic_efficiency=[0.6] * len(weights))
    fitted = fit(table, ["launch_s", "compute_efficiency", "traffic_efficiency"],
                 lambda d: formulas.gemm(d, m, n, k), seconds, balance(source, numpy.searchsorted([33, 129, 513], m, "right")))
    for label, (_, held) in parts.items():
        m, n, k, seconds = columns(held)
        errors.add(name, "gemm", label, formulas.gemm(fitted, m, n, k), seconds, row_classes(m))
    return fitted


def token_classes(tokens):
    return [("to 128 tokens", tokens <= 128), ("to 512", (tokens > 128) & (tokens <= 512)),
            ("to 2,048", (tokens > 512) & (tokens <= 2048)), ("more", tokens > 2048)]


def fit_prefill(name, peaks, rows, errors):
    train, held = split(rows)
    *asked, seconds = columns(train)
    tokens = powers(4, 14)
    table = dict(launch_s=1e-5, longest_s=2e-8, sequence_s=2e-7, peak_flops=peaks[0], bandwidth=peaks[1], tokens=tokens,
                 efficiency=[0.3] * len(tokens))
    fitted = fit(table, ["launch_s", "longest_s", "sequence_s", "efficiency"],
                 lambda d: formulas.prefill_attention(d, *asked), seconds, curves={"efficiency": ("tokens", 2)})
    *asked, seconds = columns(held)
    errors.add(name, "prefill attention", "aiconfigurator", formulas.prefill_attention(fitted, *asked), seconds,
               token_classes(asked[1]))
    return fitted


def byte_classes(moved):
    return [("to 10 MB", moved <= 1e7), ("to 100 MB", (moved > 1e7) & (moved <= 1e8)),
            ("to 1 GB", (moved > 1e8) & (moved <= 1e9)), ("more", moved > 1e9)]


def decode_classes(sequences, context, heads, kv_heads):
    return [("1 head a group", heads == kv_heads)] + byte_classes(512 * sequences * context * kv_heads)


def fit_decode(name, peaks, rows, errors):
    train, held = split(rows)
    *asked, seconds = columns(train)
    moved, groups = powers(18, 32, 2), [1.0, 2.0, 4.0, 8.0]
    table = dict(bandwidth=peaks[1], head_s=3e-8, kv_bytes=moved, efficiency=[0.7] * len(moved),
                 block_sizes=[float(size) for size in BLOCK_SIZES], block_factor=[block_factor(size) for size in BLOCK_SIZES],
                 group_sizes=groups, launch_s=[1e-5] * len(groups), longest_s=[1e-9] * len(groups))
    fitted = fit(table, ["launch_s", "longest_s", "head_s", "efficiency"],
                 lambda d: formulas.decode_attention(d, *asked), seconds, balance(asked[2] / asked[3]))
    *asked, seconds = columns(held)
    errors.add(name, "decode attention", "aiconfigurator", formulas.decode_attention(fitted, *asked), seconds,
               decode_classes(*asked))
    return fitted


def fit_all_reduce(name, rows, errors):
    train, held = split(rows)
    gpus, message, seconds = columns(train)
    sizes = powers(14, 26, 2)
    table = dict(gpus=[2.0, 4.0, 8.0], latency_s=[1e-5, 1.5e-5, 2e-5], bandwidth=[2e11] * 3, message_bytes=sizes,
                 efficiency=[0.5] * len(sizes))
    fitted = fit(table, ["latency_s", "bandwidth", "efficiency"], lambda d: formulas.all_reduce(d, gpus, message), seconds,
                 curves={"efficiency": ("message_bytes", 1)})
    gpus, message, seconds = columns(held)
    errors.add(name, "all-reduce", "aiconfigurator, NCCL", formulas.all_reduce(fitted, gpus, message), seconds,
               [(f"{degree} GPUs", gpus == degree) for degree in (2, 4, 8)])
    return fitted


def fit_elementwise(name, operators, errors):
    """One launch and one bandwidth for operators whose own differ by a factor of five: what a layer of each costs in sum."""
    parts = {operator: split(rows) for operator, rows in operators.items()}
    operator, moved, seconds = columns([(i, *row) for i, (rows, _) in enumerate(parts.values()) for row in rows])
    fitted = fit(dict(launch_s=3e-6, bandwidth=1.5e12), ["launch_s", "bandwidth"],
                 lambda d: formulas.elementwise(d, moved), seconds, balance(operator, numpy.log2(moved).round()))
    for operator, (_, held) in parts.items():
        moved, seconds = columns(held)
        errors.add(name, "elementwise", f"vidur, {operator}", formulas.elementwise(fitted, moved), seconds,
                   [("to 1 MB", moved <= 1e6), ("to 10 MB", (moved > 1e6) & (moved <= 1e7)), ("more", moved > 1e7)])
    return fitted


def fit_sampling(name, rows, errors):
    """A softmax of the logits: LLMCompass measured f16, two bytes in and out; logits are f32, twice the bytes."""
    train, held = split(rows)
    lines, width, seconds = columns(train)
    half = fit(dict(launch_s=1e-5, row_s=0.0, bandwidth=1e12), ["launch_s", "bandwidth"],
               lambda d: formulas.sampling(d, lines, width), seconds)
    lines, width, seconds = columns(held)
    errors.add(name, "sampling (softmax)", "LLMCompass", formulas.sampling(half, lines, width), seconds)
    return dict(half, bandwidth=half["bandwidth"] / 2)


def fit_swap(milliseconds, errors, direction):
    """Figure 19a: 256 tokens of OPT-13B, 80 copies a block. Fitted and shown on the same nine points."""
    sizes = numpy.array(BLOCK_SIZES, float)
    copies, moved, seconds = 256 / sizes * 80, 256 * 819200, numpy.array(milliseconds) * 1e-3
    fitted = fit(dict(copy_s=2e-6, bandwidth=12e9), ["copy_s", "bandwidth"],
                 lambda d: formulas.swap(d, copies, moved), seconds)
    errors.add("a100-40gb", direction, "SOSP'23 Figure 19a, all points fitted", formulas.swap(fitted, copies, moved), seconds)
    return fitted


def fit_paper_kernel(decode, figure, errors):
    """Decode attention as Figure 18a has it (OPT-13B, 40 heads): a launch and one efficiency for six points."""
    rows = [(batch, context, 40, 40, microseconds * 1e-6) for batch in (8, 32)
            for context, microseconds in zip(figure["context"], figure[f"vLLM_bs{batch}"])]
    *asked, seconds = columns(rows)
    errors.add("a100-40gb", "decode attention, of the profiles", "SOSP'23 Figure 18a",
               formulas.decode_attention(decode, *asked), seconds)
    fitted = fit(dict(decode, kv_bytes=[1e6], efficiency=[0.5], group_sizes=[1.0], launch_s=[2e-5],
                      longest_s=decode["longest_s"][:1]),
                 ["launch_s", "efficiency"], lambda d: formulas.decode_attention(d, *asked), seconds)
    errors.add("a100-40gb", "decode attention", "SOSP'23 Figure 18a, all points fitted",
               formulas.decode_attention(fitted, *asked), seconds)
    return fitted


def fit_a100(folder, figures, errors):
    name, peaks = "a100-80gb", PEAKS["a100-80gb"]
    description = {
        "gemm": fit_gemm(name, peaks, {"aiconfigurator": profiles.gemm(folder, "a100"),
                                       "vidur": list(profiles.gemm_vidur(folder))}, ROWS_A100, errors),
        "prefill_attention": fit_prefill(name, peaks, profiles.prefill_attention(folder, "a100"), errors),
        "decode_attention": fit_decode(name, peaks, profiles.decode_attention(folder, "a100"), errors),
        "elementwise": fit_elementwise(name, profiles.elementwise(folder), errors),
        "sampling": fit_sampling(name, profiles.softmax(folder), errors),
        "all_reduce": fit_all_reduce(name, profiles.all_reduce(folder, "a100"), errors)}
    for part, direction in [("swap_out", "swap out"), ("swap_in", "swap in")]:
        description[part] = fit_swap(figures["fig19a_ms"][part], errors, direction)
    description["step"] = {"fixed_s": 0.0, "token_s": 0.0}

    prefills, decodes = map(columns, profiles.attention_vidur(folder))
    for label, mask in [("vidur, whole prompts", prefills[2] == 0), ("vidur, after a context", prefills[2] > 0)]:
        *asked, seconds = [column[mask] for column in prefills]
        errors.add(name, "prefill attention", label + ", none fitted",
                   formulas.prefill_attention(description["prefill_attention"], *asked), seconds, token_classes(asked[1]))
    *asked, seconds = decodes
    errors.add(name, "decode attention", "vidur, 8 heads a group, none fitted",
               formulas.decode_attention(description["decode_attention"], *asked), seconds, decode_classes(*asked))
    gpus, message, seconds = columns(profiles.all_reduce_vidur(folder))
    errors.add(name, "all-reduce", "vidur, DGX, none fitted", formulas.all_reduce(description["all_reduce"], gpus, message),
               seconds, [(f"{degree} GPUs", gpus == degree) for degree in (2, 4, 8)])
    return description


def fit_served(description, folder, errors):
    """What an all-reduce takes longer between the layers of a model than in NCCL's benchmark: the rest of a step of
    FasterTransformer's GPT-20B, which has two a layer and one behind them. On one device nothing is left of its steps."""
    table = description["all_reduce"]
    table["served_s"] = [0.0] * len(table["gpus"])
    count = 2 * step_formulas.SHAPES["GPT-20B"].layers + 1
    served = []
    for gpus in map(int, table["gpus"]):
        measured, predicted, steps = map(numpy.array, profiles.faster_transformer(
            folder, gpus, lambda *step: step_formulas.decode_s(description, "GPT-20B", gpus, *step),
            lambda *step: step_formulas.prefill_s(description, "GPT-20B", gpus, *step)))
        calls = steps * count
        share = calls / measured
        served.append(float(share @ (1 - predicted / measured) / (share @ share)))
        errors.add("a100-80gb", f"{gpus} GPUs' all-reduces as NCCL's", "FasterTransformer, GPT-20B", predicted, measured)
        errors.add("a100-80gb", f"{gpus} GPUs' all-reduces, served", "FasterTransformer, GPT-20B, all rows fitted",
                   predicted + calls * served[-1], measured)
    table["served_s"] = served


def scaled(description, ratio, parts):
    """A copy whose memory is `ratio` times as fast in `parts`."""
    result = copy.deepcopy(description)
    for part in parts:
        result[part]["bandwidth"] *= ratio
    return result


MEMORY_BOUND = ["gemm", "prefill_attention", "decode_attention", "elementwise", "sampling"]


def fit_all(folder, figures, errors):
    a100 = fit_a100(folder, figures, errors)
    fit_served(a100, folder, errors)
    small = scaled(a100, PEAKS["a100-40gb"][1] / PEAKS["a100-80gb"][1], MEMORY_BOUND)
    small["decode_attention"] = fit_paper_kernel(small["decode_attention"], figures["fig18a_kernel_us"], errors)
    name, peaks = "h100-80gb", PEAKS["h100-80gb"]
    h100 = scaled(a100, peaks[1] / PEAKS["a100-80gb"][1], ["elementwise", "sampling"])
    h100 |= {"gemm": fit_gemm(name, peaks, {"aiconfigurator": profiles.gemm(folder, "h100")}, ROWS_H100, errors),
             "prefill_attention": fit_prefill(name, peaks, profiles.prefill_attention(folder, "h100"), errors),
             "decode_attention": fit_decode(name, peaks, profiles.decode_attention(folder, "h100"), errors),
             "all_reduce": fit_all_reduce(name, profiles.all_reduce(folder, "h100"), errors)}
    h100["all_reduce"]["served_s"] = a100["all_reduce"]["served_s"]  # not measured
    return {"a100-40gb": small, "a100-80gb": a100, "h100-80gb": h100}


def toml(name, description):
    def number(value):
        text = f"{value:.4g}"
        return text if any(mark in text for mark in ".e") else text + ".0"

    yield "# Written by scripts/fit_device.py; docs/devices.md tells what it rests on and how far off it is."
    yield f'name = "{name}"'
    yield f'source = "{SOURCES[name]}"'
    yield f"memory_gib = {MEMORY_GIB[name]}"
    order = ["gemm", "prefill_attention", "decode_attention", "elementwise", "sampling", "all_reduce", "swap_out", "swap_in",
             "step"]
    for part in order:
        yield f"\n[{part}]"
        for key, value in description[part].items():
            yield f"{key} = [{', '.join(map(number, value))}]" if isinstance(value, list) else f"{key} = {number(value)}"


def write(path, text):
    beside = path.with_suffix(".part")
    beside.write_text(text)
    beside.replace(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profiles", type=pathlib.Path, required=True, help="folder of the published measurements")
    parser.add_argument("--figures", type=pathlib.Path, required=True, help="sosp23_figures.json (Figures 18a and 19a)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the descriptions")
    parser.add_argument("--into", type=pathlib.Path, help="put the table of errors into this markdown file")
    arguments = parser.parse_args()
    errors = Errors()
    descriptions = fit_all(arguments.profiles, json.loads(arguments.figures.read_text())["other"], errors)
    for name, description in descriptions.items():
        write(arguments.out / f"{name}.toml", "\n".join(toml(name, description)) + "\n")
    print(errors.text(), end="")
    if arguments.into:
        markdown_section.replace(arguments.into, "errors", errors.text())


if __name__ == "__main__":
    main()
