"""`pagelab run` from a TOML file to a run folder: repeatable, exact, and the same tokens whatever the memory policy."""

import json
import os
import pty
import subprocess
import unittest

from support import GOLDEN, PROGRAM, SOURCE, PagelabTest, contents, hashes, rows

NO_PREEMPTION = ["device.device_blocks=2000"]


class Run(PagelabTest):
    def test_leaves_a_complete_folder_and_prints_ten_lines(self):
        result, folder = self.run_tiny("out")
        summary = self.assert_complete_files(folder)
        self.assertEqual(summary["requests"], {"finished": 24, "refused": 0, "unfinished": 0})
        self.assertEqual(result.stdout.count("\n"), 10, result.stdout)
        self.assertIn("24 finished", result.stdout)
        self.assertIn("wall clock", result.stderr)

    def test_quiet_prints_nothing(self):
        result = self.pagelab("run", self.tiny, "--quiet")
        self.assertEqual((result.stdout, result.stderr), ("", ""))

    def test_two_runs_in_virtual_time_are_equal_byte_for_byte(self):
        settings = ["output.decisions=true", "sampling.n=2", "device.device_blocks=40"]
        one, first = self.run_tiny("first", *settings)
        two, second = self.run_tiny("second", *settings)
        self.assertGreater(sum(json.loads((first / "summary.json").read_text())["preemptions"].values()), 0)
        self.assertEqual(contents(first), contents(second))
        self.assertEqual(one.stdout, two.stdout)

    def test_two_runs_in_real_time_produce_the_same_tokens(self):
        settings = ["clock.kind=real", "workload.arrivals.rate_per_s=200.0"]
        _, first = self.run_tiny("first", *settings)
        _, second = self.run_tiny("second", *settings)
        self.assertEqual(len(hashes(first)), 24)
        self.assertEqual(hashes(first), hashes(second))

    def test_the_folders_own_experiment_toml_gives_the_same_folder(self):
        _, first = self.run_tiny("first", "sampling.method=beam", "sampling.n=3", "workload.requests=5")
        _, second = self.run_tiny("second", file=first / "experiment.toml")
        self.assertEqual(contents(first), contents(second))

    def test_included_files_are_resolved_and_the_folder_stands_alone(self):
        system = self.folder / "system.toml"
        system.write_text('[policy.batching]\nname = "chunked"\n[output]\nsteps = false\n')
        top = self.folder / "top.toml"
        top.write_text(f'include = ["{self.tiny}", "system.toml"]\nname = "tiny"\n[workload]\nrequests = 5\n')
        _, first = self.run_tiny("first", "workload.duration_s=1000.0", file=top)
        self.assertFalse((first / "steps.csv").exists())
        summary = json.loads((first / "summary.json").read_text())
        self.assertEqual(summary["provenance"]["policies"]["batching"]["name"], "chunked")
        self.assertEqual(summary["requests"]["finished"], 5)
        system.unlink()
        _, second = self.run_tiny("second", file=first / "experiment.toml")
        self.assertEqual(contents(first), contents(second))

    def test_says_when_a_policy_used_an_oracle(self):
        _, plain = self.run_tiny("plain", "sampling.n=1")
        self.assertIs(json.loads((plain / "summary.json").read_text())["provenance"]["oracle"], False)
        _, told = self.run_tiny("told", "policy.allocation.name=buddy_oracle", "policy.sharing.name=none",
                                *NO_PREEMPTION)
        provenance = json.loads((told / "summary.json").read_text())["provenance"]
        self.assertIs(provenance["oracle"], True)
        self.assertEqual(provenance["policies"]["allocation"]["needs"], "oracle")
        self.assertNotIn("needs", provenance["policies"]["sharing"])

    def test_tokens_do_not_depend_on_block_size_batching_or_preemption(self):
        _, reference = self.run_tiny("reference", *NO_PREEMPTION)
        self.assertEqual(json.loads((reference / "summary.json").read_text())["preemptions"],
                         {"recompute": 0, "swap": 0})
        tight = {4: 30, 1: 120, 7: 18}
        for number, (preemption, batching, size) in enumerate([("recompute", "mixed", 4), ("swap", "mixed", 4),
                                                               ("swap", "prefill_first", 1),
                                                               ("recompute", "chunked", 7)]):
            with self.subTest(preemption=preemption, batching=batching, block_size=size):
                _, folder = self.run_tiny(f"tight-{number}", f"policy.preemption.name={preemption}",
                                          f"policy.batching.name={batching}", f"device.block_size={size}",
                                          f"device.device_blocks={tight[size]}")
                summary = self.assert_complete_files(folder)
                self.assertGreater(summary["preemptions"][preemption], 0)
                self.assertEqual(hashes(folder), hashes(reference))

    def test_a_retention_policy_holds_a_sequence_to_its_budget_and_changes_its_tokens(self):
        _, everything = self.run_tiny("all", *NO_PREEMPTION)
        for policy in ("window", "sinks", "heavy_hitters"):
            with self.subTest(policy):
                _, folder = self.run_tiny(policy, f"policy.retention.name={policy}", "policy.retention.budget=8",
                                          *NO_PREEMPTION)
                self.assertEqual(self.assert_complete_files(folder)["requests"]["finished"], 24)
                self.assertNotEqual(hashes(folder), hashes(everything))
                decoding = [row for row in rows(folder / "steps.csv") if row["tokens_prefill"] == "0"]
                self.assertGreater(len(decoding), 10)
                for row in decoding:
                    self.assertLessEqual(int(row["slots_token"]), 8 * int(row["running"]))

    def test_parallel_samples_share_blocks_unless_told_not_to(self):
        settings = ["sampling.n=4", "device.device_blocks=2000"]
        _, shared = self.run_tiny("shared", *settings)
        _, alone = self.run_tiny("alone", *settings, "policy.sharing.name=none")
        self.assertGreater(json.loads((shared / "summary.json").read_text())["sharing_saving"], 0.05)
        self.assertEqual(json.loads((alone / "summary.json").read_text())["sharing_saving"], 0)
        self.assertEqual(hashes(shared), hashes(alone))

    def test_a_request_larger_than_the_pool_is_refused_by_name_and_the_rest_is_served(self):
        trace = self.write("trace.csv", "input_tokens,output_tokens\n10,5\n100,20\n12,6\n")
        result, folder = self.run_tiny("out", "device.device_blocks=20", file=self.trace_experiment(trace))
        summary = self.assert_complete_files(folder)
        self.assertEqual(summary["requests"], {"finished": 2, "refused": 1, "unfinished": 0})
        refused = [row for row in rows(folder / "requests.csv") if row["status"] == "refused"]
        self.assertEqual(refused[0]["request"], "1")
        for text in (result.stderr, refused[0]["reason"]):
            self.assertIn("100 prompt and 20 output tokens", text)
            self.assertIn("the device has 20", text)
        self.assertIn("request 1 is refused", result.stderr)

    def trace_experiment(self, trace):
        return self.write("trace.toml", f"""
            [model]
            path = "{GOLDEN / 'llama'}"
            [device]
            block_size = 4
            [clock]
            kind = "virtual"
            [workload.lengths]
            kind = "trace"
            file = "{trace.name}"
            """)

    def test_a_trace_without_a_request_is_an_error(self):
        for name, text in {"empty.csv": "", "header.csv": "input_tokens,output_tokens\n"}.items():
            with self.subTest(name):
                file = self.trace_experiment(self.write(name, text))
                result = self.pagelab("run", file, code=1)
                self.assertIn("pagelab: error:", result.stderr)
                self.assertIn(name, result.stderr)
                self.assertFalse((self.folder / "runs").exists(), "an error before the run leaves no folder")

    def test_each_file_gets_its_own_folder_and_nothing_is_overwritten(self):
        other = self.write("other.toml", self.tiny.read_text() + '\n[output]\ntrace = false\n')
        self.pagelab("run", self.tiny, other, self.tiny)
        self.assertEqual({path.name for path in (self.folder / "runs").iterdir()}, {"tiny", "other", "tiny-2"})
        self.pagelab("run", self.tiny, other, "--out", "sweep")
        self.assertEqual({path.name for path in (self.folder / "sweep").iterdir()}, {"tiny", "other"})
        before = contents(self.folder / "runs" / "tiny")
        result = self.pagelab("run", self.tiny, "--out", "runs/tiny", code=1)
        self.assertIn("not empty", result.stderr)
        self.assertEqual(contents(self.folder / "runs" / "tiny"), before)

    def test_set_overrides_the_file_and_is_recorded(self):
        _, folder = self.run_tiny("out", "workload.requests=3", "seed=99", "policy.batching.max_tokens=64")
        self.assertEqual(len(rows(folder / "requests.csv")), 3)
        text = (folder / "experiment.toml").read_text()
        self.assertIn("seed = 99", text)
        self.assertIn("max_tokens = 64", text)
        policies = json.loads((folder / "summary.json").read_text())["provenance"]["policies"]
        self.assertEqual(policies["batching"], {"name": "mixed", "max_tokens": 64, "max_sequences": 256})

    def test_a_terminal_gets_a_progress_line_and_a_pipe_does_not(self):
        settings = ["--set", "clock.kind=real"]  # its arrivals take a second
        piped = self.pagelab("run", self.tiny, *settings)
        self.assertNotIn("\r", piped.stderr)
        ours, theirs = pty.openpty()
        process = subprocess.Popen([PROGRAM, "run", self.tiny, *settings], cwd=self.folder,
                                   stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(ours)
        self.assertEqual(process.wait(60), 0)
        text = shown.decode()
        self.assertIn("/24 requests", text)
        self.assertIn(" s real | ", text)
        self.assertIn("KV [", text)


class ShippedExperiments(PagelabTest):
    def test_every_experiment_file_can_be_read(self):
        """Read to its end, model and all, is too long for a test: an unknown model stops each after it was checked."""
        files = sorted((SOURCE / "experiments").glob("*.toml"))
        self.assertTrue(files)
        for file in files:
            with self.subTest(file.name):
                result = self.pagelab("run", file, "--set", "model.shape=", "--set", "model.path=nowhere", code=1)
                self.assertIn("nowhere", result.stderr)


if __name__ == "__main__":
    unittest.main()
