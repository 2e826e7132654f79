#!/usr/bin/env python3
"""A program for a system that prof does not know compiles, runs, and gets error values.

    tests/e2e/test_bare.py [-v]

The bare backend is chosen by hiding __linux__ from the compiler.
"""

import unittest

from support import harness


class Bare(unittest.TestCase):
    def test_every_call_answers(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                program = harness.build(["bare.cpp"], f"bare_{compiler.rstrip('+')}", compiler,
                                        flags=["-U__linux__", "-Wall", "-Wextra", "-Werror"])
                done = harness.run(program, check=False)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("0 failures", done.stdout)

    def test_no_foreign_symbol_is_defined(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                program = harness.build(["bare.cpp"], f"bare_{compiler.rstrip('+')}", compiler,
                                        flags=["-U__linux__", "-Wall", "-Wextra", "-Werror"])
                symbols = harness.command("nm", "--defined-only", program)
                names = {line.split()[-1].split("@")[0] for line in symbols.splitlines()}
                for name in ("malloc", "free", "_Znwm", "_ZdlPv", "pthread_create"):
                    self.assertNotIn(name, names)


if __name__ == "__main__":
    unittest.main()
