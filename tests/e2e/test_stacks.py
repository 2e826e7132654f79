#!/usr/bin/env python3
"""Stacks of ordinary builds, without frame pointers: complete, root by root, and cut in the middle when too deep."""

import itertools
import re
import unittest

import harness
import pprof_check

MARK = "[truncated]"
BUILDS = tuple(itertools.product(harness.COMPILERS, ("-O2", "-O3")))


def chains_of(profile):
    """Per sample, the names of its frames, leaf first."""
    functions = {function.id: function.name for function in profile.function}
    names = {location.id: [functions[line.function_id] for line in location.line] for location in profile.location}
    return [[name for location in sample.location_id for name in names[location]] for sample in profile.sample]


def is_complete(chain):
    """Frame by frame, but for the standard library's templates. libstdc++ allocates before main."""
    if chain[-1].startswith("ld-linux"):
        return MARK not in chain and "main" not in chain
    own = [name for name in chain if re.match(r"(fill_with_\w+|load|main|store)\b", name)]
    own = [name.partition("(")[0].partition("::")[0] for name in own]
    below = own[:-1]
    loads = len(below) == 2 and below[0].startswith("fill_with_") and below[1] == "load"
    # load's last call may be a jump; the store's vectors are made in main, by a constructor that may be inlined.
    right = loads or below in (["fill_with_shared"], ["store"], [])
    return chain[-1] == "_start" and own[-1:] == ["main"] and right and MARK not in chain


class Complete(unittest.TestCase):
    def check(self, profile, least):
        chains = chains_of(profile)
        complete = [chain for chain in chains if is_complete(chain)]
        self.assertGreaterEqual(len(chains), least)
        loading = {name for chain in complete for name in chain if name.startswith("fill_with_")}
        self.assertGreaterEqual(len(loading), least - 1, loading)
        self.assertGreaterEqual(len(complete), 0.99 * len(chains),
                                "\n".join(" < ".join(chain) for chain in chains if chain not in complete))

    def test_a_program_whose_only_use_is_its_last_line(self):
        for compiler, optimize in BUILDS:
            name = f"last-{compiler}{optimize}"
            part = harness.build(["heap_last_line.cpp"], f"{name}.o", compiler=compiler, optimize=optimize, flags=["-c"])
            for static in ((), ("-static",)):
                with self.subTest(compiler=compiler, optimize=optimize, static=static):
                    program = harness.build([part], f"{name}{len(static)}", compiler=compiler, flags=static)
                    path = program.with_suffix(".pb.gz")
                    harness.run(program, path)
                    # A static program's operator new and realloc are not seen.
                    self.check(pprof_check.parse(path.read_bytes()), 3 if static else 5)


class Deep(unittest.TestCase):
    def check(self, profile):
        deep = [chain for chain in chains_of(profile) if any(name.startswith("at_the_leaf") for name in chain)]
        self.assertTrue(deep)
        for chain in deep:
            self.assertIn(len(chain), (126, 127, 128))  # the heap profile hides the allocator's own
            self.assertEqual(chain.count(MARK), 1)
            self.assertEqual(chain[-32], MARK)
            self.assertEqual(chain[-1], "_start")
            self.assertIn("main", chain[-31:])
            self.assertTrue(any(name.startswith("from_the_root") for name in chain[-31:]), chain[-31:])
            leaf = next(i for i, name in enumerate(chain) if name.startswith("at_the_leaf"))
            self.assertLess(leaf, 12)  # a tick may come in our hook
            self.assertEqual(set(chain[leaf + 1:-32]), {"descend(int)"}, chain)
        self.assertTrue(any("truncated" in comment for comment in profile.comment), profile.comment)

    def test_both_ends_of_a_deep_stack_are_kept(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                program = harness.build(["deep_stack.cpp"], f"deep-{compiler}", compiler=compiler,
                                        flags=("-fno-optimize-sibling-calls",))
                paths = [program.with_suffix(f".{kind}.pb.gz") for kind in ("cpu", "heap")]
                harness.run(program, *paths)
                for path in paths:
                    self.check(pprof_check.parse(path.read_bytes()))


if __name__ == "__main__":
    unittest.main()
