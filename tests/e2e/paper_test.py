"""A small version of every figure of the SOSP'23 paper: five-minute traces, one seed.

tests/golden/sosp23_quick.json holds what they gave: each value within 5 %, each claim that held must hold. A claim that
stops holding, or a figure that moves, is a change of the engine, the policies or the cost model; if it is meant, write the
file anew:  PAGELAB=build/release/pagelab PAGELAB_SOURCE_DIR=. tests/e2e/paper_test.py --update
"""

import csv
import json
import subprocess
import sys
import tempfile
import pathlib
import os
import unittest

import support

PAPER = support.SOURCE / "papers" / "sosp23-pagedattention"
GOLDEN = support.GOLDEN / "sosp23_quick.json"
MEASURED = {"18a"}  # times real kernels on the machine at hand
TRACES = support.SOURCE / ".." / "shared" / "traces"


def reproduce(out, *extra):
    figures = sorted(path.stem for path in (PAPER / "figures").glob("*.toml") if path.stem not in MEASURED)
    subprocess.run([support.PROGRAM, "reproduce", str(PAPER), "--quick", "--out", str(out), "--figure", *figures, *extra],
                   check=True, capture_output=True, text=True)
    values, claims = {}, {}
    for figure in figures:
        with open(out / f"fig{figure}.csv", newline="") as file:
            for row in csv.DictReader(file):
                if row["ours"]:
                    values[f"{figure} {row['system']} {row['x']}"] = float(row["ours"])
    for claim in json.loads((out / "claims.json").read_text()):
        claims[f"{claim['figure']}: {claim['text']}"] = claim["holds"]
    return {"values": values, "claims": claims}


@unittest.skipUnless(TRACES.is_dir() or os.environ.get("CI") == "true", "the traces of ../shared/traces are not there")
class Paper(unittest.TestCase):
    def test_every_figure_gives_what_it_gave(self):
        golden = json.loads(GOLDEN.read_text())
        with tempfile.TemporaryDirectory() as folder:
            now = reproduce(pathlib.Path(folder))
        self.assertEqual(set(now["values"]), set(golden["values"]))
        for name, value in golden["values"].items():
            self.assertAlmostEqual(now["values"][name], value, delta=0.05 * abs(value) + 1e-9, msg=name)
        self.assertEqual(set(now["claims"]), set(golden["claims"]))
        for name, held in golden["claims"].items():
            if held:
                self.assertTrue(now["claims"][name], f"no longer holds: {name}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        with tempfile.TemporaryDirectory() as folder:
            GOLDEN.write_text(json.dumps(reproduce(pathlib.Path(folder)), indent=1) + "\n")
    else:
        unittest.main()
