#!/usr/bin/env python3
"""For each remedy the edit that takes it out, and the unit test that must fail then.

    cd tests && python3 -m unittest mutation.test_mutation      tools/test --mutate does it, too

The gate sees only that each edit can still be made (Texts).

A mutant is a text that occurs once in a header and what stands there instead (unwinder.py, house.py,
identity.py, names.py, waits.py). Its unit test file is compiled with that header before the others, and must build, and end in a failure,
a crash or no end within LIMIT. Without any mutant the same files must pass.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import unittest
from typing import List

from mutation import house, identity, names, unwinder, waits
from support.harness import BUILD, ROOT

INCLUDE = ROOT / "include"
UNIT = ROOT / "tests" / "unit"
MUTANTS: List[unwinder.Mutant] = unwinder.MUTANTS + house.MUTANTS + identity.MUTANTS + names.MUTANTS + waits.MUTANTS
FLAGS = ["-std=c++17", "-O0", "-pthread"]
LIMIT = 30  # seconds; a whole file of tests takes one or two


def run(command, limit=None) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit,
                          text=True, errors="replace")


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def build(name: str, test: str, overlay: List[pathlib.Path]) -> pathlib.Path:
    program = BUILD / name
    includes = [word for path in [*overlay, INCLUDE, UNIT] for word in ("-I", path)]
    whole = [UNIT / "whole.cpp"] if '"prof/api.hpp"' in (UNIT / test).read_text() else []
    done = run(["g++", *FLAGS, *includes, UNIT / test, *whole, BUILD / "main.o", "-o", program, "-ldl"])
    if done.returncode != 0:
        raise AssertionError(f"{name} does not build:\n{done.stdout[-3000:]}")
    return program


def passes(program: pathlib.Path) -> bool:
    """False: a test failed, the program crashed, or it had no end. At least one test must have run."""
    try:
        done = run([program], LIMIT)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and re.search(r"test cases: +[1-9]", done.stdout) is not None


def is_noticed(mutant: unwinder.Mutant) -> bool:
    source = (INCLUDE / "prof" / mutant.header).read_text()
    name = slug(mutant.name)
    header = BUILD / f"{name}.include" / "prof" / mutant.header
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(source.replace(mutant.before, mutant.after))
    return not passes(build(name, mutant.test, [BUILD / f"{name}.include"]))


class Texts(unittest.TestCase):
    def test_each_occurs_once(self):
        for mutant in MUTANTS:
            with self.subTest(mutant.name):
                self.assertEqual((INCLUDE / "prof" / mutant.header).read_text().count(mutant.before), 1)

    def test_names_are_distinct(self):
        names = [slug(mutant.name) for mutant in MUTANTS]
        self.assertEqual(len(set(names)), len(names))


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        shutil.rmtree(BUILD, ignore_errors=True)
        BUILD.mkdir(parents=True)
        done = run(["g++", *FLAGS, "-c", UNIT / "main.cpp", "-I", INCLUDE, "-o", BUILD / "main.o"])
        assert done.returncode == 0, done.stdout
        cls.pool = concurrent.futures.ThreadPoolExecutor(max(1, os.cpu_count() or 1))
        tests = sorted({mutant.test for mutant in MUTANTS})
        cls.unchanged = {test: cls.pool.submit(lambda t=test: passes(build(slug(t), t, []))) for test in tests}
        cls.noticed = {mutant.name: cls.pool.submit(is_noticed, mutant) for mutant in MUTANTS}

    @classmethod
    def tearDownClass(cls):
        cls.pool.shutdown()

    def test_without_a_mutant_all_pass(self):
        for test, passed in self.unchanged.items():
            with self.subTest(test):
                self.assertTrue(passed.result(), f"{test} fails as it is, so it can tell nothing")


def add_test(mutant: unwinder.Mutant) -> None:
    def test(self):
        self.assertTrue(self.noticed[mutant.name].result(),
                        f"{mutant.test} passes although {mutant.header} has: {mutant.name}")

    setattr(Mutants, f"test_{slug(mutant.name)}", test)


for one in MUTANTS:
    add_test(one)

if __name__ == "__main__":
    unittest.main()
