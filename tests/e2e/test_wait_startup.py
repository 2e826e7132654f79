"""First calls of hooks of waits at the worst of times: inside malloc before main, and beside a thread in dlopen.

A hook that allocated, took a lock or asked the loader there would hang; each program must end long before its time
is out.
"""

import re
import unittest

from support import harness, pprof_check
from support.pprof_check import delays

SECONDS = 20  # what takes a fraction of one


class FirstLockInMalloc(unittest.TestCase):
    """A program whose own malloc takes a mutex that four threads contend for."""

    def check(self, name, **how):
        program = harness.build(["malloc_lock.cpp"], name, with_whole=True, **how)
        profile, status = (program.with_name(f"{name}.{suffix}") for suffix in ("pb.gz", "status"))
        printed = harness.run(program, profile, status, timeout=SECONDS).stdout
        said = {word: float(number) for word, number in map(str.split, printed.splitlines())}
        self.assertGreaterEqual(said["first"], 2)
        self.assertGreater(said["overlap"], 250)  # even if each thread makes its ten calls in one go
        parsed = pprof_check.parse(profile.read_bytes())
        self.assertEqual(pprof_check.validate(parsed, "mutex"), [])
        self.check_counted(parsed, said, status.read_text())

    def check_counted(self, profile, said, status):
        count, delay = delays(profile, "allocate")
        left_out = sum(map(int, re.findall(r"^  (\d+)  (?:stacks|waits|samples)", status, re.M)))
        self.assertGreaterEqual(count + left_out, 20)
        self.assertLess(delay / 1e6, said["waited"] + 1)
        if left_out == 0:
            self.assertGreater(delay / 1e6, 0.95 * said["overlap"])
        self.assertRegex(status, r"\n  pthread_mutex_lock: live - ")

    def test_gcc(self):
        self.check("malloc_lock_gcc")

    def test_clang(self):
        self.check("malloc_lock_clang", compiler="clang++", optimize="-O2")


class FirstCallBesideDlopen(unittest.TestCase):
    """A thread is in dlopen and holds the loader's lock until another has made its first call of a hook."""

    def check(self, name, **how):
        library = harness.build(["loading_library.cpp"], f"{name}.so", flags=["-fPIC", "-shared"])
        program = harness.build(["loading_main.cpp"], name, libraries=["-rdynamic", "-ldl"], with_whole=True, **how)
        for call in ("mutex", "rwlock", "cond", "semaphore", "barrier", "once", "futex", "join"):
            with self.subTest(build=name, call=call):
                self.assertEqual(harness.run(program, library, call, timeout=SECONDS).stdout, f"{call} 0 loaded\n")

    def test_gcc(self):
        self.check("loading_gcc")

    def test_clang(self):
        self.check("loading_clang", compiler="clang++", optimize="-O2")


if __name__ == "__main__":
    unittest.main()
