#!/usr/bin/env python3
"""What must not compile does not, and the compiler's words lead to the mistake.

    tests/compile_fail/test_compile_fail.py [-v]

Every *.cpp here is compiled twice with each compiler: with PROF_COMPILE_FAIL=0 it must compile (so
that it cannot fail for another reason), with 1 it must fail with the text of its `// expect:` line.
"""

import itertools
import os
import pathlib
import re
import shutil
import subprocess
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1] / os.environ.get("PROF_TEST_TREE", "include")
COMPILERS = os.environ.get("PROF_COMPILERS", "g++ clang++").split()
SWITCHES = ("CPU", "HEAP", "HTTP", "SYMBOLIZE")


def compile_text(compiler, source, *flags):
    """Return code and messages of a compilation without output; source is a path or program text."""
    path = shutil.which(compiler)
    if path is None:
        raise RuntimeError(f"{compiler} is needed by this test and is not installed")
    command = [path, "-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wundef", "-Werror",
               "-fdiagnostics-color=never", "-I", str(TREE), *flags, "-x", "c++"]
    text = source.read_text(encoding="ascii") if isinstance(source, pathlib.Path) else source
    done = subprocess.run([*command, "-"], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={**os.environ, "LC_ALL": "C"})
    return done.returncode, done.stdout


class CompileFail(unittest.TestCase):
    def test_every_file(self):
        files = sorted(HERE.glob("*.cpp"))
        self.assertGreater(len(files), 20)
        for file, compiler in itertools.product(files, COMPILERS):
            with self.subTest(file=file.name, compiler=compiler):
                expected = re.search(r"^// expect: (.+)$", file.read_text(encoding="ascii"), re.M)
                self.assertIsNotNone(expected, "has no // expect: line")
                code, messages = compile_text(compiler, file, "-DPROF_COMPILE_FAIL=0")
                self.assertEqual(code, 0, "must compile with 0:\n" + messages[:2000])
                code, messages = compile_text(compiler, file, "-DPROF_COMPILE_FAIL=1")
                self.assertNotEqual(code, 0, "must not compile with 1")
                errors = [line for line in messages.splitlines() if "error" in line]
                self.assertTrue(any(expected[1] in line for line in errors),
                                f"no error says {expected[1]!r}:\n" + messages[:2000])

    def test_a_config_mistake_is_the_only_error(self):
        for compiler in COMPILERS:
            with self.subTest(compiler=compiler):
                code, messages = compile_text(compiler, HERE / "config_hooks_bogus.cpp",
                                              "-DPROF_COMPILE_FAIL=1")
                self.assertNotEqual(code, 0)
                errors = [line for line in messages.splitlines() if "error:" in line]
                self.assertEqual(len(errors), 1, messages[:2000])


class Switches(unittest.TestCase):
    def test_empty_0_and_1_all_compile(self):
        values = ("", "0", "1")
        for compiler, switch, value in itertools.product(COMPILERS, SWITCHES, values):
            with self.subTest(compiler=compiler, switch=switch, value=value):
                flag = f"-DPROF_ENABLE_{switch}={value}"
                code, messages = compile_text(compiler, '#include "prof/prof.hpp"\n', flag)
                self.assertEqual(code, 0, messages[:2000])

    def test_every_combination_of_on_and_off_compiles(self):
        compilers = itertools.cycle(COMPILERS)
        for values in itertools.product("01", repeat=len(SWITCHES)):
            for hooks in ("interpose", "none"):
                compiler = next(compilers)
                flags = [f"-DPROF_ENABLE_{s}={v}" for s, v in zip(SWITCHES, values)]
                flags.append(f"-DPROF_HOOKS={hooks}")
                with self.subTest(compiler=compiler, flags=flags):
                    code, messages = compile_text(compiler, '#include "prof/prof.hpp"\n', *flags)
                    self.assertEqual(code, 0, messages[:2000])

    def test_the_facts_are_0_or_1(self):
        text = '#include "prof/prof.hpp"\n'
        for switch in SWITCHES:
            text += (f"static_assert(PROF_DETAIL_WITH_{switch} == EXPECTED_{switch});\n")
        for compiler, (value, fact) in itertools.product(COMPILERS, (("", 1), ("0", 0), ("1", 1))):
            flags = []
            for switch in SWITCHES:
                flags += [f"-DPROF_ENABLE_{switch}={value}", f"-DEXPECTED_{switch}={fact}"]
            with self.subTest(compiler=compiler, value=value):
                code, messages = compile_text(compiler, text, *flags)
                self.assertEqual(code, 0, messages[:2000])

    def test_defaults(self):
        text = ('#include "prof/prof.hpp"\n'
                "static_assert(PROF_DETAIL_WITH_CPU && PROF_DETAIL_WITH_HEAP);\n"
                "static_assert(PROF_DETAIL_WITH_SYMBOLIZE && !PROF_DETAIL_WITH_HTTP);\n"
                "static_assert(PROF_DETAIL_WITH_INTERPOSE);\n")
        for compiler in COMPILERS:
            code, messages = compile_text(compiler, text)
            self.assertEqual(code, 0, messages[:2000])


if __name__ == "__main__":
    unittest.main()
