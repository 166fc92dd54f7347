"""Ctrl-C at every phase of a run, a killed program, and a disk that fills up: what was logged stays, and says so."""

import json
import resource
import signal
import subprocess
import tempfile
import time
import unittest

from support import LONG, PagelabTest, rows


class Interrupt(PagelabTest):
    def start_run(self, *overrides, file=None):
        sets = [word for override in overrides for word in ("--set", override)]
        out = self.folder / "out"
        return self.start("run", file or self.tiny, "--out", out, *sets), out

    def wait_for_steps(self, out):
        """A buffer of rows on disk: the run is well under way."""
        self.wait_for(lambda: (out / "steps.csv.partial").exists() and
                      (out / "steps.csv.partial").stat().st_size > 60_000, "steps")

    def assert_partial(self, process, out):
        stdout, stderr = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, stderr)
        summary = self.assert_complete_files(out, complete=False)
        self.assertEqual(summary["reason"], "interrupted")
        self.assertIn("PARTIAL", stdout)
        self.assertIn("PARTIAL", stderr)
        return summary

    def test_while_steps_run_keeps_what_was_logged(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(number):
                process, out = self.start_run(*LONG)
                self.wait_for_steps(out)
                process.send_signal(number)
                summary = self.assert_partial(process, out)
                self.assertGreater(summary["requests"]["finished"], 0)
                self.assertGreater(summary["requests"]["unfinished"], 0)
                for path in out.iterdir():
                    path.unlink()

    def test_while_the_clock_waits_for_an_arrival(self):
        process, out = self.start_run("clock.kind=real", "workload.arrivals.rate_per_s=0.0001")
        self.wait_for(lambda: (out / "steps.csv.partial").exists(), "the run folder")
        time.sleep(0.2)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        summary = self.assert_partial(process, out)
        self.assertLess(time.monotonic() - start, 10)
        self.assertEqual(summary["requests"]["finished"], 0)

    def test_while_weights_are_made_ends_at_once_and_leaves_no_folder(self):
        process, out = self.start_run("model.path=", "model.shape=opt-1.3b", "device.device_blocks=8",
                                      "device.host_blocks=0")
        time.sleep(0.5)
        self.assertIsNone(process.poll(), "the weights were made too fast for this test")
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(60), 130)
        self.assertLess(time.monotonic() - start, 5)
        self.assertFalse(out.exists())

    def test_at_any_moment_leaves_either_no_folder_or_whole_files(self):
        for tenth in range(12):
            delay = 0.03 * tenth
            with self.subTest(delay=delay):
                sets = ["--set", "workload.requests=400"]
                out = self.folder / f"out-{tenth}"
                process = self.start("run", self.tiny, "--out", out, *sets)
                time.sleep(delay)
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=60)
                if process.returncode == -signal.SIGINT:  # before main() took the signal over
                    self.assertFalse(out.exists())
                    continue
                self.assertIn(process.returncode, (0, 130), stderr)
                if out.exists():
                    summary = json.loads((out / "summary.json").read_text())
                    self.assert_complete_files(out, complete=summary["complete"])

    def test_twice_stops_at_once(self):
        process, out = self.start_run(*LONG)
        self.wait_for_steps(out)
        process.send_signal(signal.SIGSTOP)  # so that both arrive before the run has ended
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(60), 130)
        self.assertFalse((out / "summary.json").exists())

    def test_of_one_file_keeps_the_next_from_running(self):
        process = self.start("run", self.tiny, self.tiny, "--out", "both", "--set", LONG[0], "--set", LONG[1])
        self.wait_for_steps(self.folder / "both" / "tiny")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([path.name for path in (self.folder / "both").iterdir()], ["tiny"])

    def test_a_killed_program_leaves_partial_files_only(self):
        process, out = self.start_run(*LONG)
        self.wait_for_steps(out)
        process.kill()
        process.wait(60)
        names = {path.name for path in out.iterdir()}
        self.assertEqual(names, {"experiment.toml", "schema.json", "requests.csv.partial", "steps.csv.partial",
                                 "summary.json.partial", "trace.json.partial"})


class FullDisk(PagelabTest):
    def assert_full_disk(self, result, out):
        self.assertIn("pagelab: error: cannot write", result.stderr)
        summary = json.loads((out / "summary.json").read_text())
        self.assertFalse(summary["complete"])
        self.assertIn("cannot write", summary["reason"])
        self.assertEqual([path.name for path in out.iterdir() if path.name.endswith(".partial")], [])
        json.loads((out / "trace.json").read_text())
        steps = rows(out / "steps.csv")
        self.assertGreater(len(steps), 10)
        self.assertEqual([int(step["step"]) for step in steps], list(range(len(steps))))
        self.assertNotIn(None, steps[-1].values())

    def test_a_file_that_may_not_grow_is_an_error_and_what_fits_stays(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        result, out = self.run_tiny("out", *LONG, code=1, preexec_fn=limit)
        self.assert_full_disk(result, out)

    def test_a_small_file_system_that_fills_up_is_an_error_and_what_fits_stays(self):
        mount = tempfile.mkdtemp(dir=self.folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True).returncode:
            self.skipTest("needs the right to mount a tmpfs")
        self.addCleanup(subprocess.run, ["umount", mount], check=True)
        result, out = self.run_tiny(f"{mount}/out", *LONG, code=1)
        self.assert_full_disk(result, out)

    def test_a_folder_that_cannot_be_made_is_an_error(self):
        self.write("file", "")
        result = self.pagelab("run", self.tiny, "--out", "file/out", code=1)
        self.assertIn("file/out", result.stderr)


if __name__ == "__main__":
    unittest.main()
