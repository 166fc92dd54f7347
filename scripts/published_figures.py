#!/usr/bin/env python3
"""Writes the published numbers of the PagedAttention paper in the form that `pagelab reproduce` reads.

    scripts/published_figures.py ../shared/papers/sosp23_figures.json papers/sosp23-pagedattention

The JSON holds what was read from the vector paths of the paper's figures. From it come published/NAME.csv, one row per
point with the columns system,x,y, and lengths/NAME-histogram.toml, the length histograms of Figure 11. Both are kept in
the repository; this script says where they come from, and changes nothing when it is run again.
"""

import argparse
import json
import math
import pathlib

SYSTEMS = {"FT": "fastertransformer", "OrcaMax": "orca-max", "OrcaPow2": "orca-pow2", "OrcaOracle": "orca-oracle",
           "vLLM": "vllm"}
CURVES = {"12a": "fig12a_OPT13B_sharegpt", "12b": "fig12b_OPT66B_sharegpt", "12d": "fig12d_OPT13B_alpaca",
          "12e": "fig12e_OPT66B_alpaca", "14a": "fig14a_parallel2", "14b": "fig14b_parallel4", "14d": "fig14d_beam2",
          "14e": "fig14e_beam4", "16a": "fig16a_prefix80_1shot"}


def curve(points):
    """{system: [[x, y], ...]} as rows. A rate that was measured twice (vLLM in Figure 12a) stays twice."""
    return [(SYSTEMS[name], x, y) for name, values in points.items() for x, y in values]


def columns(series, xs):
    """{system: [y, ...]} over common xs as rows."""
    return [(name, x, y) for name, ys in series.items() for x, y in zip(xs, ys)]


def published(figures):
    """The rows of each figure: {"12a": [(system, x, y), ...]}."""
    other = figures["other"]
    rows = {name: curve(figures["curves"][key]) for name, key in CURVES.items()}
    speed = other["fig1_throughput_tok_s"]
    rows["1"] = [("vllm", x, y) for x, y in zip(speed["batch"], speed["tok_s"]) if x > 0]
    memory = other["fig1_memory_GB"]
    rows["1-memory"] = (
        [("orca-max", x, y) for x, y in zip(memory["existing_batch"], memory["existing_GB"])] +
        [("vllm", x, y) for x, y in zip(memory["vllm_batch"], memory["vllm_GB"])])
    rows["2"] = [(SYSTEMS[name], state, y) for name, shares in other["fig2_pct"].items() for state, y in shares.items()]
    batches = other["fig13_batched_requests"]
    rows["13"] = [(SYSTEMS[name], dataset.split("_")[0], y) for dataset, values in batches.items()
                  for name, y in values.items()]
    saving = other["fig15_saving_pct"]
    rows["15"] = columns({kind: saving[kind] for kind in ("parallel", "beam")}, saving["n"])
    kernel = other["fig18a_kernel_us"]
    rows["18a"] = columns({name: ys for name, ys in kernel.items() if name != "context"}, kernel["context"])
    for name, key in (("18b", "fig18b_norm_latency"), ("19a", "fig19a_ms"), ("19b", "fig19b_norm_latency")):
        bars = other[key]
        rows[name] = columns({series: ys for series, ys in bars.items() if series != "block_size"}, bars["block_size"])
    return rows


def bins(histogram):
    """Integer edges and counts: a bin [a, b) of the figure holds the whole lengths from ceil(a) to ceil(b) - 1, the last
    one its upper edge as well."""
    width = histogram["bin_width"]
    edges = [math.ceil(histogram["first_edge"] + i * width) for i in range(histogram["bins"])]
    edges.append(int(histogram["last_edge"]) + 1)
    return edges, histogram["counts"]


def toml_list(values, width=118):
    lines, line = [], "   "
    for value in values:
        text = f" {value},"
        if len(line) + len(text) > width:
            lines.append(line)
            line = "   "
        line += text
    return "[\n" + "\n".join(lines + [line]) + "\n]"


def histogram_toml(name, what, histograms):
    text = (f"# {what} pairs drawn from the histograms of Figure 11 of the paper: integer counts per bin, lengths uniform\n"
            "# inside a bin. The figure does not show which prompt goes with which output: here both are drawn independently,\n"
            "# and again when prompt + output reach 2,048.\n"
            "[workload.lengths]\nkind = \"histogram\"\nmax_total = 2047\n")
    for side, key in (("prompt", "input"), ("output", "output")):
        edges, counts = bins(histograms[f"{name}_{key}"])
        text += f"{side}_edges = {toml_list(edges)}\n{side}_counts = {toml_list(counts)}\n"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("figures", type=pathlib.Path, help="sosp23_figures.json")
    parser.add_argument("paper", type=pathlib.Path, help="papers/sosp23-pagedattention")
    arguments = parser.parse_args()
    figures = json.loads(arguments.figures.read_text(encoding="utf-8"))
    for name, rows in published(figures).items():
        text = "system,x,y\n" + "".join(f"{system},{x},{y}\n" for system, x, y in rows)
        (arguments.paper / "published" / f"{name}.csv").write_text(text, encoding="utf-8")
    for name, what in (("sharegpt", "ShareGPT"), ("alpaca", "Alpaca")):
        text = histogram_toml(name, what, figures["histograms"])
        (arguments.paper / "lengths" / f"{name}-histogram.toml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
