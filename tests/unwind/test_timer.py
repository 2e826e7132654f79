"""Timer samples of four threads that do ordinary work and throw: who is complete, and where the others are."""

import os
import pathlib
import re
import subprocess
import unittest

import harness

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
BUILD = pathlib.Path(os.environ.get("PROF_BUILD_DIR", harness.ROOT / "build" / "unwind")) / "timer"
SOURCES = ("timer_samples", "workloads", "regexes")
WALKS = 500000 if os.environ.get("PROF_LONG") else 50000


def program(compiler, *flags):
    BUILD.mkdir(parents=True, exist_ok=True)
    output = BUILD / f"timer_{compiler}{''.join(flags)}"
    sources = [PROGRAMS / f"{source}.cpp" for source in SOURCES]
    subprocess.run([harness.tool(compiler), "-std=c++17", *flags, "-I", harness.TREE, *sources, "-o", output,
                    "-pthread", "-ldl"], check=True)
    return output


class Timer(unittest.TestCase):
    def check(self, path):
        text = harness.run(path, WALKS, timeout=300).stdout
        walks, complete, approximate, without_main, guessed = map(int, re.match(
            r"walks (\d+) complete (\d+) approximate (\d+) without_main (\d+) guessed (\d+)\n",
            text).groups())
        lost = re.findall(r"^lost (.*)$", text, re.MULTILINE)
        print(f"\n{path.name}: {complete} of {walks} complete, {approximate} approximate", end=" ")
        self.assertGreaterEqual(walks, WALKS)
        self.assertEqual(without_main + guessed, 0,
                         "complete by its mark, but not through the thread's function")
        self.assertGreaterEqual(complete, 0.999 * walks, lost)
        self.assertLessEqual(approximate, 0.001 * walks)
        self.assertEqual(len(lost), walks - complete)

    def test_gcc(self):
        self.check(program("g++", "-O2"))

    def test_clang(self):
        self.check(program("clang++", "-O2"))


if __name__ == "__main__":
    unittest.main()
