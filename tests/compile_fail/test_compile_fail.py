#!/usr/bin/env python3
"""What must not compile does not, and the compiler's words lead to the mistake.

    tests/compile_fail/test_compile_fail.py [-v]

Every *.cpp here is compiled twice with each compiler: with PROF_COMPILE_FAIL=0 it must compile (so
that it cannot fail for another reason), with 1 it must fail with one error and the text of its
`// expect:` line in the compiler's words. Where the switches are the default ones the header is
precompiled, which saves half of the time.
"""

import concurrent.futures
import itertools
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
TREE = HERE.parents[1] / os.environ.get("PROF_TEST_TREE", "include")
COMPILERS = os.environ.get("PROF_COMPILERS", "g++ clang++").split()
INCLUDE = '#include "prof/prof.hpp"\n'
SWITCHES = ("CPU", "HEAP", "HTTP", "SYMBOLIZE")


def compile_text(compiler, source, *flags):
    """Return code and messages of a compilation without output."""
    path = shutil.which(compiler)
    if path is None:
        raise RuntimeError(f"{compiler} is needed by this test and is not installed")
    output = () if "-E" in flags else ("-fsyntax-only",)
    command = [path, "-std=c++17", *output, "-Wall", "-Wextra", "-Werror",
               "-fdiagnostics-color=never", "-I", str(TREE), *flags, "-x", "c++", "-"]
    done = subprocess.run(command, input=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, env={**os.environ, "LC_ALL": "C"})
    return done.returncode, done.stdout


def precompiled(compiler, place):
    """Flags that give a file the header as if it were its first line."""
    header = pathlib.Path(place) / compiler / "precompiled.hpp"
    header.parent.mkdir()
    header.write_text(INCLUDE)
    binary = f"{header}.gch" if compiler.startswith("g++") else f"{header}.pch"
    subprocess.run([shutil.which(compiler), "-std=c++17", "-Wall", "-Wextra", "-I", TREE, "-x", "c++-header",
                    header, "-o", binary], check=True)
    if compiler.startswith("g++"):
        return ("-Winvalid-pch", "-include", str(header))
    return ("-include-pch", binary)


def compile_all(jobs):
    """Runs (compiler, source, flags...) jobs, two at a time; their answers in order."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: compile_text(*job), jobs))


class CompileFail(unittest.TestCase):
    def test_every_file(self):
        files = sorted(HERE.glob("*.cpp"))
        self.assertGreater(len(files), 20)
        cases = list(itertools.product(files, COMPILERS))
        text = {file: file.read_text(encoding="ascii") for file in files}
        # The preprocessor finds mistakes of configuration; the rest of such a compilation is the
        # same in all of them and done below, in Switches.
        only = ("-E", "-o", os.devnull)
        with tempfile.TemporaryDirectory() as place:
            header = {c: precompiled(c, place) for c in COMPILERS}
            more = [only if f.name.startswith("config_") else header[c] for f, c in cases]
            good = compile_all([(c, text[f], "-DPROF_COMPILE_FAIL=0", "-Wundef", *flags)
                                for (f, c), flags in zip(cases, more)])
            bad = compile_all([(c, text[f], "-DPROF_COMPILE_FAIL=1", *flags)
                               for (f, c), flags in zip(cases, more)])
        for (file, compiler), (good_code, good_words), (bad_code, bad_words) in zip(
                cases, good, bad):
            with self.subTest(file=file.name, compiler=compiler):
                expected = re.search(r"^// expect: (.+)$", text[file], re.M)
                self.assertIsNotNone(expected, "has no // expect: line")
                self.assertEqual(good_code, 0, "must compile with 0:\n" + good_words[:2000])
                self.assertNotEqual(bad_code, 0, "must not compile with 1")
                errors = re.findall(r"^\S+ (?:fatal )?error: .*", bad_words, re.M)
                self.assertIn(expected[1], bad_words)
                self.assertEqual(len(errors), 1, "more than one error:\n" + bad_words[:2000])


class Switches(unittest.TestCase):
    def expect_all_compile(self, jobs):
        for job, (code, words) in zip(jobs, compile_all(jobs)):
            with self.subTest(compiler=job[0], flags=job[2:]):
                self.assertEqual(code, 0, words[:2000])

    def test_empty_0_and_1_all_compile(self):
        turns = itertools.cycle(COMPILERS)
        self.expect_all_compile([
            (next(turns), INCLUDE, f"-DPROF_ENABLE_{switch}={value}", "-Wundef")
            for switch, value in itertools.product(SWITCHES, ("", "0", "1"))])

    def test_every_combination_of_on_and_off_compiles(self):
        turns = itertools.cycle(itertools.product(COMPILERS, ("interpose", "none")))
        jobs = []
        for values in itertools.product("01", repeat=len(SWITCHES)):
            compiler, hooks = next(turns)
            flags = [f"-DPROF_ENABLE_{s}={v}" for s, v in zip(SWITCHES, values)]
            jobs.append((compiler, INCLUDE, *flags, f"-DPROF_HOOKS={hooks}", "-Wundef"))
        self.expect_all_compile(jobs)

    def test_a_switch_is_what_it_says(self):
        text = INCLUDE
        for switch in SWITCHES:
            text += f"static_assert(PROF_DETAIL_WITH_{switch} == EXPECTED_{switch});\n"
        jobs = []
        for compiler, (value, fact) in itertools.product(COMPILERS, (("", 1), ("0", 0), ("1", 1))):
            flags = []
            for switch in SWITCHES:
                flags += [f"-DPROF_ENABLE_{switch}={value}", f"-DEXPECTED_{switch}={fact}"]
            jobs.append((compiler, text, *flags))
        self.expect_all_compile(jobs)

    def test_defaults(self):
        text = INCLUDE + ("static_assert(PROF_DETAIL_WITH_CPU == 1 && PROF_DETAIL_WITH_HEAP == 1);\n"
                          "static_assert(PROF_DETAIL_WITH_SYMBOLIZE == 1);\n"
                          "static_assert(PROF_DETAIL_WITH_HTTP == 0);\n"
                          "static_assert(PROF_DETAIL_WITH_INTERPOSE == 1);\n")
        self.expect_all_compile([(compiler, text) for compiler in COMPILERS])

    def test_what_is_off_is_not_there(self):
        missing = (("HTTP", "prof::http::stop();"),
                   ("HEAP", "(void)&prof::detail::set_heap_rate;"),
                   ("CPU", "(void)&prof::detail::begin_cpu;"),
                   ("SYMBOLIZE", "(void)&prof::detail::name_addresses;"))
        for compiler, (switch, call) in itertools.product(COMPILERS, missing):
            text = INCLUDE + "void use() { " + call + " }\n"
            with self.subTest(compiler=compiler, switch=switch):
                self.assertEqual(compile_text(compiler, text, f"-DPROF_ENABLE_{switch}")[0], 0)
                self.assertNotEqual(compile_text(compiler, text, f"-DPROF_ENABLE_{switch}=0")[0], 0)


if __name__ == "__main__":
    unittest.main()
