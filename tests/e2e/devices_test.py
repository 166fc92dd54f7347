"""The program and the scripts that fit device descriptions share their formulas: a step takes the same time in both."""

import json
import subprocess
import unittest

from support import SOURCE, PagelabTest, rows

EXPERIMENT = f"""
[model]
shape = "{{shape}}"
[device]
kind = "sim"
description = "{SOURCE}/experiments/devices/{{device}}.toml"
gpus = {{gpus}}
[policy.batching]
name = "prefill_first"
max_tokens = 100000
[workload]
requests = {{batch}}
[workload.lengths]
kind = "trace"
file = "trace.csv"
format = "lengths"
[workload.arrivals]
kind = "trace"
[sampling]
method = "random"
forced_output = true
"""

# By Debian's Python, which has numpy: the seconds of a prefill of `batch` prompts, then of each decode.
PREDICTION = f"""
import json, sys, tomllib
sys.path.insert(0, "{SOURCE}/scripts")
import step_formulas as steps
steps.SHAPES |= {{"opt-66b": (64, 9216, 72, 50272)}}
device, shape, gpus, batch, prompt, output = json.loads(sys.argv[1])
d = tomllib.load(open(f"{SOURCE}/experiments/devices/{{device}}.toml", "rb"))
seconds = [steps.prefill_s(d, shape, gpus, batch, prompt)]
seconds += [steps.decode_s(d, shape, gpus, batch, prompt + i) for i in range(1, output)]
print(json.dumps([float(s) for s in seconds]))
"""


def predicted(*case):
    command = ["/usr/bin/python3", "-B", "-c", PREDICTION, json.dumps(case)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Devices(PagelabTest):
    def test_a_step_takes_what_the_fitting_scripts_say(self):
        for device, shape, gpus, batch, prompt, output in [("a100-40gb", "opt-13b", 1, 1, 500, 20),
                                                           ("a100-40gb", "opt-66b", 4, 7, 33, 9),
                                                           ("a100-80gb", "opt-13b", 1, 24, 300, 40),
                                                           ("h100-80gb", "opt-66b", 8, 40, 100, 5)]:
            with self.subTest(device=device, shape=shape, gpus=gpus, batch=batch):
                self.write("trace.csv", "arrival_s,input_tokens,output_tokens\n" + f"0,{prompt},{output}\n" * batch)
                file = self.write("devices.toml", EXPERIMENT.format(device=device, shape=shape, gpus=gpus, batch=batch))
                folder = self.folder / f"{device}-{shape}-{batch}"
                self.pagelab("run", file, "--out", folder)
                steps = [float(row["duration_s"]) for row in rows(folder / "steps.csv")]
                expected = predicted(device, shape, gpus, batch, prompt, output)
                self.assertEqual(len(steps), len(expected))
                for step, seconds in zip(steps, expected):
                    self.assertAlmostEqual(step / seconds, 1, delta=1e-9)


if __name__ == "__main__":
    unittest.main()
