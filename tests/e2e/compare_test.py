"""scripts/compare.py: a row per variant, means over seeds with their range, and errors that say what is wrong."""

import re
import subprocess
import unittest

from support import PROGRAM, SOURCE, PagelabTest


class Compare(PagelabTest):
    def compare(self, *arguments):
        command = [str(SOURCE / "scripts/compare.py"), str(self.tiny), "--program", PROGRAM, "--jobs", "2", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_prints_a_row_per_variant(self):
        result = self.compare("--seeds", "2", "--metric", "requests.finished", "--metric", "ttft_s.mean",
                              "workload.requests=4 policy.scheduling.name=fcfs",
                              "workload.requests=5 policy.scheduling.name=sjf")
        self.assertEqual(result.returncode, 0, result.stderr)
        lines = result.stdout.splitlines()
        self.assertEqual(lines[0], "| variant | requests.finished | ttft_s.mean |")
        self.assertEqual(len(lines), 4)
        self.assertIn("| 4 (4 to 4) |", lines[2])
        self.assertIn("| 5 (5 to 5) |", lines[3])
        mean, least, most = map(float, re.search(r"\| (\S+) \((\S+) to (\S+)\) \|$", lines[3]).groups())
        self.assertTrue(0 < least <= mean <= most)
        self.assertNotEqual(least, most, "two seeds, two workloads")

    def test_names_what_is_wrong(self):
        unknown = self.compare("--seeds", "1", "--metric", "ttft_s.median", "workload.requests=2")
        self.assertNotEqual(unknown.returncode, 0)
        self.assertIn("'ttft_s.median'", unknown.stderr)
        self.assertIn("p50", unknown.stderr)
        failing = self.compare("--seeds", "1", "policy.scheduling.name=sfj")
        self.assertNotEqual(failing.returncode, 0)
        self.assertIn("did you mean 'sjf'?", failing.stderr)


if __name__ == "__main__":
    unittest.main()
