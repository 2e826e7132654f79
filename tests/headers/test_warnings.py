"""Users compile our headers with their warnings: both facades are clean under all of these.

Pairs of standard, compiler, switches and so on; PROF_LONG=1 runs their product instead. Most
warnings come from the front end, so most rows only parse; some need real optimisation, such as
-Wmaybe-uninitialized and -Wstringop-overflow, and have a test of their own.
"""

import random
import unittest

from headers import pairs
from support.compiling import COMPILERS, TREES, USE, AllCompile, Job, compile_one, find_compilers, include, is_clang
from support.harness import LONG, WARNINGS, fresh_directory

# -Weverything less what no C++17 header that talks to an operating system can obey:
EVERYTHING = (
    "-Weverything",
    "-Wno-unknown-warning-option",      # the names below that an older clang does not know
    "-Wno-c++98-compat", "-Wno-c++98-compat-pedantic",                   # C++17 is our minimum
    "-Wno-pre-c++14-compat", "-Wno-pre-c++14-compat-pedantic",
    "-Wno-pre-c++17-compat", "-Wno-pre-c++17-compat-pedantic",
    "-Wno-padded",                      # says that a struct has padding
    "-Wno-unsafe-buffer-usage",         # bans pointer arithmetic; std::span is C++20
    "-Wno-disabled-macro-expansion",    # glibc's sa_handler, si_overrun
    "-Wno-switch-enum", "-Wno-switch-default",  # contradict each other, and -Wcovered-switch-default
    "-Wno-float-equal",                 # a division is guarded by `!= 0`
    "-Wno-cast-function-type-strict",   # what dlsym and a hook's next definition are made of
)

# What g++ has beyond the house's warnings and is not about taste.
MORE_OF_GCC = (
    "-Wcast-align", "-Wcast-qual", "-Wctor-dtor-privacy", "-Wdate-time", "-Wdeprecated-copy-dtor",
    "-Wdouble-promotion", "-Wduplicated-branches", "-Wduplicated-cond", "-Wextra-semi",
    "-Wformat=2", "-Wimplicit-fallthrough=5", "-Wlogical-op", "-Wmismatched-tags",
    "-Wmissing-declarations", "-Wnoexcept", "-Wnon-virtual-dtor", "-Wnull-dereference",
    "-Woverloaded-virtual", "-Wpacked", "-Wredundant-tags", "-Wsign-promo", "-Wstrict-null-sentinel",
    "-Wsuggest-override", "-Wunused-const-variable=2", "-Wunused-macros", "-Wvla", "-Walloca",
    "-Wvolatile", "-Wzero-as-null-pointer-constant", "-Warray-bounds=2", "-Wshift-overflow=2",
    "-Wstringop-overflow=4", "-Wstrict-overflow=2", "-Wattribute-alias=2", "-Wplacement-new=2",
)

OFF = tuple(f"-DPROF_ENABLE_{part}=0" for part in ("BLOCK", "CPU", "HEAP", "HTTP", "MUTEX", "SYMBOLIZE", "THREADS"))
HTTP = "-DPROF_ENABLE_HTTP"
ALL = (HTTP, "-DPROF_ENABLE_BLOCK_SYSCALLS")

FACTORS = {
    "compiler": find_compilers(),
    "switches": [(), (HTTP,), ALL, *((off, HTTP) for off in OFF if "HTTP" not in off), OFF,
                 ("-DPROF_HOOKS=none",), ("-DPROF_HOOKS=none", HTTP)],
    "standard": ["c++17", "c++20", "c++2b"],  # every version here knows the name 2b
    "facades": [("prof",), ("api",), ("api", "prof")],
    "tree": list(TREES),
    "warnings": ["house", "all"],
    "exceptions": [(), ("-fno-exceptions", "-fno-rtti")],
    "frames": ["-fno-omit-frame-pointer", "-fomit-frame-pointer"],
    "library": [(), ("-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"),
                ("-D_GLIBCXX_ASSERTIONS", "-D_FORTIFY_SOURCE=2", "-O1")],
}

# Not multiplied by PROF_LONG, which would take hours: every row gets one combination of these.
TAKE_TURNS = ("tree", "warnings", "library")

# With code generation every row costs seconds. The whole API is used, so that its code is made.
CODE = {"standard": "c++17", "switches": ALL, "facades": ("api", "prof"), "tree": "include",
        "warnings": "all", "library": ()}
CODE_FACTORS = {
    "compiler": FACTORS["compiler"] if LONG else list(COMPILERS),
    "exceptions": FACTORS["exceptions"],
    "frames": FACTORS["frames"],
}


def rows_of(factors):
    if not LONG:
        return pairs.pairwise(factors)
    turns = random.Random(1)  # the same on every run, in step with no factor
    combinations = pairs.product({f: factors[f] for f in TAKE_TURNS if f in factors})
    rows = pairs.product({f: values for f, values in factors.items() if f not in TAKE_TURNS})
    return [{**row, **turns.choice(combinations)} for row in rows]


def warnings_of(row):
    if row["warnings"] == "house":
        return WARNINGS
    return WARNINGS + (EVERYTHING if is_clang(row["compiler"]) else MORE_OF_GCC)


def job_of(row, *mode):
    flags = (f"-std={row['standard']}", "-pthread", *warnings_of(row), "-I", TREES[row["tree"]],
             *row["switches"], *row["exceptions"], row["frames"], *row["library"], *mode)
    return Job(row["compiler"], include(*row["facades"]), flags)


class Warnings(AllCompile, unittest.TestCase):
    def test_front_end(self):
        rows = rows_of(FACTORS)
        self.assertGreaterEqual(len(rows), len(FACTORS["compiler"]) * len(FACTORS["switches"]))
        self.expect_all_compile([job_of(row, "-fsyntax-only") for row in rows])

    def test_optimizer(self):
        rows = rows_of(CODE_FACTORS)
        self.assertGreaterEqual(len(rows), 4)
        jobs = [job_of({**CODE, **row}, "-O2", "-c", "-o", "/dev/null") for row in rows]
        self.expect_all_compile([job._replace(source=job.source + USE) for job in jobs])

    def test_a_warning_is_seen(self):
        """A header of the tree is not taken for a system header, whose warnings are off."""
        tree = fresh_directory("warned")
        (tree / "prof").mkdir()
        (tree / "prof" / "prof.hpp").write_text("inline int narrow(long x) { return x; }\n")
        for compiler in COMPILERS:
            row = {**{factor: values[0] for factor, values in FACTORS.items()}, "compiler": compiler}
            job = job_of(row, "-fsyntax-only")
            flags = tuple(tree if flag == TREES[row["tree"]] else flag for flag in job.flags)
            outcome = compile_one(job._replace(flags=flags))
            self.assertNotEqual(outcome.code, 0)
            self.assertIn("conversion", outcome.words)


class Pairs(unittest.TestCase):
    def test_every_pair_is_there(self):
        rows = pairs.pairwise(FACTORS)
        there = {pair for row in rows for pair in pairs.pairs_of(row)}
        wanted = {pair for row in pairs.product_of_two(FACTORS) for pair in pairs.pairs_of(row)}
        self.assertEqual(wanted - there, set())


if __name__ == "__main__":
    unittest.main()
