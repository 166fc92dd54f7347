"""`pagelab reproduce`: a small paper's figures run, resume, are the same with any number of jobs, and say what is wrong."""

import json
import os
import signal
import subprocess
import unittest

from support import PROGRAM, SOURCE, PagelabTest, rows

BASE = f"""
[model]
shape = "opt-125m"
[device]
kind = "sim"
description = "{SOURCE / 'experiments/devices/a100-40gb.toml'}"
device_blocks = 200
host_blocks = 200
[workload]
requests = 30
[workload.lengths]
kind = "uniform"
prompt_max = 40
output_max = 30
[workload.arrivals]
kind = "poisson"
rate_per_s = 20.0
[sampling]
forced_output = true
[output]
trace = false
steps = false
requests = false
"""

LATENCY = """
title = "Latency <by> rate"
measured = "simulated"
x_label = "rate (requests/s)"
y_label = "latency (s)"
published = "published/1a.csv"
[sweep]
x = "workload.arrivals.rate_per_s"
y = "latency_s.mean"
experiment = ["base.toml"]
[points]
narrow = [10, 100]
wide = [10, 100, 200.5]
[quick]
set = ["workload.requests=5"]
[[series]]
system = "narrow"
label = "one at a time"
[[series]]
system = "wide"
[[claim]]
text = "Batching helps"
kind = "order"
order = ["wide", "narrow"]
[[claim]]
text = "It takes an hour"
kind = "value"
series = "wide"
x = 100
published = 3600
tolerance = 0.1
"""

SHARES = """
title = "Memory"
measured = "simulated"
y_label = "share (%)"
x_scale = "category"
[sweep]
experiment = ["base.toml"]
y_factor = 100.0
[[sweep.category]]
x = "token"
y = "memory_shares.over_time.token"
[[sweep.category]]
x = "rest"
y = "memory_shares.over_time.free + memory_shares.over_time.reserved + memory_shares.over_time.internal"
[[series]]
system = "wide"
"""

SWAP = """
title = "Swapping"
measured = "simulated"
kind = "swap"
y_label = "time (ms)"
[swap]
experiment = ["base.toml"]
tokens = 64
block_sizes = [4, 16, 64]
[[claim]]
text = "Small blocks swap slowly"
kind = "ratio"
series = "swap_in"
x = 4
to_x = 64
at_least = 1.0
"""

KERNEL = """
title = "Kernel"
measured = "measured on this machine's CPU"
kind = "kernel"
y_label = "time (us)"
[kernel]
contexts = [16]
batches = [2]
heads = 2
head_size = 64
threads = 1
paged = "paged"
contiguous = "contiguous"
"""


class Reproduce(PagelabTest):
    def setUp(self):
        super().setUp()
        for folder in ("systems", "figures", "published"):
            (self.folder / "paper" / folder).mkdir(parents=True)
        self.write("paper/base.toml", BASE)
        self.write("paper/systems/narrow.toml", "[policy.batching]\nmax_sequences = 1\n")
        self.write("paper/systems/wide.toml", "[policy.batching]\nmax_sequences = 100\n")
        self.write("paper/figures/1a.toml", LATENCY)
        self.write("paper/figures/2.toml", SHARES)
        self.write("paper/published/1a.csv", "system,x,y\nwide,10,0.2\nwide,50,0.3\n")

    def reproduce(self, *arguments, out="out", **options):
        return self.pagelab("reproduce", "paper", "--out", out, *arguments, **options)

    def error(self, *arguments):
        return self.reproduce(*arguments, code=1).stderr

    def csv(self, name, out="out"):
        return (self.folder / out / f"fig{name}.csv").read_bytes()

    def summaries(self):
        """When each run was written."""
        return {path: path.stat().st_mtime_ns for path in (self.folder / "out" / "runs").rglob("summary.json")}

    def test_figures_claims_and_the_page_come_out(self):
        result = self.reproduce("--seeds", "2")
        table = rows(self.folder / "out" / "fig1a.csv")
        self.assertEqual([(row["system"], row["x"]) for row in table],
                         [("narrow", "10"), ("narrow", "100"), ("wide", "10"), ("wide", "50"), ("wide", "100"),
                          ("wide", "200.5")])
        self.assertEqual([row["published"] for row in table], ["", "", "0.2", "0.3", "", ""])
        self.assertEqual(table[3]["ours"], "")
        for row in table:
            if row["ours"]:
                self.assertLess(float(row["ours_min"]), float(row["ours"]))
                self.assertLess(float(row["ours"]), float(row["ours_max"]))
        shares = {row["x"]: float(row["ours"]) for row in rows(self.folder / "out" / "fig2.csv")}
        self.assertAlmostEqual(shares["token"] + shares["rest"], 100)
        claims = json.loads((self.folder / "out" / "claims.json").read_text())
        self.assertEqual([(claim["figure"], claim["holds"]) for claim in claims], [("1a", True), ("1a", False)])
        self.assertIn("holds  Batching helps", result.stdout)
        self.assertIn("FAILS  It takes an hour", result.stdout)
        page = (self.folder / "out" / "index.html").read_text()
        self.assertIn("Latency &lt;by&gt; rate", page)
        self.assertIn("1 of 2 claims hold", page)
        self.assertNotIn("Quick", page)

    def test_plots_are_drawn_where_matplotlib_is(self):
        if subprocess.run(["/usr/bin/python3", "-c", "import matplotlib"], capture_output=True).returncode != 0:
            self.skipTest("no python3-matplotlib")
        self.reproduce("--quick")
        for name in ("fig1a", "fig2"):
            self.assertTrue((self.folder / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG"))
            self.assertIn("quick: shortened runs", (self.folder / "out" / f"{name}.svg").read_text())
        page = (self.folder / "out" / "index.html").read_text()
        self.assertIn('<img src="fig1a.svg"', page)
        self.assertIn("Quick: shortened runs", page)

    def test_without_matplotlib_everything_but_the_plots_is_written(self):
        self.write("matplotlib.py", "raise ImportError")
        result = self.reproduce("--quick", env={**os.environ, "PYTHONPATH": str(self.folder)})
        self.assertIn("no plots: /usr/bin/python3 has no matplotlib (Debian's package python3-matplotlib)", result.stderr)
        self.assertFalse((self.folder / "out" / "fig1a.svg").exists())
        self.assertIn("No plot was drawn", (self.folder / "out" / "index.html").read_text())
        self.assertTrue(self.csv("1a"))

    def test_what_is_done_is_not_run_again(self):
        self.reproduce("--figure", "1a")
        before, table = self.summaries(), self.csv("1a")
        self.assertEqual(len(before), 5)
        (self.folder / "out" / "fig1a.csv").unlink()
        self.reproduce("--figure", "1a", "2")
        self.assertEqual({path: time for path, time in self.summaries().items() if path in before}, before)
        self.assertEqual(self.csv("1a"), table)
        self.reproduce("--figure", "1a", "--seeds", "2")
        self.assertEqual({path: time for path, time in self.summaries().items() if path in before}, before)

    def test_a_page_shows_the_figures_of_earlier_calls_too(self):
        self.reproduce("--figure", "2")
        self.reproduce("--figure", "1a")
        page = (self.folder / "out" / "index.html").read_text()
        self.assertLess(page.index("Figure 1a"), page.index("Figure 2"))

    def long_paper(self):
        """A paper whose runs take some seconds together; returns its number of runs."""
        self.write("paper/base.toml", BASE.replace("requests = 30", "requests = 10000"))
        (self.folder / "paper/figures/2.toml").unlink()
        return 5

    def interrupted(self, signal_number):
        """Starts the command, sends the signal when the first run is done, and returns its exit code."""
        process = self.start("reproduce", "paper", "--out", "out", "--jobs", "1")
        self.wait_for(self.summaries, "a first run")
        os.kill(process.pid, signal_number)
        process.wait(timeout=60)
        return process.returncode

    def test_a_killed_command_goes_on_where_it_was(self):
        runs = self.long_paper()
        self.interrupted(signal.SIGKILL)
        done = self.summaries()
        self.assertLess(len(done), runs)
        self.reproduce()
        self.assertEqual({path: time for path, time in self.summaries().items() if path in done}, done)
        resumed = self.csv("1a")
        self.reproduce(out="fresh")
        self.assertEqual(self.csv("1a", "fresh"), resumed)

    def test_an_interrupted_command_keeps_what_is_done_and_writes_no_figure(self):
        runs = self.long_paper()
        self.assertEqual(self.interrupted(signal.SIGINT), 130)
        self.assertFalse((self.folder / "out" / "fig1a.csv").exists())
        complete = [path for path in self.summaries() if json.loads(path.read_text())["complete"]]
        self.assertTrue(complete)
        self.assertLess(len(complete), runs)
        self.assertIn(f"{len(complete)} of {runs} runs were done before", self.reproduce().stderr)

    def test_tables_are_the_same_with_any_number_of_jobs(self):
        self.reproduce("--seeds", "3", "--jobs", "1", out="one")
        self.reproduce("--seeds", "3", "--jobs", "2", out="two")
        for name in ("1a", "2"):
            self.assertEqual(self.csv(name, "one"), self.csv(name, "two"))

    def test_a_claim_that_fails_is_an_error_where_claims_are_required(self):
        self.reproduce("--figure", "1a", "--require-claims", code=1)
        self.reproduce("--figure", "2", "--require-claims")

    def test_swap_and_kernel_figures(self):
        self.write("paper/figures/19a.toml", SWAP)
        self.write("paper/figures/18a.toml", KERNEL)
        self.reproduce("--figure", "18a", "19a", "--require-claims")
        swap = {(row["system"], row["x"]): float(row["ours"]) for row in rows(self.folder / "out" / "fig19a.csv")}
        for size in ("4", "16", "64"):
            self.assertAlmostEqual(swap["swap_in", size] + swap["swap_out", size], swap["swap_in_out", size])
        self.assertGreater(swap["recompute", "16"], 0)
        kernel = rows(self.folder / "out" / "fig18a.csv")
        self.assertEqual([row["system"] for row in kernel], ["paged_bs2", "contiguous_bs2"])
        for row in kernel:
            self.assertLessEqual(float(row["ours_min"]), float(row["ours"]))
        measured = self.csv("18a")
        self.reproduce("--figure", "18a")
        self.assertEqual(self.csv("18a"), measured)

    def test_a_run_that_fails_is_named_and_does_not_stop_the_others(self):
        (self.folder / "out/runs/1a/wide").mkdir(parents=True)
        self.write("out/runs/1a/wide/x-10", "a file where a folder should be")
        result = self.reproduce("--figure", "1a", code=1)
        self.assertIn("figure 1a, wide, x = 10, seed 1: ", result.stderr)
        table = {(row["system"], row["x"]): row["ours"] for row in rows(self.folder / "out" / "fig1a.csv")}
        self.assertEqual(table["wide", "10"], "")
        self.assertNotEqual(table["wide", "100"], "")

    def test_mistakes_are_named_before_anything_runs(self):
        self.assertIn("figure '1b' is unknown; valid figures: 1a, 2; did you mean '1a'?", self.error("--figure", "1b"))
        self.write("paper/figures/2.toml", SHARES.replace("y_factor", "y_facter"))
        self.assertIn("paper/figures/2.toml:8: key 'sweep.y_facter' is unknown", self.error())
        self.write("paper/figures/2.toml", SHARES.replace('system = "wide"', 'system = "vast"'))
        self.assertIn("figures/2.toml:16: key 'series.system' names paper/systems/vast.toml, which is not there",
                      self.error())
        self.write("paper/figures/2.toml", SHARES.replace("base.toml", "bass.toml"))
        self.assertIn("paper/bass.toml: no such file", self.error())
        self.write("paper/figures/2.toml", SHARES)
        self.write("paper/systems/wide.toml", "[policy.batchin]\nmax_sequences = 1\n")
        self.assertIn("paper/systems/wide.toml:1: key 'policy.batchin' is unknown", self.error())
        self.assertFalse((self.folder / "out").exists())
        self.assertIn("no figures there", self.pagelab("reproduce", "elsewhere", code=1).stderr)
        result = subprocess.run([PROGRAM, "reproduce"], capture_output=True, text=True, check=False)
        self.assertEqual(result.returncode, 2)


if __name__ == "__main__":
    unittest.main()
