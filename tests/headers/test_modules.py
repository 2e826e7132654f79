"""prof in the global module fragment of a C++20 module, and the module in a program.

What works: everything with clang. With g++ 12 the code of the module's own unit may use all of
prof, and exported inline functions may set labels. An exported inline function that does more needs
prof's inline thread-local variables in the importing unit, and there g++ 12 forgets that they are
thread-local: tls_module.cppm shows it in three lines without prof. The linker refuses such a
program ("TLS definition ... mismatches non-TLS definition"), so that nobody gets a wrong profile.
"""

import unittest

import pprof_check
from compiling import (PROGRAMS, TREES, Job, compile_one, find_compilers, fresh_directory,
                       heap_profile, in_parallel, is_clang, labels_of, must, newest_of_each, run)

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


def exports_thread_locals(compiler):
    """Whether inline functions of a module work when they use thread-locals; see the top."""
    module = Module(compiler, "tls_module", "counting")
    if module.link("tls_module_main.cpp", "tls").code != 0:
        return False
    run(module.directory / "tls")
    return True


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

    def check_inline_code(self, module, expected):
        built = module.link("module_main.cpp", "inline", "-DWRITE_INLINE")
        if not expected:
            self.assertRegex(built.words, "TLS definition .* mismatches non-TLS")
            return
        self.assertEqual(built.code, 0, built.explain())
        paths = [module.directory / "one.pb.gz", module.directory / "two.pb.gz"]
        run(module.directory / "inline", *paths)
        for path in paths:
            self.check_profile(path)

    def test_program_with_a_module_that_profiles(self):
        modules = in_parallel(lambda compiler: Module(compiler, "module", "profiled"), COMPILERS)
        can = in_parallel(exports_thread_locals, COMPILERS)
        for module, inline_too in zip(modules, can):
            with self.subTest(compiler=module.compiler):
                self.check_own_code(module)
                self.check_inline_code(module, inline_too)

    def test_clang_exports_everything(self):
        """Not only where the probe above says so."""
        for compiler in filter(is_clang, COMPILERS):
            self.assertTrue(exports_thread_locals(compiler), compiler)


if __name__ == "__main__":
    unittest.main()
