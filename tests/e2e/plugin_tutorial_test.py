"""The tutorial docs/first-eviction-policy.md, word for word: its files are written, its commands run, in their order."""

import os
import pathlib
import re
import subprocess
import unittest

from support import PROGRAM, SOURCE, PagelabTest

TUTORIAL = SOURCE / "docs" / "first-eviction-policy.md"


def parts(text):
    """The fenced blocks in order, as (language, content, the file that the sentence before it names last)."""
    found = []
    for match in re.finditer(r"```(\w*)\n(.*?)```\n", text, re.DOTALL):
        sentence = text[:match.start()].rstrip().rsplit("\n\n", 1)[-1]
        files = re.findall(r"into `([^`]+)`:$", sentence)
        found.append((match.group(1), match.group(2), files[-1] if files else None))
    return found


class Tutorial(PagelabTest):
    def test_every_command_and_file_of_it_works(self):
        script = ["set -euo pipefail"]
        commands = 0
        for language, content, file in parts(TUTORIAL.read_text()):
            if language == "sh":
                script.append(content)
                commands += len(content.splitlines())
            else:
                self.assertIsNotNone(file, f"no file is named for:\n{content}")
                script.append(f"cat > {file} <<'END_OF_FILE'\n{content}END_OF_FILE")
        self.assertGreaterEqual(commands, 10)
        checkout = self.folder / "checkout"
        (checkout / "build").mkdir(parents=True)
        (checkout / "build" / "release").symlink_to(pathlib.Path(PROGRAM).parent)
        environment = {**os.environ, "HOME": str(self.folder / "home"), "CXX": os.environ["PAGELAB_CXX"]}
        result = subprocess.run(["bash", "-c", "\n".join(script)], cwd=checkout, env=environment, capture_output=True, text=True,
                                timeout=300)
        self.assertEqual(result.returncode, 0, f"stdout: {result.stdout}\nstderr: {result.stderr}")
        for text in ("100% tests passed", "eviction/keep_roots: least recently used, deep blocks sooner", "depth_weight = 4.0",
                     '"census"', "never differed from lru"):
            self.assertIn(text, result.stdout)
        self.assertEqual(result.stdout.count("200 finished"), 3)


if __name__ == "__main__":
    unittest.main()
