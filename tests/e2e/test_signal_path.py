#!/usr/bin/env python3
"""The signal path and the hooks' slow paths: what they import, allocate, use of the stack, and leave behind."""

import errno
import itertools
import re
import unittest

from support import harness

SIGNAL = harness.ROOT / "tests" / "signal"
NEVER = re.compile(r"^(__tls_get_addr|__tls_descriptor.*|__cxa_guard.*|__emutls.*|malloc|calloc|realloc|free|_Zn[wa].*|_Zd[la].*"
                   r"|pthread_.*|clock_gettime|dl_iterate_phdr|dlsym|dladdr|backtrace|_Unwind_.*|__errno_location|syscall)$")
FRAMES = ("-fno-omit-frame-pointer",)
# Each level of optimisation, each kind of code, each compiler; PROF_LONG=1: with each other.
WAYS = (("g++", "-O0", "-fno-PIC"), ("g++", "-O2", "-fno-PIC"), ("g++", "-O2", "-fPIC"),
        ("clang++", "-O0", "-fPIC"), ("clang++", "-O1", "-fno-PIC"), ("clang++", "-O2", "-fPIC"))
if harness.LONG:
    WAYS = tuple(itertools.product(harness.COMPILERS, ("-O0", "-O1", "-O2"), ("-fPIC", "-fno-PIC")))


def undefined(path):
    return {line.split()[-1].split("@")[0] for line in harness.command("nm", "-u", path).splitlines()}


class Imports(unittest.TestCase):
    def allowed(self, name):
        reasons = {}
        for line in (SIGNAL / f"allowed_{name}.txt").read_text(encoding="ascii").splitlines():
            if line.strip() and not line.startswith("#"):
                symbol, _, reason = line.partition(" ")
                self.assertTrue(reason.strip(), f"{symbol} is allowed without a reason")
                reasons[symbol] = reason.strip()
        return reasons

    def check(self, name):
        allowed, met = self.allowed(name), set()
        self.assertEqual([symbol for symbol in allowed if NEVER.match(symbol)], [])
        for compiler, optimize, code in WAYS:
            with self.subTest(compiler=compiler, optimize=optimize, code=code):
                # The single header has no parts to include: the paths of these files are under include/ only.
                flags = (code, "-I", harness.ROOT / "include")
                symbols = undefined(harness.object_of(SIGNAL / f"{name}.cpp", compiler, flags, optimize=optimize))
                met |= symbols
                self.assertEqual(sorted(s for s in symbols if NEVER.match(s)), [])
                self.assertEqual(sorted(symbols - set(allowed)), [])
        self.assertIn("_dl_find_object", met, "the object holds nothing")
        if {"g++", "clang++"} <= set(harness.COMPILERS):
            self.assertEqual(sorted(set(allowed) - met), [], "allowed, but nothing needs it")

    def test_handler(self):
        self.check("handler")

    def test_hook(self):
        self.check("hook")


class NoCodeBeforeMain(unittest.TestCase):
    def test_no_constructor(self):
        codes = ("-fPIC", "-fno-PIC") if harness.LONG else ("-fPIE",)
        for compiler, optimize, code in itertools.product(harness.COMPILERS, ("-O0", "-O1"), codes):
            with self.subTest(compiler=compiler, optimize=optimize, code=code):
                path = harness.whole(compiler, () if code == "-fPIE" else (code,), optimize=optimize)
                sections = harness.command("readelf", "-S", "-W", path)
                self.assertIn(".note.prof", sections)
                self.assertEqual(re.findall(r"\.(?:pre)?init_array\S*|\.ctors\S*|\.init\b|\.fini_array\S*|\.dtors\S*", sections), [])
                self.assertNotIn("_GLOBAL__sub_I", harness.command("nm", path))


class Running(unittest.TestCase):
    def program(self, name, compiler="g++", optimize="-O2", flags=(), with_whole=True):
        return harness.build([SIGNAL / f"{name}.cpp"], f"signal-{name}-{compiler}{optimize}{''.join(flags)}",
                             compiler=compiler, optimize=optimize, flags=flags, libraries=("-ldl",),
                             with_whole=with_whole)

    def numbers(self, program, **options):
        return list(map(int, harness.run(program, **options).stdout.split()))

    def test_nothing_is_allocated(self):
        library = harness.build([SIGNAL / "counting_malloc.cpp"], "libcounting_malloc.so", flags=("-shared", "-fPIC"))
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                allocated, seen, freed, seen_freed, samples, ticks = self.numbers(
                    self.program("allocates_nothing", compiler), env={"LD_PRELOAD": str(library)})
                print(f"\n{compiler}: {seen} allocations, {seen_freed} frees, {samples} heap samples, {ticks} ticks", end=" ")
                self.assertEqual((seen, seen_freed), (allocated, freed))
                self.assertGreaterEqual(samples, 40000)
                self.assertGreaterEqual(ticks, 10)

    def test_thread_hook_allocates_nothing(self):
        library = harness.build([SIGNAL / "counting_malloc.cpp"], "libcounting_malloc.so", flags=("-shared", "-fPIC"))
        found = {}
        for hooks in ("none", "interpose"):
            program = harness.build([SIGNAL / "thread_allocations.cpp"], f"signal-thread_allocations-{hooks}",
                                    flags=("-DPROF_HOOKS=none",) if hooks == "none" else (), libraries=("-ldl",),
                                    with_whole=True)
            found[hooks] = self.numbers(program, env={"LD_PRELOAD": str(library)})
        self.assertEqual(found["interpose"][1], 200)
        self.assertEqual(found["none"][1], 0)
        self.assertEqual(found["interpose"][0], found["none"][0])

    def test_no_thread_that_nobody_asked_for(self):
        first, during, after, serving, stopped = self.numbers(self.program("threads"))
        self.assertEqual((first, during, after, serving, stopped), (1, 1, 1, 2, 1))

    def test_stack_use_of_the_handler(self):
        levels = ("-O2", "-O0") if harness.LONG else ("-O2",)
        for compiler, *ways in itertools.product(harness.COMPILERS, levels, ((), FRAMES)):
            with self.subTest(compiler=compiler, ways=ways):
                optimize, flags = ways
                frame, used, ticks = self.numbers(self.program("stack_use", compiler, optimize, flags))
                print(f"\n{compiler} {optimize} {' '.join(flags)}: {used - frame} bytes beyond the kernel's frame of {frame}, {ticks} ticks", end=" ")
                self.assertGreater(ticks, 20)
                if optimize == "-O2":
                    self.assertLessEqual(used - frame, 1024)

    def test_errno_is_kept(self):
        in_calls, in_ticks, in_thread, failed, after_failure, ticks = self.numbers(self.program("errno_kept"))
        self.assertEqual((in_calls, in_ticks, in_thread), (0, 0, 0))
        self.assertEqual((failed, after_failure), (1, errno.ENOMEM))
        self.assertGreater(ticks, 20)

    def test_host_that_leaves_its_handlers(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                jumps, taken, ticks = self.numbers(self.program("jumping_host", compiler, "-O1", with_whole=False))
                print(f"\n{compiler}: {jumps} jumps out of handlers, {ticks} ticks, {taken} frame buffers lost", end=" ")
                self.assertGreater(jumps, 5000)
                self.assertGreater(ticks, 300)  # without the mask a third is lost
                self.assertEqual(taken, 0)


if __name__ == "__main__":
    unittest.main()
