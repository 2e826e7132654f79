"""prof in the global module fragment of a C++20 module, and the module in a program.

The code of the module's own unit may use all of prof, and so may exported inline functions: they go through the
table of functions, and need none of prof's thread-local variables in the importing unit but for record_alloc.
"""

import unittest

from headers import PROGRAMS
from support import pprof_check
from support.compiling import (TREES, Job, compile_one, find_compilers, heap_profile, is_clang, labels_of, must,
                               newest_of_each)
from support.harness import fresh_directory, in_parallel, run

COMPILERS = newest_of_each(find_compilers())
FLAGS = ("-std=c++20", "-O0", "-pthread", "-I", TREES["include"])


class Module:
    """A compiled module interface unit of PROGRAMS and the programs that import it."""

    def __init__(self, compiler, source, name):
        self.compiler = compiler
        self.directory = fresh_directory(f"{source}_{compiler}")
        self.unit = self.directory / "unit.o"
        self.flags = FLAGS
        interface = PROGRAMS / f"{source}.cppm"
        if is_clang(compiler):
            compiled = self.directory / "unit.pcm"
            must(compiler, *FLAGS, "--precompile", interface, "-o", compiled)
            must(compiler, "-O0", "-pthread", "-c", compiled, "-o", self.unit)
            self.flags += (f"-fmodule-file={name}={compiled}",)
        else:
            self.flags += ("-fmodules-ts",)  # interfaces are in gcm.cache of the working directory
            must(compiler, *self.flags, "-x", "c++", "-c", interface, "-o", self.unit,
                 directory=self.directory)

    def link(self, main, program, *flags):
        """The outcome of building an importing file with the module."""
        return compile_one(Job(self.compiler, "", (
            *self.flags, *flags, PROGRAMS / main, self.unit, "-o", self.directory / program),
            self.directory))


class Modules(unittest.TestCase):
    def check_profile(self, path):
        profile = heap_profile(path)
        self.assertEqual(pprof_check.find(profile, "main_allocates"), 1000)
        self.assertEqual(labels_of(profile, "main_allocates"), {("where", "module")})

    def check_own_code(self, module):
        built = module.link("module_main.cpp", "program")
        self.assertEqual(built.code, 0, built.explain())
        path = module.directory / "heap.pb.gz"
        run(module.directory / "program", path)
        self.check_profile(path)

    def check_inline_code(self, module):
        built = module.link("module_main.cpp", "inline", "-DWRITE_INLINE")
        self.assertEqual(built.code, 0, built.explain())
        paths = [module.directory / "one.pb.gz", module.directory / "two.pb.gz"]
        run(module.directory / "inline", *paths)
        for path in paths:
            self.check_profile(path)

    def test_program_with_a_module_that_profiles(self):
        modules = in_parallel(lambda compiler: Module(compiler, "module", "profiled"), COMPILERS)
        for module in modules:
            with self.subTest(compiler=module.compiler):
                self.check_own_code(module)
                self.check_inline_code(module)


if __name__ == "__main__":
    unittest.main()
