"""`pagelab cache-sim` as a user runs it: the table, the CSV file, the same bytes twice, and errors."""

import random
import struct
import unittest

from support import PagelabTest, rows


class CacheSim(PagelabTest):
    def setUp(self):
        super().setUp()
        draw = random.Random(1)
        ids = [int(300 * draw.random() ** 3) for _ in range(20000)]
        self.trace = self.folder / "trace.u32"
        self.trace.write_bytes(struct.pack(f"<{len(ids)}I", *ids))

    def test_stdout_and_csv_are_the_same_twice_and_speed_goes_to_stderr(self):
        arguments = ["cache-sim", self.trace, "--capacity", 20, "--capacity", 100]
        first = self.pagelab(*arguments, "--csv", "first.csv")
        second = self.pagelab(*arguments, "--csv", "second.csv")
        self.assertEqual(first.stdout, second.stdout)
        self.assertEqual((self.folder / "first.csv").read_bytes(), (self.folder / "second.csv").read_bytes())
        self.assertNotIn("references/s", first.stdout)
        self.assertIn("million references/s", first.stderr)
        table = rows(self.folder / "first.csv")
        self.assertEqual(len(table), 12 * 2)
        for row in table:
            self.assertGreaterEqual(float(row["regret"]), 0, row)
            self.assertEqual(row["tokens_served"], "")
        ratios = {(row["policy"], row["capacity_blocks"]): row["miss_ratio"] for row in table}
        self.assertEqual(len(set(ratios.values())), 11 * 2, "without prompts cost is lru; all others differ")

    def test_options_may_stand_before_the_trace(self):
        result = self.pagelab("cache-sim", "--policy", "lru", "--policy", "twoq", "--set", "twoq.in=0.5", "--capacity", 20, self.trace)
        self.assertEqual([line.split()[0] for line in result.stdout.splitlines()], ["policy", "lru", "twoq"])

    def test_errors_say_what_is_valid(self):
        def error(*arguments):
            return self.pagelab("cache-sim", *arguments, code=1).stderr

        self.assertIn("missing.u32: no such file", error("missing.u32", "--capacity", 5))
        self.assertIn("did you mean 'sieve'?", error(self.trace, "--capacity", 5, "--policy", "siev"))
        self.assertIn("valid: 1 to 2147483647 blocks", error(self.trace, "--capacity", 0))
        self.assertIn("at most 64", error(self.trace, "--capacity", 5, "--policy", "slru", "--set", "slru.segments=65"))
        self.assertIn("cannot", error(self.trace, "--capacity", 5, "--csv", "none/table.csv"))
        self.pagelab("cache-sim", self.trace, code=2)


if __name__ == "__main__":
    unittest.main()
