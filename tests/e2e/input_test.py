"""Wrong usage and wrong input: a text that says where and what is valid, a non-zero exit code, and nothing left behind."""

import json
import re
import unittest

from support import GOLDEN, SOURCE, PagelabTest


class Usage(PagelabTest):
    def test_wrong_usage_exits_with_2_and_names_what_is_wrong(self):
        for arguments, text in [((), "run"), (("run",), "FILE"), (("fly",), "fly"), (("run", "x.toml", "--fast"), "--fast"),
                                (("policies", "describe"), "AXIS/NAME"), (("generate", "opt-125m"), "--ids"),
                                (("generate", "opt-125m", "--ids", "1", "--block-size", "0"), "--block-size"),
                                (("generate", "opt-125m", "--ids", "1", "--method", "best"), "--method")]:
            with self.subTest(arguments):
                self.assertIn(text, self.pagelab(*arguments, code=2).stderr)

    def test_help_and_version_go_to_stdout(self):
        self.assertIn("run", self.pagelab("--help").stdout)
        self.assertIn("--set", self.pagelab("run", "--help").stdout)
        self.assertRegex(self.pagelab("--version").stdout, r"^pagelab \d+\.\d+\.\d+ ")

    def test_policies_lists_every_axis_with_its_default(self):
        text = self.pagelab("policies").stdout
        for axis in ("scheduling", "batching", "allocation", "preemption", "sharing", "eviction", "retention"):
            self.assertRegex(text, rf"(?m)^{axis}: .*\?$")
        self.assertEqual(text.count("(default)"), 7)

    def test_every_listed_policy_can_be_described(self):
        axis = None
        described = 0
        for line in self.pagelab("policies").stdout.splitlines():
            if not line.startswith(" "):
                axis = line.split(":")[0]
                continue
            text = self.pagelab("policies", "describe", f"{axis}/{line.split()[0]}").stdout
            self.assertIn("source: ", text)
            described += 1
        self.assertGreaterEqual(described, 10)
        self.assertIn("max_tokens = 2560", self.pagelab("policies", "describe", "batching/mixed").stdout)

    def test_an_unknown_policy_is_an_error_with_the_nearest_name(self):
        self.assertIn("did you mean 'mixed'", self.pagelab("policies", "describe", "batching/mixd", code=1).stderr)
        self.assertIn("did you mean 'batching'", self.pagelab("policies", "describe", "batchin/mixed", code=1).stderr)
        self.assertIn("AXIS/NAME", self.pagelab("policies", "describe", "mixed", code=1).stderr)

    def test_models_lists_the_shapes(self):
        text = self.pagelab("models").stdout
        for name in ("opt-125m", "opt-175b", "gpt2", "llama-2-70b", "tinyllama-1.1b"):
            self.assertIn(name, text)


class Configuration(PagelabTest):
    def assert_error(self, *texts, file=None, overrides=()):
        result, out = self.run_tiny("out", *overrides, file=file, code=1)
        self.assertTrue(result.stderr.startswith("pagelab: error: "), result.stderr)
        for text in texts:
            self.assertIn(text, result.stderr)
        self.assertFalse(out.exists())
        return result.stderr

    def test_every_key_of_the_quickstart_misspelt_is_an_error_with_its_place(self):
        lines = (SOURCE / "experiments" / "quickstart.toml").read_text().splitlines()
        tried = 0
        for number, line in enumerate(lines, start=1):
            key = re.match(r"(\w+) *=", line)
            if not key:
                continue
            wrong = key[1] + "x"
            text = "\n".join(lines[:number - 1] + [wrong + line[len(key[1]):]] + lines[number:])
            with self.subTest(line=line):
                error = self.assert_error(wrong, file=self.write("wrong.toml", text))
                self.assertIn(f"wrong.toml:{number}", error)
            tried += 1
        self.assertGreater(tried, 20)

    def test_a_missing_file_names_it(self):
        self.assert_error("nowhere.toml", file=self.folder / "nowhere.toml")

    def test_a_missing_model_folder_names_it(self):
        self.assert_error("no-such-model", overrides=["model.path=no-such-model"])

    def test_a_block_size_of_zero_says_what_is_valid(self):
        self.assert_error("block_size", "1", "256", overrides=["device.block_size=0"])

    def test_an_unknown_policy_says_what_is_valid(self):
        self.assert_error("policy.batching", "did you mean 'mixed'", overrides=["policy.batching.name=mixd"])

    def test_an_override_that_is_no_assignment_is_an_error(self):
        self.assert_error("seed", overrides=["seed"])

    def test_a_model_that_does_not_fit_says_what_it_needs_and_what_there_is(self):
        error = self.assert_error("opt-175b", "available", overrides=["model.path=", "model.shape=opt-175b"])
        self.assertRegex(error, r"together 3\d\d\.\d\d GB")

    def test_a_pool_that_does_not_fit_says_so(self):
        self.assert_error("device blocks", "available", overrides=["device.device_blocks=500000000"])

    def test_an_error_in_the_second_file_is_found_before_the_first_runs(self):
        wrong = self.write("wrong.toml", "sed = 1\n")
        self.pagelab("run", self.tiny, wrong, code=1)
        self.assertFalse((self.folder / "runs").exists())


class Generate(PagelabTest):
    def generate(self, model, ids, *arguments):
        result = self.pagelab("generate", model, "--ids", ",".join(map(str, ids)), *arguments)
        return json.loads(result.stdout)["sequences"]

    def test_greedy_gives_the_tokens_and_logprobs_of_the_golden_files(self):
        for name in ("opt", "opt-post-norm", "gpt2", "llama", "llama-gqa"):
            golden = json.loads((GOLDEN / f"{name}.json").read_text())
            for size in (1, 16):
                with self.subTest(name, block_size=size):
                    [sequence] = self.generate(GOLDEN / name, golden["prompt"], "--max-new",
                                               len(golden["greedy"]["tokens"]), "--block-size", size)
                    self.assertEqual(sequence["ids"], golden["greedy"]["tokens"])
                    for ours, theirs in zip(sequence["logprobs"], golden["greedy"]["logprobs"]):
                        self.assertAlmostEqual(ours, theirs, delta=1e-4 * max(1, abs(theirs)))

    def test_beam_search_gives_the_sequences_and_scores_of_the_golden_files(self):
        for name in ("opt", "gpt2", "llama-gqa"):
            golden = json.loads((GOLDEN / f"{name}.json").read_text())
            for beam in golden["beam"]:
                with self.subTest(name, eos=beam["eos"]):
                    eos = [] if beam["eos"] is None else ["--eos", beam["eos"]]
                    ours = self.generate(GOLDEN / name, golden["prompt"], "--method", "beam", "--n", beam["width"],
                                         "--max-new", beam["max_new_tokens"], "--length-penalty",
                                         beam["length_penalty"], *eos)
                    self.assertEqual([s["ids"] for s in ours], [s["tokens"] for s in beam["sequences"]])
                    for sequence, theirs in zip(ours, beam["sequences"]):
                        self.assertAlmostEqual(sequence["score"], theirs["score"], delta=1e-4)

    def test_random_samples_repeat_with_the_seed_and_differ_between_samples(self):
        arguments = ["--method", "random", "--n", 3, "--temperature", 1.5, "--top-k", 50, "--max-new", 20]
        one = self.generate(GOLDEN / "llama", [5, 6, 7], *arguments, "--seed", 4)
        self.assertEqual(one, self.generate(GOLDEN / "llama", [5, 6, 7], *arguments, "--seed", 4))
        self.assertNotEqual(one, self.generate(GOLDEN / "llama", [5, 6, 7], *arguments, "--seed", 5))
        self.assertEqual(len({tuple(sequence["ids"]) for sequence in one}), 3)

    def test_what_the_model_cannot_take_is_an_error(self):
        for ids, more, text in [("9999", (), "vocabulary"), ("1,2", ("--max-new", 4000), "positions"),
                                ("1", ("--n", 2), "greedy")]:
            with self.subTest(text):
                result = self.pagelab("generate", GOLDEN / "llama", "--ids", ids, *more, code=1)
                self.assertIn(text, result.stderr)
        self.assertIn("nowhere", self.pagelab("generate", "nowhere", "--ids", "1", code=1).stderr)


if __name__ == "__main__":
    unittest.main()
