"""aarch64 under qemu-user: the portable unit tests and the unwinder's, chains of known functions frame by
frame, and timer samples of four threads that work and throw.

The programs are Debian's cross g++'s with its glibc, as a distribution builds them: lazily bound, in
shared objects, with exceptions. -cpu max signs return addresses in earnest where the program asks for it.
The emulator delivers signals where its blocks of code end, so PLT code and first instructions, which
are the hard ones, get more samples than on a processor. PROF_LONG=1 adds static programs on musl.
"""

import pathlib
import re
import subprocess
import unittest

from elsewhere import test_elsewhere, zig
from elsewhere.test_elsewhere import DOCTEST
from hard import chains
from support import harness
from support.harness import BUILD, LONG, ROOT

CROSS = "aarch64-linux-gnu-g++"
SYSROOT = pathlib.Path("/usr/aarch64-linux-gnu")
SIGNED = ("-fomit-frame-pointer", "-mbranch-protection=standard")
WAYS = {"records": (), "signed": SIGNED}  # g++ keeps frame records unless told
UNWIND = ROOT / "tests" / "unwind" / "programs"
PACIASP = b"\x3f\x23\x03\xd5"

# What of the tests of stacks a static program can run: the others need the loader, the vdso, or the
# whole of prof.
UNITS = [f"{folder}/{name}" for folder, names in (
    ("unwind", "aarch64 aarch64_recorded call_site cfi cfi_program frame_list rule_step unwind unwind_rule unwind_table"),
    ("code", "elf_image mapped_image module_cfi rule_lookup"), ("process", "stack_table")) for name in names.split()]


def emulated(program):
    return [harness.tool("qemu-aarch64"), "-cpu", "max", "-L", str(SYSROOT), str(program)]


def cross_compile(output, sources, *flags):
    harness.command(CROSS, "-std=c++17", "-O2", "-g", *flags, "-I", harness.TREE, *sources, "-o", output, "-pthread",
                    "-ldl")
    return output


def unit_sources(more=()):
    """Files of unit tests, with their main."""
    unit = ROOT / "tests" / "unit"
    return [unit / "main.cpp", *more, *(unit / f"{name}_test.cpp" for name in UNITS),
            unit / "os" / "linux_stack_test.cpp"]


class Aarch64(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        test_elsewhere.Elsewhere.setUpClass()
        chains.BUILD = (BUILD / "aarch64").resolve()
        chains.BUILD.mkdir(exist_ok=True)

    # ---- unit tests ------------------------------------------------------------------------------

    def expect_units(self, program):
        """All of its test cases pass, and those that are only for aarch64 are there."""
        done = subprocess.run(emulated(program), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])
        self.assertRegex(done.stdout, r"test cases: *([1-9]\d+) \| *\1 passed \| *0 failed")
        listed = subprocess.run(emulated(program) + ["--list-test-cases", "--test-case=aarch64:*"],
                                stdout=subprocess.PIPE, text=True)
        self.assertGreaterEqual(listed.stdout.count("\naarch64: "), 21, listed.stdout)

    def test_units(self):
        folder = chains.BUILD / "units"
        folder.mkdir(exist_ok=True)
        flags = ("-O1", "-g0", *harness.WARNINGS, "-isystem", str(BUILD / "doctest"), "-c")
        header = folder / "header.hpp"  # precompiled, for parsing doctest takes a third of the time
        names = ("doctest/doctest.h", "map", "string", "vector")
        header.write_text("".join(f"#include <{name}>\n" for name in names))
        cross_compile(folder / "header.hpp.gch", [header], *flags, "-x", "c++-header")

        def compile_one(source):
            use = () if source.stem == "main" else ("-Winvalid-pch", "-include", str(header))
            output = folder / f"{source.parent.name}_{source.stem}.o"
            return cross_compile(output, [source], *flags, *use)

        objects = harness.in_parallel(compile_one, unit_sources(test_elsewhere.portable_tests()))
        program = cross_compile(chains.BUILD / "units_glibc", objects)
        self.expect_units(program)

    if LONG:
        def test_units_musl(self):
            helper = test_elsewhere.Elsewhere()
            objects = helper.compile_all("aarch64-linux-musl", unit_sources(), [*DOCTEST, "-O1"])
            program = chains.BUILD / "unit"
            harness.command(*zig.compiler(), "-target", "aarch64-linux-musl", "-static", *objects,
                           "-o", program)
            self.expect_units(program)

    # ---- chains ----------------------------------------------------------------------------------

    def expect_sixty(self, name, flags):
        """60 functions: a shared library, a callback of qsort, a std::function, a landing pad."""
        root = chains.BUILD
        flags = (*flags, "-I", str(chains.PROGRAMS))
        library = cross_compile(root / f"libsixty_{name}.so", [chains.PROGRAMS / "sixty_library.cpp"],
                                "-shared", "-fPIC", *flags)
        sources = [chains.PROGRAMS / "sampler.cpp", chains.PROGRAMS / "sixty.cpp"]
        program = cross_compile(root / f"sixty_{name}", [*sources, library], *flags, "-Wl,-z,lazy",
                                f"-Wl,-rpath,{root}")
        down = [f"step_{n}" for n in range(60, 0, -1)]
        down.insert(down.index("step_31"), "libc.so.6")
        wanted = " < ".join((*down, *chains.ROOT_CHAIN))
        for mode in ((), ("table",)):
            found = chains.samples(*emulated(program), *mode)
            self.assertEqual([one.text().replace("step_60.cold", "step_60") for one in found], [wanted])
            self.assertTrue(found[0].complete and found[0].exact, mode)
        return program.read_bytes().count(PACIASP)

    def test_sixty_frames(self):
        signs = {}
        for name, flags in WAYS.items():
            if LONG or flags:
                with self.subTest(way=name):
                    signs[name] = self.expect_sixty(name, flags)
        self.assertGreater(signs["signed"], 60)

    if LONG:
        def test_static_musl(self):
            """Segments that lie apart, and an emulator that fills the holes between them. A thread of musl goes
            through `start`, whose begin nothing says: that its record is its own is not proven, so it is marked."""
            own = ["leaf < middle < main"] * 2 + ["leaf < compare < sorts < main"]
            own += ["leaf < middle < thread_main"] * 2
            program = chains.BUILD / "small"
            command = [*zig.compiler(), "-target", "aarch64-linux-musl", "-std=c++17", "-O2", "-g",
                       "-fno-sanitize=all", *SIGNED, "-I", harness.TREE, chains.PROGRAMS / "sampler.cpp",
                       chains.PROGRAMS / "small.cpp", "-static", "-o", program]
            harness.command(*command)
            for mode in ((), ("table",)):
                found = chains.samples(*emulated(program), *mode)
                # Of musl's functions only the names are left out.
                named = [[name for name in one.chain if name in "leaf middle compare sorts main thread_main"]
                         for one in found]
                self.assertEqual([" < ".join(names) for names in named], own)
                for one in found:
                    self.assertTrue(one.complete, one)
                    self.assertEqual(one.exact, "thread_main" not in one.chain, one)
                    self.assertRegex(one.chain[-1], "^(libc_start_main_stage2|__clone)$")

    def test_recorder_compiles(self):
        """What made tests/unit/unwind/aarch64_frames.hpp."""
        cross_compile(chains.BUILD / "record_frames.o", [ROOT / "tests/elsewhere/programs/record_frames.cpp"],
                      *SIGNED, "-O0", "-c")

    # ---- timer samples ---------------------------------------------------------------------------

    def expect_complete(self, name, walks, *flags):
        sources = [UNWIND / f"{source}.cpp" for source in ("timer_samples", "workloads", "regexes")]
        program = cross_compile(chains.BUILD / f"timer_{name}", sources, *flags)
        # Every 4 ms: a walk takes up to one under the emulator, and who is sampled again at once stands still.
        text = harness.run(*emulated(program), walks, 4000, timeout=300).stdout
        counts = re.match(r"walks (\d+) complete (\d+) approximate (\d+) without_main (\d+) guessed (\d+)", text)
        walks, complete, approximate, without_main, guessed = map(int, counts.groups())
        print(f"\n{program.name}: {complete} of {walks} complete, {approximate} approximate", end=" ")
        lost = re.findall(r"^lost (.*)$", text, re.MULTILINE)
        self.assertEqual(without_main, 0, "complete and exact, but not through the thread's function")
        self.assertEqual(guessed, 0, "complete and marked, but not through the thread's function")
        self.assertGreaterEqual(complete, 0.999 * walks, lost)
        # While libgcc prepares a landing, which of two callers of a thrower is its own may be a guess.
        self.assertLessEqual(approximate, 0.01 * walks)

    def test_timer_samples(self):
        self.expect_complete("signed", 20000 if LONG else 4000, *SIGNED)

    if LONG:
        def test_timer_samples_with_frame_records(self):
            self.expect_complete("records", 20000)

        def test_timer_samples_static(self):
            """No search header: the tables are built from the file's sections."""
            self.expect_complete("static", 20000, *SIGNED, "-static")


if __name__ == "__main__":
    unittest.main()
