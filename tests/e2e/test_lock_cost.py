"""What a lock that nobody else wants costs with prof in the process, in instructions, which repeat exactly."""

import re
import subprocess
import unittest

from support import harness

# What a pair of calls may cost more than without prof while the profiles are on: 12 is the aim. clang 14 loads a route
# and then jumps, where g++ jumps through memory; a reader's or a writer's look at the word takes one or two more.
MOST_ON = {
    "g++": {"plain": 12, "recursive": 12, "errorcheck": 12, "pi": 12, "robust": 12, "read": 12, "write": 12},
    "clang++": {"plain": 15, "recursive": 15, "errorcheck": 15, "pi": 15, "robust": 15, "read": 16, "write": 16},
}
MOST_OFF = 4


def instructions(program, *arguments):
    """Those in the loop over pairs and in what it calls."""
    done = subprocess.run([harness.tool("valgrind"), "--tool=callgrind", "--toggle-collect=*pairs_of*",
                           "--callgrind-out-file=/dev/null", program, *map(str, arguments)],
                          stderr=subprocess.PIPE, text=True, timeout=120, check=True)
    return int(re.search(r"Collected : (\d+)", done.stderr)[1])


def of_a_pair(program, kind, *rates):
    """What is done once, such as the search for the next definition, is the same for any number of pairs."""
    fewer, more = 1000, 2000
    return (instructions(program, kind, more, *rates) - instructions(program, kind, fewer, *rates)) / (more - fewer)


class LockCost(unittest.TestCase):
    def check(self, compiler):
        how = {"compiler": compiler, "optimize": "-O2"}
        plain = harness.build(["lock_pairs.cpp"], f"lock_pairs_{compiler}", **how)
        profiled = harness.build(["lock_pairs.cpp"], f"lock_pairs_profiled_{compiler}", with_whole=True, **how)
        for kind, most_on in MOST_ON[compiler].items():
            with self.subTest(lock=kind):
                without = of_a_pair(plain, kind)
                off, on = (of_a_pair(profiled, kind, *rates) - without for rates in ((), (1, 1)))
                self.assertLessEqual(off, MOST_OFF)
                self.assertLessEqual(on, most_on)
                self.assertGreater(on, off)  # the hooks are there

    def test_gcc(self):
        self.check("g++")

    def test_clang(self):
        self.check("clang++")


if __name__ == "__main__":
    unittest.main()
