"""`pagelab check-policy` as a user meets it, and the experiments that it prints."""

import unittest

from support import PagelabTest

CASE = """
name = "check"
[model]
shape = "opt-125m"
[device]
kind = "check"
block_size = 2
device_blocks = 8
host_blocks = 8
vocabulary = 64
[workload.lengths]
kind = "list"
prompt = [5, 5, 3]
output = [4, 6, 2]
sequences = [1, 2, 1]
common = [4, 4, 0]
arrival_s = [0.0, 0.0, 0.02]
[workload.arrivals]
kind = "trace"
[sampling]
method = "random"
"""


class CheckPolicy(PagelabTest):
    def test_says_what_was_covered(self):
        done = self.pagelab("check-policy", "preemption/swap", "--cases", "60")
        self.assertIn("preemption/swap: nothing wrong in 60 cases (seed 1)", done.stdout)
        self.assertIn("preempt_swap", done.stdout)
        again = self.pagelab("check-policy", "preemption/swap", "--cases", "60")
        self.assertEqual(done.stdout, again.stdout)

    def test_keeps_what_it_is_told(self):
        done = self.pagelab("check-policy", "batching/chunked", "--cases", "20", "--set", "max_tokens=3",
                            "--set", "policy.preemption.name=recompute")
        self.assertIn("preempt_recompute", done.stdout)
        self.assertNotIn("preempt_swap", done.stdout)

    def test_names_what_is_wrong_with_its_arguments(self):
        for arguments, words in [
            (["mixed"], "write AXIS/NAME"),
            (["batching/mixd"], "did you mean 'mixed'"),
            (["batching/mixed", "--set", "max_token=3"], "did you mean 'max_tokens'"),
            (["batching/mixed", "--set", "max_tokens=none"], "max_tokens"),
            (["batching/mixed", "--set", "policy.batching.name=chunked"], "batching/mixed is to be checked"),
            (["batching/mixed", "--set", "policy.sharing.name=groups"], "did you mean 'group'"),
        ]:
            done = self.pagelab("check-policy", *arguments, code=1)
            self.assertIn(words, done.stderr)

    def test_a_case_is_an_experiment_in_virtual_time(self):
        case = self.write("case.toml", CASE)
        self.pagelab("run", case, "--out", self.folder / "one", "--set", "output.decisions=true")
        self.pagelab("run", case, "--out", self.folder / "two", "--set", "output.decisions=true")
        for name in ["requests.csv", "steps.csv", "decisions.jsonl"]:
            self.assertEqual((self.folder / "one" / name).read_text(), (self.folder / "two" / name).read_text())

    def test_a_case_that_is_written_wrongly_is_named(self):
        for change, words in [("output = [4, 6, 2]", "output = [4, 6]"), ("arrival_s = [0.0, 0.0, 0.02]",
                                                                         "arrival_s = [0.0, 0.3, 0.02]")]:
            case = self.write("case.toml", CASE.replace(change, words))
            done = self.pagelab("run", case, "--out", self.folder / "wrong", code=1)
            self.assertIn("workload.lengths." + words.split()[0], done.stderr)


if __name__ == "__main__":
    unittest.main()
