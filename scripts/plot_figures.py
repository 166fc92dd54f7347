#!/usr/bin/python3
"""Draws reproduced figures: plot_figures.py OUT NAME...

For each NAME reads OUT/figNAME.csv and OUT/figNAME.json, which `pagelab reproduce` writes, and writes OUT/figNAME.svg and
.png: ours as lines with the range over the seeds as a band, the paper's as points in the same colours; bars where x is a
category and no number. Needs Debian's python3-matplotlib, hence /usr/bin/python3; without it the exit code is 3.
"""

import csv
import json
import pathlib
import sys

try:
    import matplotlib
except ImportError:
    sys.exit(3)

matplotlib.use("Agg")
matplotlib.rcParams.update({
    "svg.hashsalt": "pagelab",  # the same numbers give the same file
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
})
from matplotlib import pyplot  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

# Okabe and Ito's palette, which the colour-blind can tell apart, dark ones first; markers tell them apart in grey.
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#f0e442"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]


def number(text):
    """The number in a cell, or None."""
    try:
        return float(text)
    except ValueError:
        return None


def read(folder, name):
    """The figure's description and its rows by series, in the series' order."""
    figure = json.loads((folder / f"fig{name}.json").read_text())
    rows = {series["name"]: [] for series in figure["series"]}
    with open(folder / f"fig{name}.csv", newline="") as file:
        for row in csv.DictReader(file):
            values = {key: number(row[key]) for key in ("ours", "ours_min", "ours_max", "published")}
            rows[row["system"]].append({"x": row["x"], **values})
    return figure, rows


def places(figure, rows):
    """Where each x is drawn, and the ticks if x are categories: they stand at equal distances."""
    names = list(dict.fromkeys(row["x"] for series in rows.values() for row in series))
    if figure["x"]["scale"] != "category" and all(number(name) is not None for name in names):
        return {name: number(name) for name in names}, None
    if all(number(name) is not None for name in names):
        names.sort(key=float)
    return {name: i for i, name in enumerate(names)}, names


def draw_lines(axes, figure, rows, place):
    for i, series in enumerate(figure["series"]):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        ours = [row for row in rows[series["name"]] if row["ours"] is not None]
        x = [place[row["x"]] for row in ours]
        axes.plot(x, [row["ours"] for row in ours], color=colour, linewidth=1.6, label=series["label"])
        axes.fill_between(x, [row["ours_min"] for row in ours], [row["ours_max"] for row in ours], color=colour, alpha=0.2,
                          linewidth=0)
        paper = [row for row in rows[series["name"]] if row["published"] is not None]
        axes.plot([place[row["x"]] for row in paper], [row["published"] for row in paper], linestyle="none", marker=marker,
                  markersize=5, markerfacecolor=colour, markeredgecolor="white", markeredgewidth=0.5)


def draw_bars(axes, figure, rows, place):
    width = 0.8 / len(figure["series"])
    for i, series in enumerate(figure["series"]):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        shift = (i - (len(figure["series"]) - 1) / 2) * width
        ours = [row for row in rows[series["name"]] if row["ours"] is not None]
        below = [row["ours"] - row["ours_min"] for row in ours]
        above = [row["ours_max"] - row["ours"] for row in ours]
        spread = [below, above] if any(below + above) else None
        axes.bar([place[row["x"]] + shift for row in ours], [row["ours"] for row in ours], 0.92 * width, color=colour,
                 alpha=0.75, yerr=spread, ecolor="black", capsize=2, label=series["label"])
        paper = [row for row in rows[series["name"]] if row["published"] is not None]
        axes.plot([place[row["x"]] + shift for row in paper], [row["published"] for row in paper], linestyle="none",
                  marker=marker, markersize=6, markerfacecolor=colour, markeredgecolor="black", markeredgewidth=0.8)


def is_positive(rows):
    return all(row[key] is None or row[key] > 0 for series in rows.values() for row in series for key in ("ours", "published"))


def scale_y(axes, figure, rows):
    """Sets the y axis; a curve may run out of the top where the figure says so."""
    if figure["y"]["scale"] == "log" and is_positive(rows):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if figure["y"]["max"] is not None:
        axes.set_ylim(top=figure["y"]["max"] * 1.02)


def scale_x(axes, figure, ticks):
    if ticks is not None:
        axes.set_xticks(range(len(ticks)), ticks)
    elif figure["x"]["scale"] == "log":
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)


def add_legend(axes, rows):
    """The series, and what lines and points are."""
    handles, labels = axes.get_legend_handles_labels()
    if any(row["published"] is not None for series in rows.values() for row in series):
        handles.append(Line2D([], [], linestyle="none", marker="o", markersize=5, color="0.4"))
        labels.append("the paper")
    if labels:
        axes.legend(handles, labels, frameon=False, fontsize=8.5, loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw(folder, name):
    figure, rows = read(folder, name)
    place, ticks = places(figure, rows)
    picture, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
    are_words = ticks is not None and any(number(tick) is None for tick in ticks)
    (draw_bars if are_words else draw_lines)(axes, figure, rows, place)
    scale_x(axes, figure, ticks)
    scale_y(axes, figure, rows)
    axes.set_xlabel(figure["x"]["label"])
    axes.set_ylabel(figure["y"]["label"])
    mark = " (quick: shortened runs)" if figure["quick"] else ""
    axes.set_title(f"{name}: {figure['title']}{mark}", fontsize=11, loc="left", color="#a00000" if mark else "black")
    if all(row["ours"] is None for series in rows.values() for row in series):
        axes.text(0.5, 0.5, "no results", transform=axes.transAxes, ha="center", color="0.5")
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    add_legend(axes, rows)
    if figure["kind"] == "kernel":
        picture.supxlabel(figure["measured"], fontsize=8, color="0.3")
    picture.savefig(folder / f"fig{name}.svg", metadata={"Date": None})
    picture.savefig(folder / f"fig{name}.png", dpi=150)
    pyplot.close(picture)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    for name in sys.argv[2:]:
        draw(pathlib.Path(sys.argv[1]), name)


if __name__ == "__main__":
    main()
