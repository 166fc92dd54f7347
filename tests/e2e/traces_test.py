"""The shipped experiments over public traces, on a real OPT-125M: everything finishes, the ledger is exact, the same
run in virtual time gives the same bytes, and real time gives the same tokens.

Of each trace the first requests alone: each is served three times, and a request takes a fifth of a second on two cores.

The traces are looked for in $PAGELAB_SHARED or in shared/ beside the checkout.
"""

import os
import pathlib
import unittest

from support import SOURCE, PagelabTest, contents, hashes, rows

SHARED = pathlib.Path(os.environ.get("PAGELAB_SHARED", SOURCE.parent / "shared"))
PRESENT = (SHARED / "traces").is_dir()


@unittest.skipUnless(PRESENT or os.environ.get("CI") == "true", f"no traces in {SHARED}")
class Traces(PagelabTest):
    def run_shipped(self, name, out, clock, trace, *overrides):
        self.assertTrue(PRESENT, f"no traces in {SHARED}, and CI must have them")
        sets = [f"workload.lengths.file={SHARED / 'traces' / trace}", f"clock.kind={clock}", "workload.requests=24", *overrides]
        arguments = [word for override in sets for word in ("--set", override)]
        self.pagelab("run", SOURCE / "experiments" / f"{name}.toml", "--out", self.folder / out, *arguments)
        return self.folder / out

    def check(self, name, trace, *faster):
        """Two runs in virtual time and one in real time; the summary and the steps of the first."""
        first = self.run_shipped(name, "first", "virtual", trace)
        second = self.run_shipped(name, "second", "virtual", trace)
        real = self.run_shipped(name, "real", "real", trace, *faster)
        summary = self.assert_complete_files(first)
        self.assertEqual(summary["requests"]["finished"], len(rows(first / "requests.csv")))
        self.assertEqual(contents(first), contents(second))
        self.assert_complete_files(real)
        self.assertEqual(hashes(first), hashes(real))
        return summary, rows(first / "steps.csv")

    def test_azure_conversations_are_all_served(self):
        summary, _ = self.check("azure_conv", "azure2023_conv.csv.xz", "workload.arrivals.time_scale=0.01")
        self.assertEqual(summary["requests"]["finished"], 24)

    def test_sharegpt_in_few_blocks_is_recomputed(self):
        trace = "sharegpt_first_turn_llama.csv.xz"
        _, steps = self.check("preemption_recompute", trace, "workload.arrivals.rate_per_s=1000.0")
        self.assertGreater(sum(int(step["preempt_recompute"]) for step in steps), 0)
        self.assertGreater(sum(int(step["tokens_recomputed"]) for step in steps), 0)

    def test_sharegpt_groups_in_few_blocks_are_swapped(self):
        trace = "sharegpt_first_turn_llama.csv.xz"
        _, steps = self.check("preemption_swap", trace, "workload.arrivals.rate_per_s=1000.0")
        self.assertGreater(sum(int(step["preempt_swap"]) for step in steps), 0)
        self.assertGreater(sum(int(step["bytes_swapped_in"]) for step in steps), 0)


if __name__ == "__main__":
    unittest.main()
