"""Plugins as a stranger meets them: pagelab is installed, `new-policy` writes a plugin for each axis, which builds against
the installed package, runs and passes its own test; and each way in which a plugin can be wrong is told clearly."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

from support import PROGRAM, PagelabTest, contents

BUILD = pathlib.Path(PROGRAM).parent
PLUGINS = BUILD / "tests" / "plugins"
GOOD = PLUGINS / "good_plugin.so"
WRONG = PLUGINS / "wrong_plugin.so"
COMPILER = os.environ["PAGELAB_CXX"]
AXES = ("scheduling", "batching", "allocation", "preemption", "sharing", "eviction", "retention")

# The record of a plugin (core/plugin_abi.h): the length of each text; the size stands behind the first.
MAGIC = b"pagelab plugin\0\0"
FIELDS = {"pagelab": 20, "compiler": 32, "standard_library": 48, "sanitizers": 32, "assertions": 8, "interface_hash": 65}
RECORD = struct.calcsize(f"=16sI{sum(FIELDS.values())}s3x")


def installed(folder):
    """Installs pagelab into a folder; returns the prefix."""
    prefix = folder / "prefix"
    subprocess.run(["cmake", "--install", str(BUILD), "--prefix", str(prefix)], check=True, capture_output=True, text=True)
    return prefix


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        holder = tempfile.TemporaryDirectory(prefix="pagelab_plugin_")
        cls.addClassCleanup(holder.cleanup)
        cls.folder = pathlib.Path(holder.name)
        cls.prefix = installed(cls.folder)
        cls.program = cls.prefix / "bin" / "pagelab"

    def command(self, *words, code=0):
        result = subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=self.folder, timeout=300)
        self.assertEqual(result.returncode, code, f"{words}\nstdout: {result.stdout}\nstderr: {result.stderr}")
        return result.stdout + result.stderr

    def configure(self, source, compiler=COMPILER, code=0):
        # A debug build: it compiles faster, and a plugin with assertions may be loaded by a program without them.
        return self.command("cmake", "-G", "Ninja", "-S", source, "-B", source / "build", "-DCMAKE_BUILD_TYPE=Debug",
                            f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_COMPILER={compiler}", code=code)

    def make(self, axis):
        """A new policy of the axis: written, built, tested, listed and run as its own README says."""
        source, name = self.folder / axis, f"my_{axis}"
        self.command(self.program, "new-policy", axis, name, source)
        self.configure(source)
        self.command("cmake", "--build", source / "build")
        self.command("ctest", "--test-dir", source / "build", "--output-on-failure")
        listed = self.command(self.program, "policies", "--plugin", source / "build" / f"{name}.so")
        self.command(self.program, "run", source / f"{name}.toml", "--out", source / "run", "--quiet")
        checked = self.command(self.program, "check-policy", f"{axis}/{name}", "--plugin", source / "build" / f"{name}.so",
                               "--cases", "50")
        self.assertIn("nothing wrong in 50 cases", checked)
        return listed, source, name

    def test_new_policies_of_every_axis_build_pass_their_test_and_run(self):
        offered = self.command(self.program, "policies")
        self.assertEqual([line.split(":")[0] for line in offered.splitlines() if line and line[0] != " "], list(AXES))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            made = dict(zip(AXES, pool.map(self.make, AXES)))
        for axis, (listed, source, name) in made.items():
            with self.subTest(axis):
                self.assertIn(f"{axis}/{name}: ", listed)
                self.assertRegex(listed, r"(?m)^  \w+ = \S+\n      .+\n      .+$")  # value, help, domain
                summary = json.loads((source / "run" / "summary.json").read_text())
                policy = summary["provenance"]["policies"][axis]
                self.assertEqual(policy["plugin"]["file"], f"{name}.so")
                self.assertEqual(policy["plugin"]["hash"], summary["provenance"]["inputs"][f"plugins.{name}.so"])
                self.assertEqual(policy["plugin"]["assertions"], "on")
                self.assertIn(f'plugins = ["../build/{name}.so"]', (source / "run" / "experiment.toml").read_text())
                self.assertEqual(len((source / "CMakeLists.txt").read_text().splitlines()), 9)

    def test_a_project_of_another_compiler_is_told_when_it_is_configured(self):
        other = shutil.which("clang++" if "clang" not in COMPILER else "g++")
        if not other:
            self.skipTest("there is one compiler only")
        source = self.folder / "other"
        self.command(self.program, "new-policy", "sharing", "other", source)
        said = " ".join(self.configure(source, compiler=other, code=1).split())
        self.assertIn("takes plugins of that compiler only", said)

    def test_the_installed_headers_include_no_others(self):
        include = self.prefix / "include" / "pagelab"
        headers = sorted(path.relative_to(include) for path in include.rglob("*.h"))
        self.assertGreater(len(headers), 10)
        source = self.folder / "headers.cc"
        source.write_text("".join(f'#include "{header}"\n' for header in headers))
        self.command(COMPILER, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{include}", source)


class NewPolicy(PagelabTest):
    def refused(self, *arguments):
        return self.pagelab("new-policy", *arguments, code=1).stderr

    def test_an_unknown_axis_is_named_with_the_valid_ones(self):
        text = self.refused("schedulng", "mine", "dir")
        self.assertIn("did you mean 'scheduling'", text)
        self.assertFalse((self.folder / "dir").exists())

    def test_a_name_that_cannot_be_one_is_refused(self):
        for name in ("", "Mine", "1st", "my-policy", "a/b", "x" * 61):
            self.assertIn("cannot be the name of a policy", self.refused("scheduling", name, "dir"))
        self.assertIn("CMake", self.refused("scheduling", "test", "dir"))
        self.assertIn("scheduling/fcfs is built in", self.refused("scheduling", "fcfs", "dir"))
        self.assertFalse((self.folder / "dir").exists())

    def test_files_that_are_there_are_never_overwritten(self):
        (self.folder / "dir").mkdir()
        mine = self.write("dir/README.md", "mine")
        self.assertIn("README.md is there already; nothing was written", self.refused("batching", "late", "dir"))
        self.assertEqual(list(contents(self.folder / "dir")), ["README.md"])
        mine.unlink()
        self.pagelab("new-policy", "batching", "late", "dir")
        self.assertIn("late.cc is there already", self.refused("batching", "late", "dir"))

    def test_what_it_writes_reads_well(self):
        self.pagelab("new-policy", "scheduling", "three_part_name", "dir")
        for path in (self.folder / "dir").iterdir():
            self.assertNotRegex(path.read_text(), r"\{\{\w+\}\}")
        self.assertIn("class ThreePartName final", (self.folder / "dir" / "three_part_name.cc").read_text())


class Loading(PagelabTest):
    def run_with(self, *plugins, name="shuffled", code=0, wrong="", out="out", sets=()):
        arguments = [word for plugin in plugins for word in ("--plugin", plugin)]
        words = [word for text in (f"policy.scheduling.name={name}", *sets) for word in ("--set", text)]
        environment = {**os.environ, "PAGELAB_WRONG": wrong}
        result = self.pagelab("run", self.tiny, "--out", self.folder / out, *arguments, *words, code=code, env=environment)
        return result, self.folder / out

    def assert_refused(self, plugin, *texts, wrong="", **options):
        result, out = self.run_with(plugin, code=1, wrong=wrong, **options)
        for text in (str(plugin), *texts):
            self.assertIn(text, result.stderr)
        self.assertTrue(result.stderr.startswith("pagelab: error: "), result.stderr)
        self.assertFalse(out.exists())

    def patched(self, **fields):
        """The good plugin with other texts in its record."""
        data = bytearray(GOOD.read_bytes())
        start = data.find(MAGIC + struct.pack("=I", RECORD))
        self.assertGreater(start, 0)
        if "magic" in fields:
            data[start:start + 16] = fields["magic"]
        if "size" in fields:
            data[start + 16:start + 20] = struct.pack("=I", fields["size"])
        at = start + 20
        for name, length in FIELDS.items():
            if name in fields:
                data[at:at + length] = fields[name].ljust(length, b"\0")
            at += length
        path = self.folder / "patched.so"
        path.write_bytes(data)
        return path

    def test_a_plugin_in_the_experiment_is_found_beside_it_and_recorded(self):
        shutil.copy(GOOD, self.folder / "mine.so")
        text = 'plugins = ["mine.so"]\n' + self.tiny.read_text() + '[policy.scheduling]\nname = "shuffled"\nseed = 5\n'
        file = self.write("with.toml", text)
        _, first = self.run_tiny("first", file=file)
        summary = self.assert_complete_files(first)
        policy = summary["provenance"]["policies"]["scheduling"]
        self.assertEqual(policy["seed"], 5)
        self.assertEqual(policy["plugin"]["file"], "mine.so")
        self.assertRegex(policy["plugin"]["hash"], "^fnv1a64:[0-9a-f]{16}$")
        self.assertEqual(policy["census"]["asked"], 24)
        self.assertGreater(policy["census"]["differed"], 0)
        self.assertEqual(summary["warnings"], [])
        self.assertIn('plugins = ["../mine.so"]', (first / "experiment.toml").read_text())
        _, second = self.run_tiny("second", file=first / "experiment.toml")
        self.assertEqual(contents(first), contents(second))

    def test_a_plugin_on_the_command_line_is_as_good_and_may_be_named_twice(self):
        _, out = self.run_with(GOOD, GOOD)
        self.assertEqual(json.loads((out / "summary.json").read_text())["provenance"]["policies"]["scheduling"]["name"], "shuffled")

    def test_two_plugins_may_be_loaded_together(self):
        _, out = self.run_with(GOOD, PLUGINS / "wrong_plugin.so", wrong="unmakeable")
        self.assertTrue((out / "summary.json").exists())

    def test_a_policy_of_a_plugin_is_unknown_without_it(self):
        result, _ = self.run_with(code=1)
        self.assertIn("policy.scheduling.name", result.stderr)

    def test_a_policy_that_never_differs_is_warned_of(self):
        result, out = self.run_with(GOOD, name="same_as_fcfs")
        warning = "policy scheduling/same_as_fcfs never differed from fcfs: 24 questions"
        self.assertIn(warning, result.stderr)
        self.assertIn(warning, json.loads((out / "summary.json").read_text())["warnings"][0])

    def test_a_policy_that_is_never_asked_is_warned_of_unless_nobody_counts(self):
        sets = ["policy.preemption.name=swap", "device.device_blocks=2000"]
        result, out = self.run_with(name="fcfs", sets=sets)
        self.assertIn("policy preemption/swap was never asked", result.stderr)
        result, out = self.run_with(name="fcfs", sets=[*sets, "output.census=false"], out="uncounted")
        self.assertNotIn("never asked", result.stderr)
        self.assertNotIn("census", json.loads((out / "summary.json").read_text())["provenance"]["policies"]["preemption"])

    def test_policies_lists_a_plugin_with_its_parameters(self):
        listed = self.pagelab("policies", "--plugin", GOOD).stdout
        for text in ("scheduling/shuffled: in no order", "seed = 1", "of the order", "an integer, at least 0", "scheduling/same_as_fcfs",
                     "parameters: none", "built for pagelab"):
            self.assertIn(text, listed)
        self.assertNotIn("fcfs: first come", listed)
        described = self.pagelab("policies", "describe", "scheduling/shuffled", "--plugin", GOOD).stdout
        self.assertIn(f"plugin: {GOOD}", described)
        self.assertIn("did you mean 'shuffled'",
                      self.pagelab("policies", "describe", "scheduling/shufled", "--plugin", GOOD, code=1).stderr)

    def test_an_error_in_the_experiment_names_file_line_and_key(self):
        file = self.write("bad.toml", 'seed = 1\nplugins = ["absent.so"]\n')
        result = self.pagelab("run", file, code=1)
        self.assertIn("bad.toml:2: key 'plugins' cannot be used: plugin", result.stderr)
        self.assertIn("absent.so: no such file", result.stderr)

    def test_what_is_no_plugin_is_refused(self):
        self.assert_refused(self.folder / "absent.so", "no such file")
        self.assert_refused(self.folder, "not a regular file")
        self.assert_refused(self.write("text.so", "hello"), "no shared library")
        self.assert_refused(self.write("empty.so", ""), "no shared library")
        broken = self.folder / "broken.so"
        broken.write_bytes(GOOD.read_bytes()[:300])
        self.assert_refused(broken, "cannot be loaded")
        self.assert_refused(PLUGINS / "no_plugin.so", "exports no pagelab_plugin_abi")
        self.assert_refused(PLUGINS / "unresolved_plugin.so", "pagelab_test_defined_nowhere", "nothing defines")

    def test_a_plugin_built_for_something_else_is_refused(self):
        self.assert_refused(self.patched(magic=b"something else\0\0"), "no record of a plugin")
        self.assert_refused(self.patched(size=12), "its record has 12 bytes")
        self.assert_refused(self.patched(pagelab=b"0.0.9"), "built for pagelab 0.0.9, this is")
        self.assert_refused(self.patched(compiler=b"GCC 4.8.5"), "built for compiler GCC 4.8.5, this is")
        self.assert_refused(self.patched(standard_library=b"libstdc++ 5, ABI 0"), "built for standard library libstdc++ 5, ABI 0")
        self.assert_refused(self.patched(sanitizers=b"martian"), "built for sanitizer martian")
        self.assert_refused(self.patched(interface_hash=b"0" * 64), "built for interface 0000")
        self.assert_refused(self.patched(compiler=b"C" * 32), "built for compiler CCC")  # no zero at its end
        self.run_with(self.patched(assertions=b"maybe"))  # is told, not compared

    def test_a_plugin_that_registers_wrongly_is_refused(self):
        for wrong, text in {"": "registers no policy", "throws": "its registration threw 'the moon is full'",
                            "throws a number": "no std::exception", "built in": "scheduling/fcfs is built in",
                            "twice": "scheduling/wrong is registered twice", "no name": "a name consists of letters",
                            "bad default": "the default of parameter 'share' is not a real number, at most 1",
                            "parameter twice": "parameter 'share' is declared twice",
                            "parameter called name": "no parameter may be called 'name'"}.items():
            with self.subTest(wrong):
                self.assert_refused(WRONG, text, wrong=wrong, name="fcfs")

    def test_a_name_that_another_plugin_has_is_refused(self):
        result, out = self.run_with(GOOD, WRONG, wrong="shuffled", code=1)
        self.assertIn(f"policy scheduling/shuffled is in plugin {GOOD} already", result.stderr)
        self.assertFalse(out.exists())

    def test_a_policy_that_throws_when_it_is_made_ends_the_run_before_it_begins(self):
        result, out = self.run_with(WRONG, wrong="unmakeable", name="unmakeable", code=1)
        self.assertIn("policy scheduling/unmakeable cannot be made: no such day", result.stderr)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    unittest.main()
