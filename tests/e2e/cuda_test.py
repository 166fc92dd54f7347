"""`pagelab run` on the CUDA device, emulated: the tokens are those of the CPU, whatever memory does to them."""

import json
import subprocess
import unittest

from support import GOLDEN, PROGRAM, PagelabTest, hashes, rows

# Few and short requests: each thread of each kernel runs on the CPU.
EXPERIMENT = """
seed = 7
[model]
path = "{checkpoint}"
dtype = "f32"
[device]
kind = "cuda-emulated"
block_size = 4
device_blocks = 200
host_blocks = 64
kv_dtype = "f32"
[clock]
kind = "virtual"
[workload]
requests = 6
[workload.lengths]
kind = "uniform"
prompt_min = 1
prompt_max = 30
output_min = 1
output_max = 12
[workload.arrivals]
kind = "poisson"
rate_per_s = 40.0
"""

METHODS = {"greedy": ["sampling.method=greedy"],
           "parallel": ["sampling.method=random", "sampling.n=3", "sampling.top_p=0.9"],
           "beam": ["sampling.method=beam", "sampling.n=3"]}


class Cuda(PagelabTest):
    def setUp(self):
        super().setUp()
        self.runs = 0

    def experiment(self, checkpoint):
        return self.write(f"{checkpoint}.toml", EXPERIMENT.format(checkpoint=GOLDEN / checkpoint))

    def run_both(self, checkpoint, *settings):
        """The summary of a run on cuda-emulated whose tokens are those of the same run on cpu."""
        file = self.experiment(checkpoint)
        folders = {}
        for kind in ("cpu", "cuda-emulated"):
            own = [word for word in settings if kind != "cpu" or not word.startswith(("device.swap", "device.graphs"))]
            self.runs += 1
            _, folders[kind] = self.run_tiny(f"run-{self.runs}", f"device.kind={kind}", *own, file=file)
        summary = self.assert_complete_files(folders["cuda-emulated"])
        self.assertEqual(summary["requests"], {"finished": 6, "refused": 0, "unfinished": 0})
        self.assertEqual(hashes(folders["cpu"]), hashes(folders["cuda-emulated"]))
        return summary

    def test_tokens_are_those_of_the_cpu_for_every_family_and_method(self):
        for checkpoint in ("opt", "llama", "gpt2"):
            for method, settings in METHODS.items():
                with self.subTest(checkpoint=checkpoint, method=method):
                    summary = self.run_both(checkpoint, *settings)
                    self.assertEqual(summary["preemptions"], {"recompute": 0, "swap": 0})
                    if method != "greedy":
                        self.assertGreater(summary["blocks_copied"], 0)

    def test_tokens_are_those_of_the_cpu_under_preemption(self):
        for preemption, own in (("recompute", []), ("swap", ["device.swap=batched"]),
                                ("swap", ["device.swap=per_block", "device.graphs=true"])):
            with self.subTest(preemption=preemption, own=own):
                summary = self.run_both("llama-gqa", *METHODS["parallel"], "device.device_blocks=26",
                                        f"policy.preemption.name={preemption}", *own)
                self.assertGreater(summary["preemptions"][preemption], 0)
                self.assertGreater(summary["blocks_copied"], 0)

    def test_measured_times_go_to_the_run_folder_in_real_time_and_only_then(self):
        real, folder = self.run_tiny("real", "clock.kind=real", file=self.experiment("opt"))
        summary = self.assert_complete_files(folder)
        seconds = summary["operator_seconds"]
        for operator in ("linear", "attention", "kv_write", "norm", "embedding", "sampling"):
            self.assertGreater(seconds[operator], 0, operator)
        self.assertEqual(seconds["rotary"], 0, "OPT has none")
        # The operations of a step run one after another within it; only swapping, which is none here, runs beside.
        self.assertLess(sum(seconds.values()), summary["busy_s"])
        self.assertAlmostEqual(sum(float(step["duration_s"]) for step in rows(folder / "steps.csv")), summary["busy_s"],
                               places=5)
        self.assertIn("share of that by operator: linear", real.stderr)
        _, folder = self.run_tiny("virtual", file=self.experiment("opt"))
        self.assertNotIn("operator_seconds", json.loads((folder / "summary.json").read_text()))

    def test_the_run_folder_names_the_device_and_its_options(self):
        _, folder = self.run_tiny("out", "device.swap=per_block", file=self.experiment("opt"))
        provenance = json.loads((folder / "summary.json").read_text())["provenance"]
        self.assertEqual(provenance["device"], "cuda-emulated")
        self.assertEqual((provenance["swap"], provenance["graphs"]), ("per_block", False))
        self.assertTrue(provenance["gpu"])
        self.assertIn('swap = "per_block"', (folder / "experiment.toml").read_text())

    def test_says_that_its_kernels_cannot_drop_tokens(self):
        result, _ = self.run_tiny("out", "policy.retention.name=window", file=self.experiment("opt"), code=1)
        self.assertIn('set policy.retention.name = "all"', result.stderr)

    def test_keys_of_another_device_are_refused(self):
        for setting, words in {"device.threads=2": ["device.threads", "unknown"],
                               "device.swap=\"slow\"": ["device.swap", "batched, per_block"],
                               "device.kind=\"cuda-emulate\"": ["device.kind", "did you mean 'cuda-emulated'?"]}.items():
            with self.subTest(setting):
                result, _ = self.run_tiny("out", setting, file=self.experiment("opt"), code=1)
                for word in words:
                    self.assertIn(word, result.stderr)
        for setting in ("device.swap=per_block", "device.graphs=true"):
            with self.subTest(setting):
                result, _ = self.run_tiny("out", "device.kind=cpu", setting, file=self.experiment("opt"), code=1)
                self.assertIn("unknown", result.stderr)

    def test_what_does_not_fit_is_an_error_that_says_what_would(self):
        result, folder = self.run_tiny("out", "device.device_blocks=100000000", file=self.experiment("opt"), code=1)
        self.assertRegex(result.stderr, r"weights \(f32\) [0-9.]+ GB, activations [0-9.]+ GB, 100000000 device blocks "
                                        r"[0-9.]+ GB.*free; of the blocks [0-9]+ blocks would fit")
        result, folder = self.run_tiny("out", "device.host_blocks=100000000", file=self.experiment("opt"), code=1)
        self.assertRegex(result.stderr, r"100000000 host blocks .* would fit")
        self.assertFalse(folder.exists())

    def test_without_a_gpu_the_device_cuda_says_so(self):
        result = subprocess.run([PROGRAM, "run", self.experiment("opt"), "--set", "device.kind=cuda"], cwd=self.folder,
                                capture_output=True, text=True, timeout=300)
        if result.returncode == 0:
            self.skipTest("there is a GPU")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "built without CUDA|no CUDA device can be used")
        self.assertFalse((self.folder / "runs").exists())


if __name__ == "__main__":
    unittest.main()
