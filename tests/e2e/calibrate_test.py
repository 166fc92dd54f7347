"""`pagelab calibrate`: the description that it writes runs a simulated device, and wrong input is named."""

import json
import subprocess
import unittest

from support import GOLDEN, PROGRAM, SOURCE, PagelabTest

EXPERIMENT = """
seed = 7
[model]
path = "{checkpoint}"
[device]
kind = "sim"
description = "{description}"
block_size = 4
device_blocks = 200
[workload]
requests = 12
[workload.lengths]
kind = "uniform"
prompt_min = 1
prompt_max = 40
output_min = 1
output_max = 20
[workload.arrivals]
kind = "poisson"
rate_per_s = 40.0
"""


class Calibrate(PagelabTest):
    def calibrate(self, name, *options, code=0):
        out = self.folder / name
        result = self.pagelab("calibrate", "--quick", "--threads", "1", "--out", out, *options, code=code)
        return out, result

    def test_the_description_runs_a_simulated_device(self):
        for device in ("cpu", "cuda-emulated"):
            with self.subTest(device=device):
                models = [word for name in ("llama-gqa", "gpt2") for word in ("--model", GOLDEN / name)]
                description, result = self.calibrate(f"{device}.toml", "--device", device, "--rounds", "1", *models)
                for line in ("llama-gqa .*decodes", "llama-gqa .*prompts", "gpt2 .*decodes", "gpt2 .*prompts"):
                    self.assertRegex(result.stdout, line)
                self.assertIn(f'name = "{device}"', description.read_text())
                file = self.write(f"{device}-run.toml", EXPERIMENT.format(checkpoint=GOLDEN / "gpt2", description=description))
                self.pagelab("run", file, "--out", self.folder / device)
                summary = json.loads((self.folder / device / "summary.json").read_text())
                self.assertEqual(summary["requests"], {"finished": 12, "refused": 0, "unfinished": 0})
                self.assertGreater(summary["throughput"]["output_tokens_per_s"], 0)

    def test_the_script_that_checks_a_description_runs(self):
        description, _ = self.calibrate("cpu.toml", "--device", "cpu", "--rounds", "1", "--model", GOLDEN / "gpt2")
        script = SOURCE / "scripts" / "check_calibration.py"
        result = subprocess.run([script, "--pagelab", PROGRAM, "--models", "gpt2", "--runs", "1", "--quick", "--description",
                                 description, "--out", self.folder / "check"], check=True, capture_output=True, text=True)
        for load in ("light", "overload"):
            self.assertRegex(result.stdout, rf"\| gpt2 \| {load} \| throughput, output tokens/s \| [0-9.]+ ")
        self.assertRegex(result.stdout, r"latency: at most [0-9.]+ % off")

    def test_wrong_input_is_named_and_leaves_nothing_behind(self):
        for options, words in [(("--device", "tpu"), ("tpu", "cpu, cuda, cuda-emulated")),
                               (("--model", "opt-126m"), ("opt-126m", "opt-125m")),
                               (("--model", "opt-175b"), ("opt-175b", "GiB"))]:
            with self.subTest(options):
                out, result = self.calibrate("x.toml", *options, code=1)
                for word in words:
                    self.assertIn(word, result.stderr)
                self.assertEqual(list(self.folder.glob("x.toml*")), [])
        _, result = self.calibrate("absent/x.toml", "--model", GOLDEN / "gpt2", code=1)
        self.assertIn("absent/x.toml", result.stderr)

    def test_a_gpu_that_is_not_there_is_told(self):
        out = self.folder / "gpu.toml"
        result = subprocess.run([PROGRAM, "calibrate", "--quick", "--device", "cuda", "--model", GOLDEN / "gpt2", "--out", out],
                                capture_output=True, text=True, timeout=300)
        if result.returncode == 0:
            self.skipTest("there is a GPU")
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, "without CUDA|no CUDA device")
        self.assertFalse(out.exists())


if __name__ == "__main__":
    unittest.main()
