#!/usr/bin/env python3
"""Stacks of ordinary builds, without frame pointers: complete, root by root, and cut in the middle when too deep."""

import itertools
import re
import unittest

from support import harness, pprof_check

MARK = "[truncated]"
BUILDS = tuple(itertools.product(harness.COMPILERS, ("-O2", "-O3")))


def chains_of(profile):
    """Per sample, the names of its frames, leaf first."""
    functions = {function.id: function.name for function in profile.function}
    names = {location.id: [functions[line.function_id] for line in location.line] for location in profile.location}
    return [[name for location in sample.location_id for name in names[location]] for sample in profile.sample]


def truncated_share(profile):
    """What a profile's comment says: of how many of its first values the stacks are truncated, and of all."""
    line = re.compile(r"\d+ of \d+ stacks \((\d+) of (\d+) \w+\) are truncated .*")
    (found,) = [match for match in map(line.fullmatch, profile.comment) if match]
    return int(found.group(1)), int(found.group(2))


def counted_share(profile):
    """The same, counted."""
    values = [sample.value[0] for sample in profile.sample]
    return sum(value for value, chain in zip(values, chains_of(profile)) if MARK in chain), sum(values)


OF_LIBRARY = re.compile(r"(void )?(std|__gnu_cxx)::|operator new")
BELOW_MAIN = re.compile(r"(libc\.so\.6\+\S+|__libc_start_call_main) < __libc_start_main < _start")
# libstdc++ allocates before main, called by the loader, which has names where its debug package is installed.
LOADER = r"(ld-linux\S+|call_init|_dl_init|_dl_start_user)"
BEFORE_MAIN = re.compile(rf"(libstdc\+\+\S+ < )+({LOADER} < ){{1,6}}{LOADER}")


def is_complete(chain):
    """Frame by frame, but for the standard library's templates."""
    if "main" not in chain:
        return BEFORE_MAIN.fullmatch(" < ".join(chain)) is not None
    main = chain.index("main")
    calls = [name.partition("(")[0] for name in chain[:main] if not OF_LIBRARY.match(name)]
    loads = len(calls) == 2 and re.fullmatch(r"fill_with_\w+", calls[0]) and calls[1] == "load"
    # load's last call may be a jump.
    right = loads or calls in (["fill_with_shared"], ["store::store"])
    return bool(right and BELOW_MAIN.fullmatch(" < ".join(chain[main + 1:])))


class Complete(unittest.TestCase):
    def test_what_is_not_complete(self):
        root = ["main", "libc.so.6+0x27249", "__libc_start_main", "_start"]
        self.assertTrue(is_complete(["fill_with_new(x)", "load(store&)", *root]))
        self.assertTrue(is_complete(["std::vector<int>::x()", "store::store()", *root]))
        for chain in (root, ["malloc", *root], ["load(store&)", *root], ["fill_with_new(x)", *root], root[1:],
                      ["fill_with_new(x)", "wrong()", "load(store&)", *root], ["store::store()", "main", "_start"],
                      ["fill_with_new(x)", "load(store&)", "wrong()", *root], ["x", "ld-linux-x86-64.so.2+0x1"],
                      ["fill_with_new(x)", "load(store&)", "main", "wrong()", *root[1:]],
                      ["fill_with_new(x)", "load(store&)", MARK, *root], ["ld-linux-x86-64.so.2+0x1"]):
            self.assertFalse(is_complete(chain), chain)

    def check(self, profile, least):
        chains = chains_of(profile)
        complete = [chain for chain in chains if is_complete(chain)]
        self.assertEqual(truncated_share(profile), counted_share(profile))
        self.assertGreaterEqual(len(chains), least)
        loading = {name for chain in complete for name in chain if name.startswith("fill_with_")}
        self.assertGreaterEqual(len(loading), least - 1, loading)
        self.assertGreaterEqual(len(complete), 0.99 * len(chains),
                                "\n".join(" < ".join(chain) for chain in chains if chain not in complete))

    def test_a_program_whose_only_use_is_its_last_line(self):
        for compiler, optimize in BUILDS:
            name = f"last-{compiler}{optimize}"
            parts = [harness.object_of(harness.PROGRAMS / "heap_last_line.cpp", compiler, optimize=optimize),
                     harness.whole(compiler, optimize=optimize if harness.LONG else "-O2")]
            for static in ((), ("-static",)):
                with self.subTest(compiler=compiler, optimize=optimize, static=static):
                    program = harness.build(parts, f"{name}{len(static)}", compiler=compiler, flags=static)
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
        self.assertEqual(truncated_share(profile), counted_share(profile))
        self.assertGreater(truncated_share(profile)[0], 0)

    def test_both_ends_of_a_deep_stack_are_kept(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                program = harness.build(["deep_stack.cpp", harness.whole(compiler)], f"deep-{compiler}",
                                        compiler=compiler, flags=("-fno-optimize-sibling-calls",))
                paths = [program.with_suffix(f".{kind}.pb.gz") for kind in ("cpu", "heap")]
                harness.run(program, *paths)
                for path in paths:
                    self.check(pprof_check.parse(path.read_bytes()))


class ManyFunctions(unittest.TestCase):
    """The first samples of a profile at 1000 Hz find all rules anew, and must be as complete as the others."""

    def profile(self, pages):
        program = harness.build(["many_functions.cpp"], "many_functions", with_whole=True)
        path = program.with_suffix(f".{pages}.pb.gz")
        harness.run(program, path, pages)
        profile = pprof_check.parse(path.read_bytes())
        self.assertEqual(truncated_share(profile), counted_share(profile))
        self.assertGreater(truncated_share(profile)[1], 100)
        return profile

    def test_all_are_complete(self):
        whole = [f"step<{n}>(long)" for n in range(61)] + ["takes_a_page(long)", "work(void*)"]
        profile = self.profile(0)
        self.assertEqual(truncated_share(profile)[0], 0)
        chains = [chain for chain in chains_of(profile) if "spin()" in chain]
        self.assertTrue(chains)
        for chain in chains:
            names = [re.sub(r"^long step", "step", name) for name in chain]
            first = names.index("spin()") + 1
            self.assertEqual([name for name in names[first:] if not re.match(r"libc\.so|prof::|start_thread$|clone3?$", name)], whole)

    def test_a_stack_of_more_pages_than_there_is_time_for(self):
        profile = self.profile(2000)
        truncated, total = truncated_share(profile)
        self.assertGreater(truncated, 0.9 * total)
        for chain in chains_of(profile):
            if "spin()" in chain:
                self.assertEqual(chain[-1], MARK)


if __name__ == "__main__":
    unittest.main()
