"""What locks of every type answer to use and misuse, with and without prof: line by line the same.

One program that knows nothing of prof (programs/lock_types*.cpp) prints its matrix alone, with hooks whose rates are 0,
and with both profiles counting everything; for each kind of build what it prints alone is what the others must print.
"""

import difflib
import re
import unittest

from support import harness

SOURCES = [f"lock_types{part}.cpp" for part in ("", "_mutex", "_cond", "_rwlock", "_wait", "_signal")]
# Every family of answers has at least so many lines.
LEAST = {r"^(normal|recursive|errorcheck|adaptive) .* lock=": 500, r"^rwlock ": 150, r"^semaphore ": 15,
         r"=EOWNERDEAD": 100, r"=ENOTRECOVERABLE": 30, r"=EDEADLK": 20, r"=EPERM": 50, r"=EINVAL": 100,
         r"cancelled=1": 40}


def values(status):
    return {name: int(number) for name, number in re.findall(r"^(.+): (\d+)$", status, re.M)}


class LockTypes(unittest.TestCase):
    def run_alone(self, name, **how):
        printed = harness.run(harness.build(SOURCES, f"{name}_alone", **how)).stdout.splitlines()
        for pattern, least in LEAST.items():
            self.assertGreaterEqual(sum(re.search(pattern, line) is not None for line in printed), least, pattern)
        return printed

    def check_same(self, alone, hooked):
        difference = list(difflib.unified_diff(alone, hooked, "alone", "with prof", lineterm="", n=0))
        if difference:
            self.fail("\n".join(difference[:20]))

    def run_with(self, program, rate):
        status = program.with_name(f"{program.name}_{rate}.status")
        printed = harness.run(program, rate, status).stdout.splitlines()
        return printed, status.read_text()

    def check(self, name, **how):
        alone = self.run_alone(name, **how)
        program = harness.build([*SOURCES, "lock_types_prof.cpp"], name, with_whole=True, **how)
        for rate in (0, 1):
            with self.subTest(build=name, rate=rate):
                printed, status = self.run_with(program, rate)
                self.check_same(alone, printed)
                self.assertIn("  pthread_mutex_lock: live - ", status)
                for profile in ("mutex", "block"):
                    self.assertEqual(values(status)[f"{profile} samples"] > 100, rate == 1)

    def test_gcc(self):
        self.check("lock_types_gcc", optimize="-O2")

    def test_clang(self):
        self.check("lock_types_clang", compiler="clang++", optimize="-O2")

    def test_no_exceptions(self):
        self.check("lock_types_plain", optimize="-O0", flags=["-fno-exceptions", "-fno-rtti"])

    def test_static(self):
        self.check("lock_types_static", flags=["-static"])


if __name__ == "__main__":
    unittest.main()
