"""The preemption policy `cost` beside recomputing and swapping always: a short version of experiments/preemption_cost."""

import subprocess
import tempfile
import unittest

import support


class PreemptionCost(unittest.TestCase):
    def test_cost_is_not_worse_than_the_better_way_and_beats_both_on_a_mixed_workload(self):
        with tempfile.TemporaryDirectory() as out:
            folder = support.SOURCE / "experiments" / "preemption_cost"
            result = subprocess.run([support.PROGRAM, "reproduce", str(folder), "--quick", "--require-claims", "--out", out],
                                    capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
