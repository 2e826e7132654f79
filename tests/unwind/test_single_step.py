#!/usr/bin/env python3
"""Unwinds at every instruction of programs built in many ways, and judges every step.

    cd tests && python3 -m unittest unwind.test_single_step

programs/single_step.cpp runs the workloads with the trap flag set and keeps the list of the calls that
were made and not returned from. A step is good when prof's walk is complete and is exactly that list;
where a build can have libunwind, its walk is compared too. Everything else must be in EXCLUDED, whose entries may hold so many
addresses and, of a run of all steps, 0.03 % of the steps. One build runs all steps, the others the
first of each workload; PROF_LONG=1 runs all of all, and the builds that resemble one of these.
"""

import bisect
import collections
import functools
import os
import pathlib
import re
import sys
import unittest

from support import harness
from support.harness import BUILD, LONG, command

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"

ALL_STEPS = 100_000_000
SOME_STEPS = ALL_STEPS if LONG else 5000
# Without .eh_frame_hdr a first throw sorts all FDEs: 15 million steps.
STATIC_STEPS = SOME_STEPS
EXCLUDED_SHARE = 0.0003
# Name: at how many addresses a build may have such steps, whatever the number of steps.
EXCLUDED = {
    "longjmp": 12,     # registers are replaced one by one
    "setcontext": 16,
    "vfork": 4,        # the return address is in a register
    "inline_asm": 4,   # moves the stack, which nothing describes
}
WORKLOADS = ("sorting maps regexes first_throw exceptions streams callbacks libc_calls first_calls "
             "functions virtuals cold_parts variable aligned_frames huge_frames recursion jumps "
             "contexts forks pushing_asm").split()


# ---- building -----------------------------------------------------------------------------------


def compiled(source, compiler, *flags):
    return harness.object_of(PROGRAMS / source, compiler, flags)


# Of two libraries with _Unwind_*, libgcc's must be first: libunwind's own would block signals.
SHARED = ("-Wl,--no-as-needed", "-lgcc_s", "-Wl,--as-needed", "-lunwind")
STATIC = ("-lgcc_eh", "-lunwind", "-llzma")


def program(name, compiler="g++", flags=("-O2", "-g"), link=(), libunwind=SHARED):
    """The harness is the same in all: how the workloads are built and all is linked differs."""
    rest = (compiler, *flags) if LONG else ("g++", "-O2")
    objects = [compiled("single_step.cpp", "g++", "-O2"), compiled("regexes.cpp", *rest),
               compiled("workloads.cpp", compiler, *flags)]
    BUILD.mkdir(parents=True, exist_ok=True)
    output = BUILD / name
    oracle = libunwind or [compiled("no_libunwind.cpp", "g++", "-O2")]
    command(compiler, *link, *objects, "-o", output, "-pthread", *oracle)
    return output


# ---- naming addresses ---------------------------------------------------------------------------


class Symbols:
    """The functions of one file, by address."""

    def __init__(self, path):
        self.path = path
        rows = [line.split() for line in self.read()]
        rows = sorted((int(row[0], 16), row[-1].partition("@")[0]) for row in rows)
        self.starts = [start for start, _ in rows]
        self.names = [name for _, name in rows]

    def read(self):
        """A stripped library has only its dynamic symbols."""
        kinds = re.compile(r"^[0-9a-f]+ [TtWwiuV] ", re.M)
        lines = command("nm", "--defined-only", self.path).splitlines()
        lines = lines or command("nm", "-D", "--defined-only", self.path).splitlines()
        return [line for line in lines if kinds.match(line)]

    def name(self, address):
        at = bisect.bisect_right(self.starts, address) - 1
        return (self.names[at], address - self.starts[at]) if at >= 0 else ("?", address)

    def code(self, start, size):
        return command("objdump", "-d", f"--start-address={start}", f"--stop-address={start + size}",
                   self.path)

    @functools.cached_property
    def jump_tail(self):
        """The begin of __longjmp, which a stripped libc does not name: siglongjmp calls it."""
        if "siglongjmp" not in self.names:
            return None
        caller = self.code(self.starts[self.names.index("siglongjmp")], 64)
        called = [int(target, 16) for target in re.findall(r"call +([0-9a-f]+)", caller)]
        leaves = re.compile(r"\t(?:ret|jmp) *(.*)")
        return next(start for start in called
                    if leaves.search(self.code(start, 96)).group(1).startswith("*%rdx"))


@functools.lru_cache(maxsize=None)
def symbols_of(path):
    return Symbols(path)


Place = collections.namedtuple("Place", "file function offset address")


class Modules:
    def __init__(self, main, lines):
        self.main = str(main)
        rows = [line.split() for line in lines]
        self.ranges = [(int(row[2], 16), int(row[3], 16), int(row[1], 16),
                        row[4] if len(row) > 4 else self.main) for row in rows]

    def place(self, address):
        for begin, limit, base, path in self.ranges:
            if begin <= address < limit and os.path.exists(path):
                function, offset = symbols_of(path).name(address - base)
                return Place(path, function, offset, address - base)
        return Place("?", "?", 0, address)

    def text(self, address):
        place = self.place(address)
        return (f"{place.function}+0x{place.offset:x} "
                f"({os.path.basename(place.file)}+0x{place.address:x})")


# ---- judging ------------------------------------------------------------------------------------

# Where a thread may go elsewhere than it was called from; nobody else's steps are good by where they land.
LANDING = {"first_throw", "exceptions", "jumps", "contexts", "forks"}

def excluded_as(leaf):
    """The name in EXCLUDED, or None."""
    if "pushing_asm" in leaf.function:
        return "inline_asm"
    if leaf.function in ("vfork", "__vfork", "__libc_vfork"):
        return "vfork"
    if leaf.function in ("setcontext", "__setcontext", "swapcontext", "__swapcontext"):
        return "setcontext"
    if leaf.function in ("__longjmp", "____longjmp_chk"):
        return "longjmp"
    tail = symbols_of(leaf.file).jump_tail if "libc.so" in leaf.file else None
    return "longjmp" if tail is not None and tail <= leaf.address < tail + 96 else None


Bad = collections.namedtuple("Bad", "workload what steps address mine calls")
Counts = collections.namedtuple("Counts", "steps good landed approximate confirmed crashed outvoted resolving odd")


class Report:
    """What a run of single_step printed."""

    def __init__(self, main, *arguments):
        lines = command(main, *arguments).splitlines()
        self.modules = Modules(main, [line for line in lines if line.startswith("module ")])
        self.workloads = {}
        self.bad = []
        for line in lines:
            words = line.split()
            if words[0] == "workload":
                self.workloads[words[1]] = Counts(*map(int, words[2:]))
            elif words[0] == "bad":
                self.bad.append(self.parse_bad(words))

    @staticmethod
    def parse_bad(words):
        mine, calls = words.index("mine"), words.index("calls")
        frames = [int(word, 16) for word in words[mine + 1:calls]]
        return Bad(words[1], words[2], int(words[3]), int(words[4], 16), frames,
                   [int(word, 16) for word in words[calls + 1:]])

    def total(self, field):
        return sum(getattr(counts, field) for counts in self.workloads.values())

    def name_of(self, bad):
        return excluded_as(self.modules.place(bad.address))

    def failures(self):
        return [bad for bad in self.bad if self.name_of(bad) is None]

    def excluded(self):
        """{name: (addresses, steps)}"""
        addresses, steps = collections.defaultdict(set), collections.Counter()
        for bad in self.bad:
            name = self.name_of(bad)
            if name is not None:
                addresses[name].add(bad.address)
                steps[name] += bad.steps
        return {name: (len(addresses[name]), steps[name]) for name in steps}

    def describe(self, bad):
        frames = [("prof ", bad.mine), ("calls", bad.calls)]
        return f"{bad.workload}: {bad.what}, {bad.steps} steps, at " \
            f"{self.modules.text(bad.address)}\n" + "".join(
                f"    {whose} " + " < ".join(map(self.modules.text, chain[:5])) + "\n"
                for whose, chain in frames)


# ---- tests --------------------------------------------------------------------------------------


class SingleStep(unittest.TestCase):
    def judge(self, main, *arguments, steps=SOME_STEPS, workloads=WORKLOADS, approximate_share=0.002):
        report = Report(main, steps, *arguments)
        self.assertEqual(list(report.workloads), workloads)
        self.assertGreater(min(counts.steps for counts in report.workloads.values()), 10)
        if "exceptions" in report.workloads:
            self.assertGreater(report.workloads["exceptions"].landed, 0, "the run did not get to the landing pads")
        failures = report.failures()
        lost = sum(bad.steps for bad in failures)
        if failures:
            self.fail(f"{lost} of {report.total('steps')} steps are bad, at {len(failures)} places\n"
                      + "".join(map(report.describe, failures[:6])))
        excluded = report.excluded()
        for name, (addresses, _) in excluded.items():
            self.assertLessEqual(addresses, EXCLUDED[name], name)
        for name, counts in report.workloads.items():
            self.assertLessEqual(counts.landed, 40 if name in LANDING else 0, name)
        hidden = sum(count for _, count in excluded.values())
        self.assertLess(report.total("approximate"), approximate_share * report.total("steps"))
        self.assertEqual(report.total("good") + hidden, report.total("steps"))
        if steps == ALL_STEPS:
            # What lands is judged, but by other calls than were made: it counts against the share, too.
            apart = hidden + report.total("landed")
            self.assertLessEqual(apart, EXCLUDED_SHARE * report.total("steps"), excluded)
        print(f"\n{main.name} {' '.join(arguments)}: {report.total('good')} of {report.total('steps')} steps good, "
              f"{report.total('landed')} of them where they land, {report.total('approximate')} marked approximate, {report.total('confirmed')} as libunwind "
              f"has them; excluded {excluded}", end=" ", file=sys.stderr)
        return report

    def judge_shared(self, main, *arguments, steps=SOME_STEPS, lazy=True, disputed_share=0.003, **allowed):
        """libunwind 1.6.2 takes what a thrower has overwritten for what it was: the calls say otherwise."""
        report = self.judge(main, *arguments, steps=steps, **allowed)
        disputed = report.total("outvoted") + report.total("crashed")
        self.assertLess(disputed, disputed_share * report.total("steps"))
        self.assertGreater(report.total("confirmed"), (0.993 - disputed_share) * report.total("steps"))
        resolving = report.workloads["first_calls"].resolving
        self.assertEqual(resolving > 0, lazy, f"{resolving} steps in _dl_runtime_resolve")
        return report

    def test_o2_every_step(self):
        main = program("o2")
        report = self.judge_shared(main, "table", steps=ALL_STEPS)
        self.assertLess(report.total("approximate"), 100)  # who lands behind an indirect call may have made it
        self.assertRegex(command("nm", main), r"split_function\S*\.cold", "no function was split")

    def test_libcrypto(self):
        """Its assembly has CFAs in all kinds of registers; nothing of it is excluded."""
        main = BUILD / "crypto"
        command("g++", compiled("single_step.cpp", "g++", "-O2"), compiled("crypto.cpp", "g++", "-O2"), "-o", main,
            "-pthread", "-ldl", *SHARED)
        for arguments in (["table"], []):
            report = self.judge(main, *arguments, steps=ALL_STEPS, workloads=["digests", "powers"])
            self.assertEqual(report.bad, [])
            self.assertGreater(report.total("odd"), 20)  # of prologues and epilogues

    def test_o2_interpreted(self):
        self.judge_shared(program("o2"))

    def test_o0(self):
        # While a thrower's frame pointer is another's, its caller's frame is found by scanning, and marked.
        self.judge_shared(program("o0", flags=("-O0",)), "table", approximate_share=0.01, disputed_share=0.01)

    def test_cf_protection(self):
        main = program("cf", flags=("-O2", "-fcf-protection=full"), link=("-Wl,-z,ibtplt",))
        self.assertIn(".plt.sec", command("readelf", "-SW", main))
        self.judge_shared(main, "table")

    def test_no_plt(self):
        main = program("no_plt", flags=("-O2", "-fno-plt"), link=("-Wl,-z,now",))
        self.judge_shared(main, "table", lazy=False)

    def test_clang_lld(self):
        main = program("lld", compiler="clang++", flags=("-O2",), link=("-fuse-ld=lld",))
        self.assertIn("LLD", command("readelf", "-p", ".comment", main))
        self.judge_shared(main, "table")

    def static(self):
        main = program("static", link=("-static",), libunwind=None)
        self.assertNotIn("GNU_EH_FRAME", command("readelf", "-lW", main), "this is the harder case")
        return main

    def test_static(self):
        """libunwind needs a search header; the calls that were made are known without."""
        with_header = program("static_header", link=("-static", "-Wl,--eh-frame-hdr"), libunwind=STATIC)
        report = self.judge(with_header, "table")
        self.assertGreater(report.total("confirmed"), 0.98 * report.total("steps"))
        self.judge(self.static(), "table", steps=STATIC_STEPS)
        self.judge(program("static_pie", link=("-static-pie",), libunwind=None), "table")

    if LONG:
        def test_o3(self):
            self.judge_shared(program("o3", flags=("-O3",)), "table")

        def test_os(self):
            self.judge_shared(program("os", flags=("-Os",)), "table")

        def test_o3_native(self):
            self.judge_shared(program("o3_native", flags=("-O3", "-march=native")), "table")

        def test_lto(self):
            main = program("lto", flags=("-O2", "-flto"), link=("-O2", "-flto"))
            self.judge_shared(main, "table")

        def test_no_asynchronous_unwind_tables(self):
            flags = ("-O2", "-fno-asynchronous-unwind-tables")
            self.judge_shared(program("synchronous", flags=flags), "table")

        def test_ibt_plt(self):
            main = program("ibt_plt", link=("-Wl,-z,ibtplt",))
            self.assertIn(".plt.sec", command("readelf", "-SW", main))
            self.judge_shared(main, "table")

        def test_static_without_table(self):
            self.judge(self.static(), steps=STATIC_STEPS)

        def test_without_debug_info(self):
            main = program("stripped")
            self.assertIn(".debug_info", command("readelf", "-SW", main))
            command("strip", "--strip-debug", main)
            self.assertNotIn(".debug_", command("readelf", "-SW", main))
            self.judge_shared(main, "table")


class Harness(unittest.TestCase):
    def spoilt(self, how):
        """Every 1000th walk of a run is spoilt: how many were, and how many bad steps there are."""
        report = Report(program("o2"), 4000, "table", how)
        with self.assertRaisesRegex(self.failureException, "steps are bad"):
            SingleStep().judge(program("o2"), "table", how, steps=4000)
        spoilt = sum(counts.steps // 1000 for counts in report.workloads.values())
        self.assertGreater(spoilt, 30)
        return spoilt, report

    def test_wrong_walks_are_noticed(self):
        """All of them: what a build excludes is incomplete, not different."""
        for how in ("shift", "drop"):
            with self.subTest(how):
                spoilt, report = self.spoilt(how)
                found = sum(bad.steps for bad in report.bad if bad.what == "different")
                self.assertEqual(found, spoilt)

    def test_wrong_starts_are_noticed(self):
        """8 bytes off is where a scan, or rbp, finds the same callers sometimes; nothing else is bad."""
        spoilt, report = self.spoilt("corrupt")
        found = sum(bad.steps for bad in report.failures())
        self.assertLessEqual(found, spoilt)
        self.assertGreater(found, spoilt // 2)


if __name__ == "__main__":
    unittest.main()
