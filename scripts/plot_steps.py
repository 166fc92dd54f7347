#!/usr/bin/python3
"""Draws where the KV slots of a run went: plot_steps.py RUN_FOLDER [-o FILE.svg|.png]

Reads steps.csv of a run folder and writes the stacked slot states over time, the groups by state below them. Needs
Debian's python3-matplotlib (scripts/setup.sh installs it), hence /usr/bin/python3.
"""

import argparse
import csv
import pathlib

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["svg.hashsalt"] = "pagelab"  # the same run gives the same file
from matplotlib import pyplot  # noqa: E402

STATES = [  # column, label, colour; from the bottom up
    ("slots_token", "token states", "#1b7837"),
    ("slots_cached", "cached", "#a6dba0"),
    ("slots_reserved", "reserved", "#fdb863"),
    ("slots_internal", "internal fragmentation", "#e66101"),
    ("slots_external", "external fragmentation", "#b2182b"),
    ("slots_free", "free", "#e0e0e0"),
]
GROUPS = [("running", "#1b7837"), ("waiting", "#762a83"), ("swapped", "#2166ac")]


def read(run):
    """The columns of steps.csv as lists of numbers."""
    with open(run / "steps.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise SystemExit(f"plot_steps.py: {run / 'steps.csv'} has no step")
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def draw(steps, title, out):
    figure, (slots, groups) = pyplot.subplots(
        2, 1, sharex=True, figsize=(9, 5.2), height_ratios=[3, 1], layout="constrained"
    )
    total = steps["slots_total"][0]
    shares = [[100 * value / total for value in steps[column]] for column, _, _ in STATES]
    present = [i for i, share in enumerate(shares) if any(share)]
    slots.stackplot(
        steps["time_s"],
        [shares[i] for i in present],
        labels=[STATES[i][1] for i in present],
        colors=[STATES[i][2] for i in present],
        step="post",
    )
    preempted = [
        time
        for time, recompute, swap in zip(steps["time_s"], steps["preempt_recompute"], steps["preempt_swap"])
        if recompute + swap > 0
    ]
    if preempted:
        slots.plot(preempted, [101.5] * len(preempted), "v", color="#b2182b", markersize=4, label="preemption", clip_on=False)
    slots.set(ylabel="share of the KV slots, %", ylim=(0, 100))
    slots.set_title(title, pad=12)
    slots.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for name, colour in GROUPS:
        groups.step(steps["time_s"], steps[name], where="post", color=colour, label=name)
    groups.set(xlabel="time, s", ylabel="groups", ylim=(0, None), xlim=(0, steps["time_s"][-1]))
    groups.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=pathlib.Path, help="a run folder")
    parser.add_argument("-o", "--out", type=pathlib.Path, help="default: RUN_FOLDER/steps.svg")
    arguments = parser.parse_args()
    draw(read(arguments.run), arguments.run.name, arguments.out or arguments.run / "steps.svg")


if __name__ == "__main__":
    main()
