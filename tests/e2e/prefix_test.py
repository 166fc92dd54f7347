"""The prefix cache on public traces: it serves exactly the prompt tokens that an independent LRU over whole blocks
serves, at every size, and pagelab serves them with either index where nothing is evicted.

The traces are looked for in $PAGELAB_SHARED or in shared/ beside the checkout.
"""

import collections
import json
import lzma
import os
import pathlib
import unittest

from support import SOURCE, PagelabTest

SHARED = pathlib.Path(os.environ.get("PAGELAB_SHARED", SOURCE.parent / "shared"))
PRESENT = (SHARED / "traces").is_dir()


def lru_hits(rows, block, capacity):
    """Prompt tokens found when each request's full blocks are used in order; a hit needs all earlier blocks."""
    cache = collections.OrderedDict()
    hits = 0
    for row in rows:
        blocks = row["hash_ids"][:row["input_length"] // block]
        for found, identity in enumerate(blocks):
            if identity not in cache or (found + 1) * block >= row["input_length"]:
                break  # the last token of a prompt is always computed
            hits += block
        for identity in blocks:
            cache[identity] = True
            cache.move_to_end(identity)
            if len(cache) > capacity:
                cache.popitem(last=False)
    return hits


@unittest.skipUnless(PRESENT or os.environ.get("CI") == "true", f"no traces in {SHARED}")
class Prefix(PagelabTest):
    def served(self, name, trace, blocks, sharing="prefix_hash"):
        self.assertTrue(PRESENT, f"no traces in {SHARED}, and CI must have them")
        out = self.folder / f"{name}-{blocks}-{sharing}"
        sets = [f"workload.lengths.file={SHARED / 'traces' / trace}", f"device.device_blocks={blocks + 1}",
                f"policy.sharing.name={sharing}", "output.steps=false", "output.trace=false"]
        self.pagelab("run", SOURCE / "experiments" / f"{name}.toml", "--quiet", "--out", out,
                     *[word for override in sets for word in ("--set", override)])
        return json.loads((out / "summary.json").read_text())["prefix_cache"]

    def rows(self, trace):
        with lzma.open(SHARED / "traces" / trace, "rt") as lines:
            return [json.loads(line) for line in lines]

    def test_few_shot_prompts_are_served_as_by_an_lru(self):
        trace = "prefix/bbh_cot_opt_blk16.jsonl.xz"
        for blocks, share in ((1000, 0.118), (2000, 0.894)):
            cache = self.served("prefix_cache_bbh", trace, blocks)
            self.assertEqual(cache["hit_tokens"], lru_hits(self.rows(trace), 16, blocks), blocks)
            self.assertAlmostEqual(cache["hit_share"], share, 3)

    def test_both_indexes_find_the_same_where_nothing_is_evicted(self):
        trace = "prefix/bbh_cot_opt_blk16.jsonl.xz"
        by_hash, by_radix = (self.served("prefix_cache_bbh", trace, 400000, f"prefix_{index}") for index in ("hash", "radix"))
        self.assertEqual(by_hash, by_radix)
        self.assertEqual(by_hash["evictions"], 0)
        self.assertAlmostEqual(by_hash["hit_share"], 0.911, 3)

    def test_the_longest_cached_prefix_first_finds_more_than_first_come_first_served(self):
        trace = "prefix/bbh_cot_opt_blk16.jsonl.xz"
        found = {}
        for scheduling in ("fcfs", "lpm"):
            out = self.folder / scheduling
            self.pagelab("run", SOURCE / "experiments" / "prefix_bbh.toml", "--quiet", "--out", out, "--set", "workload.requests=300",
                         "--set", f"workload.lengths.file={SHARED / 'traces' / trace}",
                         "--set", f"policy.scheduling.name={scheduling}")
            found[scheduling] = json.loads((out / "summary.json").read_text())["prefix_cache"]["hit_share"]
        self.assertGreater(found["lpm"], found["fcfs"] + 0.2)

    def test_conversations_are_served_as_by_an_lru(self):
        trace = "mooncake_conversation.jsonl.xz"
        cache = self.served("prefix_cache_mooncake", trace, 10000)
        self.assertEqual(cache["hit_tokens"], lru_hits(self.rows(trace), 512, 10000))
        self.assertAlmostEqual(cache["hit_share"], 0.219, 3)


if __name__ == "__main__":
    unittest.main()
