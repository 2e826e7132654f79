"""The macros and system headers that an include of prof brings along are the ones in tests/golden.

A macro has no namespace, and whatever a header includes its users come to rely on. So each new
name is looked at once, by whoever rewrites the list, and shows in the change.
"""

import difflib
import itertools
import unittest

from headers import golden
from support.compiling import COMPILERS, FACADES, TREES
from support.harness import in_parallel

# Slow to compile, or with constructors that run before main. Nobody should pay that for a profiler.
NEVER_INCLUDED = {"filesystem", "functional", "future", "iostream", "mutex", "regex", "string",
                  "thread", "vector"}

# Other switches bring less than the golden lists, never more.
SWITCHES = (("-DPROF_ENABLE_CPU=0",), ("-DPROF_ENABLE_HEAP=0",), ("-DPROF_ENABLE_SYMBOLIZE=0",),
            ("-DPROF_HOOKS=none",), ("-DPROF_HOOKS=none", golden.HTTP), ("-DPROF_REQUIRE_VERSION=0",),
            ("-DPROF_ENABLE_MUTEX=0",), ("-DPROF_ENABLE_BLOCK=0",), ("-DPROF_ENABLE_THREADS=0",),
            ("-DPROF_ENABLE_CPU=0", "-DPROF_ENABLE_HEAP=0", "-DPROF_ENABLE_MUTEX=0", "-DPROF_ENABLE_BLOCK=0",
             "-DPROF_ENABLE_THREADS=0", "-DPROF_ENABLE_SYMBOLIZE=0"))


def difference(wanted, found, name):
    lines = difflib.unified_diff(wanted.splitlines(), found.splitlines(), name, "found",
                                 lineterm="", n=1)
    return "\n".join(lines)


class Golden(unittest.TestCase):
    def check_list(self, kind):
        """Both compilers and both trees must bring what the list says."""
        cases = list(itertools.product(FACADES, COMPILERS, TREES))
        texts = in_parallel(lambda case: golden.text_of(kind, *case), cases)
        for facade in FACADES:
            path = golden.path_of(kind, facade)
            wanted = path.read_text(encoding="ascii") if path.exists() else ""
            others = {}  # what was found instead: where
            for case, found in zip(cases, texts):
                if case[0] == facade and found != wanted:
                    others.setdefault(found, []).append(case[1:])
            for found, places in others.items():
                with self.subTest(facade=facade):
                    self.fail(f"\n{difference(wanted, found, path.name)}\nFound with {places}."
                              f" If this is meant, rewrite the lists and commit them:"
                              f"\n  {golden.UPDATE}")

    def test_macros(self):
        self.check_list("macros")

    def test_system_headers(self):
        self.check_list("includes")

    def test_lists_are_not_empty(self):
        """A search that finds nothing would agree with an empty list."""
        for facade in FACADES:
            self.assertIn("PROF_VERSION", golden.names_in(golden.path_of("macros", facade)))
            self.assertIn("atomic", golden.names_in(golden.path_of("includes", facade)))
        self.assertIn("sys/socket.h", golden.names_in(golden.path_of("includes", "prof")))


class Rules(unittest.TestCase):
    """What no rewriting of the lists can allow."""

    def test_macros_have_our_prefix_and_change_no_other(self):
        cases = list(itertools.product(COMPILERS, TREES, FACADES))
        found = in_parallel(lambda case: golden.Macros(*case, golden.HTTP), cases)
        for case, macros in zip(cases, found):
            with self.subTest(case=case):
                self.assertEqual([name for name in macros.leaked if not name.startswith("PROF_")],
                                 [], "a macro without our prefix changes the code of our users")
                self.assertEqual(macros.changed, set(), "macros of the system or user were changed")

    def test_other_switches_bring_no_more(self):
        cases = list(itertools.product(FACADES, SWITCHES))
        for kind, find in golden.FINDERS.items():
            found = in_parallel(lambda case: find("g++", "include", case[0], *case[1]), cases)
            for (facade, flags), names in zip(cases, found):
                with self.subTest(facade=facade, flags=flags, kind=kind):
                    known = golden.names_in(golden.path_of(kind, facade))
                    self.assertEqual(names - known - {"PROF_REQUIRE_VERSION"}, set())

    def test_no_expensive_header(self):
        for facade in FACADES:
            known = golden.names_in(golden.path_of("includes", facade))
            self.assertEqual(known & NEVER_INCLUDED, set(), (
                f"<prof/{facade}.hpp> must stay cheap: take what is needed from include/prof/base"))


if __name__ == "__main__":
    unittest.main()
