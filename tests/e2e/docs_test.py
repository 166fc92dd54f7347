"""What the documents tell a reader to type works: the example policy compiles, the commands run, tables are up to date."""

import os
import pathlib
import re
import shutil
import subprocess
import tomllib
import unittest

from support import PROGRAM, SOURCE, PagelabTest

README = (SOURCE / "README.md").read_text()
CONTRIBUTING = (SOURCE / "CONTRIBUTING.md").read_text()
BUILD = pathlib.Path(PROGRAM).parent


def commands(text, program):
    """The command lines of a text that start with a program of the release build, without their comments."""
    return [match.split("#")[0].split() for match in re.findall(rf"(?m)^(?:\|.*`)?{re.escape(program)}([^`\n]*)", text)]


class Documents(PagelabTest):
    def compile(self, code):
        source = self.write("policy.cc", code)
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}", str(source)], check=True)

    def test_the_example_policies_compile(self):
        pages = [README] + [(SOURCE / "docs/policies" / page).read_text() for page in
                            ("scheduling.md", "batching.md", "allocation.md", "preemption.md", "sharing.md")]
        for page in pages:
            self.compile(re.search(r"```cpp\n(.*?)```", page, re.DOTALL).group(1))

    def test_the_policies_of_the_axes_pages_compile(self):
        for axis, count in (("eviction", 2), ("retention", 1)):
            page = (SOURCE / f"docs/policies/{axis}.md").read_text()
            examples = re.findall(r"```cpp\n(.*?)```", page, re.DOTALL)
            self.assertEqual(len(examples), count)
            for example in examples:
                self.compile(example)

    def test_the_example_experiment_can_be_read(self):
        example = re.search(r"```toml\n(.*?)```", README, re.DOTALL).group(1)
        self.write("trace.csv", "input_tokens,output_tokens\n3,4\n5,2\n")
        file = self.write("example.toml", example)
        sets = ["--set", "model.shape=", "--set", f"model.path={SOURCE / 'tests/golden/llama'}"]
        self.pagelab("run", file, "--out", self.folder / "out", *sets)

    def test_the_readmes_commands_run(self):
        found = commands(README, "build/release/pagelab")
        self.assertGreaterEqual(len(found), 4)
        for command in found:
            with self.subTest(" ".join(command)):
                result = subprocess.run([PROGRAM, *command], cwd=SOURCE, capture_output=True, text=True)
                self.assertEqual(result.returncode, 0, result.stderr)

    def test_the_plot_of_a_run_is_drawn(self):
        _, folder = self.run_tiny("run")
        for kind in ("svg", "png"):
            out = folder / f"steps.{kind}"
            subprocess.run([str(SOURCE / "scripts/plot_steps.py"), str(folder), "-o", str(out)], check=True)
            self.assertGreater(out.stat().st_size, 5000)

    def test_the_benchmarks_of_the_guide_exist(self):
        names = re.findall(r"`build/release/tests/bench/(\w+)", CONTRIBUTING)
        self.assertGreaterEqual(len(names), 4)
        if not (BUILD / "tests" / "bench" / "bench_engine").exists():
            self.skipTest("built without benchmarks")
        for name in names:
            with self.subTest(name):
                program = BUILD / "tests" / "bench" / name
                if "cuda" in name:  # that of the GPU may be missing, and says nothing without one
                    program = program.with_name(name + "_emulated")
                command = [str(program), "--benchmark_list_tests=true"]
                listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                self.assertTrue(listed.strip())

    def test_the_tables_of_the_kernels_page_are_those_that_the_scripts_make(self):
        page = (SOURCE / "docs/kernels.md").read_text()
        bounds = subprocess.run([str(SOURCE / "scripts/kernel_bounds.py")], capture_output=True, text=True, check=True)
        self.assertIn(bounds.stdout, page)
        planted = tomllib.loads((SOURCE / "tests/cuda/mutations.toml").read_text())["mutation"]
        for bug in planted:
            self.assertIn(f"| {bug['name']} | {bug['file']} |", page)
        budgets = tomllib.loads((SOURCE / "kernels/cuda/budgets.toml").read_text())["kernel"]
        for budget in budgets:
            self.assertIn(", ".join(f"`{pattern}`" for pattern in budget["patterns"]), page)

    def test_a_day_with_a_gpu_needs_one(self):
        if shutil.which("nvidia-smi"):
            self.skipTest("there may be a GPU")
        script = [str(SOURCE / "scripts/gpu_day.sh"), str(self.folder / "gpu_day")]
        result = subprocess.run(script, capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn("no GPU answers", result.stderr)


if __name__ == "__main__":
    unittest.main()
