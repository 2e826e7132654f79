"""Files of one program may have different switches and flags: the union of the switches wins.

The file that asks for a heap profile has the heap, the symbolizer and everything else off. Another
one brings them and is used for nothing. The only bond are the parts' weak descriptors, see
process/part.hpp: neither the order of linking nor link-time optimisation may lose them.
"""

import itertools
import unittest

from headers import PROGRAMS
from support import pprof_check
from support.compiling import COMPILERS, TREES, heap_profile, must
from support.harness import LONG, fresh_directory, in_parallel, run

FILES = ("switches_all", "switches_none")
OPTIMIZE = (("-O0",), *([("-O2",)] if LONG else []), ("-O1", "-flto"))  # the two that differ most


class Build:
    """The objects of one compiler and optimisation, to be linked in either order."""

    def __init__(self, compiler, optimize):
        self.compiler = compiler
        # -Werror when linking too: -Wodr and -Wlto-type-mismatch see what the compiler cannot.
        self.flags = ("-std=c++17", "-pthread", "-fno-omit-frame-pointer", "-Werror", *optimize)
        self.directory = fresh_directory(f"switches_{compiler}{''.join(optimize)}")

    def compile(self, name):
        must(self.compiler, *self.flags, "-I", TREES["include"], "-c", PROGRAMS / f"{name}.cpp",
             "-o", self.directory / f"{name}.o")

    def link(self, order):
        objects = [self.directory / f"{name}.o" for name in order]
        program = self.directory / f"{order[0]}_first"
        must(self.compiler, *self.flags, *objects, "-o", program)
        return program


class Union(unittest.TestCase):
    def test_a_part_of_another_file_is_used(self):
        builds = [Build(*case) for case in itertools.product(COMPILERS, OPTIMIZE)]
        in_parallel(lambda job: job[0].compile(job[1]), list(itertools.product(builds, FILES)))
        links = list(itertools.product(builds, (FILES, FILES[::-1])))
        for (build, order), program in zip(links, in_parallel(lambda job: job[0].link(job[1]),
                                                              links)):
            with self.subTest(program=str(program), flags=build.flags[-2:], order=order):
                self.check(program)

    def check(self, program):
        paths = [program.with_suffix(f".{number}.pb.gz") for number in (1, 2)]
        run(program, *paths)
        for path in paths:
            profile = heap_profile(path)
            self.assertEqual(pprof_check.find(profile, "^main_allocates"), 1000)
            self.assertEqual(pprof_check.find(profile, "^main$"), 1000)


class Exceptions(unittest.TestCase):
    def build(self, compiler):
        """The file without exceptions first: its inline functions are the ones the linker keeps."""
        directory = fresh_directory(f"exceptions_{compiler}")
        flags = ("-std=c++17", "-O0", "-pthread", "-I", TREES["include"])
        for name, more in (("exceptions_off", ["-fno-exceptions"]), ("exceptions_on", [])):
            must(compiler, *flags, *more, "-c", PROGRAMS / f"{name}.cpp",
                 "-o", directory / f"{name}.o")
        program = directory / "program"
        must(compiler, "-pthread", directory / "exceptions_off.o", directory / "exceptions_on.o",
             "-o", program)
        return program

    def test_a_throwing_stream_beside_a_file_without_exceptions(self):
        """What a user's stream throws is an error of the call, not the end of the program."""
        for compiler, program in zip(COMPILERS, in_parallel(self.build, COMPILERS)):
            with self.subTest(compiler=compiler):
                run(program, program.with_suffix(".pb.gz"))


if __name__ == "__main__":
    unittest.main()
