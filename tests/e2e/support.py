"""What the end-to-end tests share: they run the built program as a user would, in a folder of their own.

The environment names the program (PAGELAB) and the sources (PAGELAB_SOURCE_DIR); CTest sets both.
"""

import csv
import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

PROGRAM = os.environ["PAGELAB"]
SOURCE = pathlib.Path(os.environ["PAGELAB_SOURCE_DIR"])
GOLDEN = SOURCE / "tests" / "golden"
RUN_FILES = {"experiment.toml", "requests.csv", "schema.json", "steps.csv", "summary.json", "trace.json"}

# A checkpoint with two layers and a workload that fits its positions; any value can be replaced with --set.
TINY = f"""
seed = 7
[model]
path = "{GOLDEN / 'llama'}"
[device]
threads = 2
block_size = 4
device_blocks = 64
host_blocks = 64
[clock]
kind = "virtual"
[workload]
requests = 24
[workload.lengths]
kind = "uniform"
prompt_min = 1
prompt_max = 40
output_min = 1
output_max = 30
[workload.arrivals]
kind = "poisson"
rate_per_s = 20.0
[sampling]
method = "random"
"""

# A run that is far from its end when it is interrupted.
LONG = ["workload.requests=200000", "workload.arrivals.rate_per_s=1000000.0"]


class PagelabTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="pagelab_e2e_")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tiny = self.write("tiny.toml", TINY)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def pagelab(self, *arguments, code=0, **options):
        """Runs the program to its end and checks its exit code."""
        result = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.folder, capture_output=True, text=True,
                                timeout=300, **options)
        self.assertEqual(result.returncode, code, f"{arguments}\nstdout: {result.stdout}\nstderr: {result.stderr}")
        return result

    def run_tiny(self, out, *overrides, code=0, file=None, **options):
        """Runs the tiny experiment into the folder `out`."""
        sets = [word for override in overrides for word in ("--set", override)]
        result = self.pagelab("run", file or self.tiny, "--out", self.folder / out, *sets, code=code, **options)
        return result, self.folder / out

    def start(self, *arguments, **options):
        """Starts the program and leaves it running; it is killed when the test ends."""
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=self.folder, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **options)

        def end():
            process.kill()
            process.communicate()

        self.addCleanup(end)
        return process

    def wait_for(self, condition, what, seconds=60):
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"waited in vain for: {what}")
            time.sleep(0.01)

    def assert_complete_files(self, folder, complete=True):
        """The folder holds whole files only, which agree with each other."""
        names = {path.name for path in folder.iterdir()}
        self.assertEqual({name for name in names if name.endswith(".partial")}, set())
        self.assertLessEqual(RUN_FILES, names)
        summary = json.loads((folder / "summary.json").read_text())
        self.assertEqual(summary["complete"], complete)
        json.loads((folder / "trace.json").read_text())
        steps = rows(folder / "steps.csv")
        self.assertEqual(len(steps), summary["steps"])
        states = ["token", "cached", "reserved", "internal", "external", "free"]
        for step in steps:
            self.assertEqual(sum(int(step[f"slots_{state}"]) for state in states), int(step["slots_total"]))
        status = [request["status"] for request in rows(folder / "requests.csv")]
        for kind in ("finished", "refused", "unfinished"):
            self.assertEqual(status.count(kind), summary["requests"][kind])
        return summary


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def hashes(folder):
    """The tokens of every finished request, as a hash."""
    return {row["request"]: row["output_hash"] for row in rows(folder / "requests.csv") if row["status"] == "finished"}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
