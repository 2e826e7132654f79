"""The 40 hard cases of unwinding, each by name: whole chains of functions, frame by frame.

Programs take samples of themselves at exact places or at every instruction (chains.py, sampler.cpp),
once before the modules' tables are built and once after. Where not every stack can be complete, what
is lost must say so: it is marked truncated, or approximate.
"""

import collections
import itertools
import re
import unittest

from elsewhere import zig
from hard import chains
from hard.chains import ROOT_CHAIN, build, parse, run
from support import harness, pprof_check
from support.harness import BUILD, LONG, command  # LONG: else one representative of the foreign targets

LOADER = "ld-linux-x86-64.so.2"
BOTH = ((), ("table",))  # interpreting call frame information, and with tables
LAZY = ("-Wl,-z,lazy",)
RUNTIME = r"((libgcc_s|libstdc\+\+|libc|ld-linux-x86-64)\.so\S*|plt)"


def rooted(*names):
    return (*names, *ROOT_CHAIN)


class Hard(unittest.TestCase):
    maxDiff = 4000

    @classmethod
    def setUpClass(cls):
        BUILD.mkdir(parents=True, exist_ok=True)
        cls.cases = build("cases", ["cases.cpp"], link=LAZY)

    def expect_chains(self, program, arguments, *expected):
        """The samples, none stepped, are exactly these, complete and exact, in both modes."""
        for mode in BOTH:
            found = chains.samples(program, *arguments, *mode)
            self.assertEqual([one.text() for one in found], [" < ".join(c) for c in expected], mode)
            self.assertEqual({(one.complete, one.exact) for one in found}, {(True, True)}, mode)

    def expect_steps(self, program, arguments, *expected, also=()):
        """Every step is complete, exact and one of `expected`, all of which occur, or of `also`."""
        for mode in BOTH:
            found = [one for one in chains.samples(program, *arguments, *mode) if one.stepped]
            for one in found:
                self.assertTrue(one.complete and one.exact, one)
            steps = {one.chain for one in found if one.chain[0] != "stop_stepping"}
            self.assertEqual(steps - set(also), set(expected), mode)

    def expect_marked(self, found, right):
        """Samples that do not match `right` say that they are truncated or approximate; how many."""
        wrong = [one for one in found if not re.fullmatch(right, one.text())]
        for one in wrong:
            self.assertFalse(one.complete and one.exact, one)
        for one in found:
            self.assertEqual(one.complete, "..." not in one.chain, one)
        return len(wrong)

    def expect_basics(self, program, names=("leaf", "frame", "realigned"), libc="libc.so.6"):
        """Leaf, prologues, epilogues and realigned frames of cases.cpp built in another way."""
        root = ("main", *((libc,) if libc else ()), "_start")
        steps = {"frame": ("quiet", "with_saved_registers", "run_frame"),
                 "realigned": ("quiet", "realigned", "run_realigned")}
        for name in names:
            with self.subTest(case=name):
                if name == "leaf":
                    self.expect_chains(program, ["leaf"], ("leaf", "run_leaf", *root))
                else:
                    chain = (*steps[name], *root)
                    self.expect_steps(program, [name], chain, chain[1:], chain[2:])

    def test_started_by_the_loader(self):
        """`ld.so ./program`: the kernel names no interpreter, so nothing counts as never_unloaded."""
        for mode in BOTH:
            found = chains.samples(f"/lib64/{LOADER}", self.cases, "leaf", *mode)
            self.assertEqual([one.text() for one in found], [" < ".join(rooted("leaf", "run_leaf"))], mode)
            self.assertTrue(found[0].complete and found[0].exact, mode)

    # ---- frames ----------------------------------------------------------------------------------

    def test_01_leaf(self):
        self.expect_chains(self.cases, ["leaf"], rooted("leaf", "run_leaf"))

    def test_02_prologue(self):
        whole = rooted("quiet", "with_saved_registers", "run_frame")
        for compiler in ("g++", "clang++"):
            program = build(f"prologue_{compiler}", ["cases.cpp"], compiler=compiler, link=LAZY)
            with self.subTest(compiler=compiler):
                self.expect_steps(program, ["frame"], whole, whole[1:], whole[2:])

    def test_03_epilogue_and_red_zone(self):
        whole = rooted("in_red_zone", "run_red_zone")
        self.expect_steps(self.cases, ["red_zone"], whole, whole[1:])
        whole = rooted("keeps_below_sp", "run_red_zone_register")
        self.expect_steps(self.cases, ["red_zone_register"], whole, whole[1:])

    def lazy_call(self, program):
        whole = rooted("run_plt")
        self.expect_steps(program, ["plt"], whole, ("plt", *whole), (LOADER, *whole),
                          ("libc.so.6", *whole))

    def test_04_plt_lazy(self):
        self.lazy_call(self.cases)

    def test_05_plt_ibt(self):
        program = build("ibt", ["cases.cpp"], flags=["-fcf-protection=full"],
                        link=[*LAZY, "-Wl,-z,ibtplt"])
        self.assertIn(".plt.sec", command("readelf", "-SW", program))
        self.lazy_call(program)

    def test_06_plt_of_lld(self):
        program = build("lld", ["cases.cpp"], compiler="clang++", link=[*LAZY, "-fuse-ld=lld"])
        for mode in BOTH:
            found = chains.samples(program, "plt", *mode)
            self.assertIn(rooted("plt", "run_plt"), {one.chain for one in found})
            # stop_stepping is called by run_plt or, where that ends in a tail call, by main.
            whole = r"(((plt|ld-linux-x86-64.so.2|libc.so.6|stop_stepping) < )?run_plt|stop_stepping) < "
            for one in found:
                self.assertRegex(one.text(), f"^({whole})?main < libc.so.6 < _start$")
                self.assertTrue(one.complete and one.exact, one)

    def test_07_dl_runtime_resolve(self):
        steps = [one for one in chains.samples(self.cases, "plt") if one.chain[0] == LOADER]
        self.assertGreater(len(steps), 300)
        self.assertEqual({one.chain for one in steps}, {rooted(LOADER, "run_plt")})
        self.assertTrue(all(one.complete and one.exact for one in steps))

    def test_08_signal_frame(self):
        self.expect_chains(self.cases, ["signal"],
                           rooted("in_handler", "libc.so.6", "interrupted", "run_signal"))
        self.expect_chains(self.cases, ["signal_by_r11"],
                           rooted("in_handler", "libc.so.6", "faults_by_r11", "run_signal_by_r11"))

    def test_09_nested_signal_on_sigaltstack(self):
        self.expect_chains(self.cases, ["nested_signal"], rooted(
            "in_handler", "libc.so.6", "interrupted", "in_outer_handler", "in_first_handler",
            "libc.so.6", "interrupted", "run_nested_signal"))

    def test_10_alloca(self):
        whole = rooted("quiet", "with_alloca", "run_alloca")
        self.expect_steps(self.cases, ["alloca"], whole, whole[1:], whole[2:])

    def test_11_realigned_frame(self):
        for flags in (["-O3", "-march=native"], ["-O1"], ["-O0"]):  # the last's callers stand by rbp
            program = build("realigned", ["cases.cpp"], flags=flags, link=LAZY)
            chains.Symbols.known.pop(str(program), None)
            with self.subTest(flags=flags):
                self.expect_basics(program, ["realigned"])

    def test_12_huge_frames(self):
        self.expect_chains(self.cases, ["big"], (
            "leaf", "half_megabyte", "twenty_megabytes", "big_thread", "libc.so.6"))

    def test_12_a_page_for_each_frame(self):
        """A probe for each, so the walk gives up finding the root before a thread has no time left to run."""
        for mode in BOTH:
            (found,) = chains.samples(self.cases, "many_pages", *mode)
            self.assertEqual(found.chain[:3], ("leaf", "takes_a_page", "takes_a_page"))
            self.assertRegex(found.text(), r"takes_a_page < \S*takes_pages\S* < libc.so.6$")
            (found,) = chains.samples(self.cases, "too_many_pages", *mode)
            self.assertEqual(found.chain[:3], ("leaf", "takes_a_page", "takes_a_page"))
            self.assertEqual((found.chain[-1], found.complete), ("...", False))

    def test_13_noreturn(self):
        # With no padding behind it, the return address is the next function's.
        program = build("noreturn", ["cases.cpp"], flags=["-falign-functions=1"], link=LAZY)
        for one in (self.cases, program):
            self.expect_chains(one, ["noreturn"], rooted("never_returns", "ends_in_a_call", "run_noreturn"))
        right = (rf"({RUNTIME} < |stop_stepping < )?(jumps_back < )?(run_longjmp < )"
                 r"main < libc\.so\.6 < _start")
        for mode in BOTH:
            found = chains.samples(self.cases, "longjmp", *mode)
            self.assertGreater(len(found), 700)
            self.assertLessEqual(self.expect_marked(found, right), 1)  # longjmp's last instruction

    def test_14_tail_call(self):
        self.expect_chains(self.cases, ["tail"], rooted("leaf", "run_tail"))

    # ---- stacks that are not main's --------------------------------------------------------------

    def test_15_thread_start(self):
        self.expect_chains(self.cases, ["thread"], ("leaf", "thread_main", "libc.so.6"))

    def test_16_makecontext(self):
        inside = ("leaf", "context_main", "libc.so.6")
        outside = rooted("leaf", "swap_in", "run_context")
        last = rooted("leaf", "swap_in")  # a tail call
        program = build("context_O1", ["cases.cpp"], optimize="-O1")
        for one, end in ((self.cases, last), (program, outside)):
            self.expect_chains(one, ["context"], inside, outside, inside, outside, inside, outside,
                               inside, end)

    def test_16_swapcontext_steps(self):
        right = (r"((plt|libc\.so\.6|ld-linux\S+) < )?"
                 r"(((leaf|swap_out) < )?context_main < libc\.so\.6"
                 r"|((leaf|stop_stepping) < )?(swap_in < )?(run_context_steps < )?"
                 r"main < libc\.so\.6 < _start)|libc\.so\.6")
        # The last alternative: swapcontext has pushed the entry, which it returns to.
        right = r"((plt|libc\.so\.6|ld-linux\S+) < )?(" + right + r")|libc\.so\.6 < context_main"
        for mode in BOTH:
            found = chains.samples(self.cases, "context_steps", *mode)
            self.assertGreater(len(found), 1000)
            # swapcontext's ends, where the registers are of one stack and sp is of the other.
            self.assertLessEqual(self.expect_marked(found, right), 45)  # 42 in glibc 2.36

    def test_17_coroutine(self):
        program = build("coroutine", ["coroutine.cpp"], std="c++20")
        for mode in BOTH:
            found = chains.samples(program, *mode)
            self.assertEqual([one.complete and one.exact for one in found], [True, True])
            for one, resumer in zip(found, ("resumes_first", "resumes_again")):
                self.assertEqual((one.chain[0], *one.chain[2:]), rooted("leaf", resumer))
                self.assertRegex(one.chain[1], r"4body.*\.actor")

    # ---- code that comes, goes, or is not described ----------------------------------------------

    def test_18_jit_with_frame_pointers(self):
        """Right, and approximate: an indirect call led there, so the record may as well be a caller's."""
        chain = rooted("anonymous", "calls_jit")
        for mode in BOTH:
            found = chains.samples(self.cases, "jit_with_fp", *mode)
            self.assertEqual([one.chain for one in found], [chain, ("jit_callback", *chain)], mode)
            self.assertEqual({(one.complete, one.exact) for one in found}, {(True, False)}, mode)

    def test_18_jit_without_frame_pointers(self):
        for mode in BOTH:
            found = chains.samples(self.cases, "jit_without_fp", *mode)
            whole = rooted("anonymous", "calls_jit")
            self.assertEqual([one.chain for one in found], [whole, ("jit_callback", *whole)])
            for one in found:
                self.assertFalse(one.complete and one.exact, one)

    def test_18_jit_in_a_program_with_sanitizers(self):
        """A scan reads words between variables, which is an error in the program's own code only."""
        program = build("sanitized", ["cases.cpp", "sampler.cpp"], flags=["-fsanitize=address"], link=LAZY)
        for case in ("jit_without_fp", "jit_with_room"):
            for mode in BOTH:
                found = chains.samples(program, case, *mode)
                self.assertEqual(len(found), 2)
                for one in found:
                    self.assertFalse(one.complete and one.exact, one)

    def plugins(self):
        """Two libraries with frames of different sizes, which are loaded at the same address."""
        return [build(f"plugin_{room}.so", ["plugin.cpp"], flags=[
            "-shared", "-fPIC", f"-DROOM={room}", "-Wl,-Ttext-segment=0x100000000000"])
            for room in (100, 3000)]

    def test_19_dlopen_during_sampling(self):
        plugin = self.plugins()[0]
        program = build("loads", ["loads.cpp"])
        within = rooted("plugin_leaf", "plugin_entry", "calls_plugin")
        expected = [within, ("callback", *within)] * 2
        for mode in BOTH:
            output = run(program, "open", plugin, *mode)
            found = [one for one in parse(output)]
            self.assertEqual([self.with_run(one.chain, "run_open") for one in found], expected)
            self.assertTrue(all(one.complete and one.exact for one in found))
            self.assertIn("stale 0 1 0\n", output)

    def with_run(self, chain, run_name):
        """The chain without the function between calls_plugin and main, which may be a tail call."""
        return tuple(name for name in chain if name != run_name)

    def test_20_dlclose(self):
        first, second = self.plugins()
        program = build("loads", ["loads.cpp"])
        for mode in BOTH:
            before, *gone = chains.samples(program, "stale", first, *mode)
            self.assertEqual(self.with_run(before.chain, "run_stale"),
                             rooted("plugin_leaf", "plugin_entry", "calls_plugin"))
            gone = gone[1:]
            self.assertEqual(len(gone), 8)
            for one in gone:
                self.assertFalse(one.complete and one.exact, one)

    def test_20_replaced(self):
        """First without a refresh: what is known of the first library must not be used for the second."""
        first, second = self.plugins()
        program = build("loads", ["loads.cpp"])
        within = rooted("plugin_leaf", "plugin_entry", "calls_plugin")
        for mode in BOTH:
            output = run(program, "replaced", first, second, *mode)
            found = parse(output)
            self.assertIn("same place 1\n", output)
            self.assertEqual([self.with_run(one.chain, "run_replaced") for one in found],
                             [within, ("callback", *within)] * 4)
            self.assertTrue(all(one.complete and one.exact for one in found))

    def test_20_rebuilt_without_build_id(self):
        """The same path, address and layout of the file: only what it says of its frames is another."""
        program = build("loads", ["loads.cpp"])
        within = rooted("plugin_leaf", "plugin_entry", "calls_plugin")
        # gold puts .eh_frame before its search header.
        for mode, linker in itertools.product(BOTH, ("bfd", "gold", "lld")):
            place = "--image-base" if linker == "lld" else "-Ttext-segment"
            first, second = [build(f"rebuilt_{linker}_{room}.so", ["plugin.cpp"], flags=[
                "-shared", "-fPIC", f"-DROOM={room}", f"-Wl,{place}=0x100000000000", "-Wl,--build-id=none",
                f"-fuse-ld={linker}"]) for room in (300, 3000)]
            output = run(program, "rebuilt", first, second, *mode)
            self.assertFalse(second.exists())
            found = parse(output)
            self.assertIn("same place 1\n", output)
            self.assertEqual([self.with_run(one.chain, "run_replaced") for one in found],
                             [within, ("callback", *within)] * 3)
            self.assertTrue(all(one.complete and one.exact for one in found))

    def test_21_start_and_end_code(self):
        program = build("startup", ["startup.cpp"], link=LAZY)
        found = parse(run(program))
        self.assertEqual([one.chain for one in found], [
            ("leaf", "constructor", "libc.so.6", "_start"), rooted("leaf"),
            ("leaf", "at_exit", "libc.so.6", "_start"),
            ("leaf", "destructor", LOADER, "libc.so.6", "_start")])
        self.assertTrue(all(one.complete and one.exact for one in found))

    def test_21_crt_code_of_a_library(self):
        plugin = self.plugins()[0]
        program = build("loads", ["loads.cpp"], link=LAZY)
        for mode in BOTH:
            found = [one for one in chains.samples(program, "steps", plugin, *mode) if one.stepped]
            leaves = {one.chain[0] for one in found}
            self.assertLessEqual({"_fini", "__do_global_dtors_aux", "plugin_destructor"}, leaves)
            without_rules = {"_init", "_fini", "frame_dummy", "register_tm_clones", "deregister_tm_clones",
                             "__do_global_dtors_aux"}
            for one in found:
                self.assertRegex(one.text(), r"(^| < )ld-linux-x86-64.so.2 < (.* < )?(run_steps < )?"
                                             r"main < libc.so.6 < _start$")
                self.assertTrue(one.complete, one)
                # crtstuff.c's functions have no rules: what was read from their code is marked.
                self.assertTrue(one.exact or not without_rules.isdisjoint(one.chain), one)

    def test_22_stack_overflow(self):
        for mode in BOTH:
            fault, handler = chains.samples(self.cases, "overflow", *mode)
            for one, begin in ((fault, ()), (handler, ("on_overflow", "libc.so.6"))):
                kept = 128 - len(begin) - 1 - 5  # a mark, and five frames of the root's chain
                self.assertEqual(one.chain[:len(begin) + 20], (*begin, *["eats_stack"] * 20))
                self.assertEqual(one.chain[-4:], rooted("run_overflow"))
                self.assertEqual(collections.Counter(one.chain)["..."], 1)
                self.assertEqual(collections.Counter(one.chain)["eats_stack"], kept)
                self.assertFalse(one.complete)
            fault, handler = chains.samples(self.cases, "deep_overflow", *mode)
            for one, begin in ((fault, ()), (handler, ("on_overflow", "libc.so.6"))):
                self.assertEqual(one.chain[:len(begin) + 20], (*begin, *["nibbles_stack"] * 20))
                self.assertEqual(one.chain[-1], "...")
                self.assertLessEqual(set(one.chain), {*begin, "nibbles_stack", "..."})
                self.assertFalse(one.complete)

    # ---- ways to build ---------------------------------------------------------------------------

    def test_23_static(self):
        program = build("static", ["cases.cpp"], link=["-static"])
        self.assertNotIn("GNU_EH_FRAME", command("readelf", "-lW", program))
        found = chains.samples(program, "frame", "table")
        expected = [("quiet", "with_saved_registers", "run_frame", "main"),
                    ("with_saved_registers", "run_frame", "main"), ("run_frame", "main")]
        self.assertEqual({one.chain[:one.chain.index("main") + 1] for one in found if one.stepped}
                         - {("stop_stepping", "main")}, set(expected))
        for one in found:
            self.assertTrue(one.complete and one.exact, one)
            self.assertEqual(one.chain[-1], "_start")
            self.assertRegex(one.text(), r" < main < __libc_start_\S+( < __libc_start_main\S*)? < _start$")

    def test_24_static_pie(self):
        program = build("static_pie", ["cases.cpp"], flags=["-fPIE"], link=["-static-pie"])
        for mode in BOTH:
            found = chains.samples(program, "frame", *mode)
            self.assertLessEqual({"quiet", "with_saved_registers", "run_frame"}, {one.chain[0] for one in found})
            for one in found:
                self.assertTrue(one.complete and one.exact, one)
                self.assertRegex(one.text(), r"^((quiet < )?with_saved_registers < run_frame < "
                                             r"|run_frame < |stop_stepping < )main < __libc_start_\S+"
                                             r"( < __libc_start_main\S*)? < _start$")

    def test_27_cf_protection(self):
        self.expect_basics(build("cf", ["cases.cpp"], flags=["-fcf-protection=full"]))

    def test_28_no_asynchronous_tables(self):
        flags = ["-fno-asynchronous-unwind-tables"]
        program = build("no_async", ["cases.cpp"], flags=flags)
        self.expect_basics(program)

    def plain(self, name, *flags):
        """C without unwind tables in a program that has them."""
        plain = BUILD / f"{name}.o"
        command("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-asynchronous-unwind-tables",
                "-fno-unwind-tables", *flags, "-c", chains.PROGRAMS / "plain.c", "-o", plain)
        self.assertNotIn(".eh_frame", command("readelf", "-SW", plain))
        return build(name, ["plain_main.cpp", plain])

    PLAIN = [rooted("plain_leaf", "plain_middle", "plain_entry", "calls_plain")] * 2 + [
        rooted("inside", "plain_entry", "calls_plain")]

    def test_28_plain_c_with_debug_frame(self):
        program = self.plain("plain_g", "-g", "-fomit-frame-pointer")
        self.assertIn(".debug_frame", command("readelf", "-SW", program))
        found = chains.samples(program, "table")
        self.assertEqual([one.chain for one in found], self.PLAIN)
        self.assertTrue(all(one.complete and one.exact for one in found))

    def test_28_plain_c_with_frame_pointers(self):
        found = chains.samples(self.plain("plain_fp", "-g0", "-fno-omit-frame-pointer",
                                          "-mno-omit-leaf-frame-pointer"))
        self.assertEqual([one.chain for one in found], self.PLAIN)
        self.assertTrue(all(one.complete for one in found))

    def test_28_plain_c_without_anything(self):
        program = self.plain("plain_g0", "-g0", "-fomit-frame-pointer")
        for mode in BOTH:
            found = chains.samples(program, *mode)
            self.assertEqual([one.chain[0] for one in found], ["plain_leaf", "plain_leaf", "inside"])
            for one, right in zip(found, self.PLAIN):
                self.assertFalse(one.complete and one.exact, one)
                self.assertEqual(one.chain[1], right[1])

    def test_29_lto(self):
        program = build("lto", ["cases.cpp"], flags=["-flto"], link=LAZY)
        self.expect_basics(program)

    def test_30_debuglink(self):
        program = build("stripped", ["cases.cpp"], link=LAZY)
        debug = BUILD / "stripped.debug"
        command("objcopy", "--only-keep-debug", program, debug)
        command("objcopy", "--strip-all", f"--add-gnu-debuglink={debug}", program)
        self.assertEqual("", re.sub(r".*no symbols\n", "", command("nm", program)))
        chains.Symbols.known[str(program)] = chains.Symbols(program, debug)
        self.expect_basics(program)

    # ---- leaving in unusual ways -----------------------------------------------------------------

    def test_31_eh_return(self):
        """The steps of one throw, in their order: each has all of the program's frames that are there, and before
        them who can be called there. None is approximate."""
        for mode in BOTH:
            found = chains.samples(self.cases, "exceptions", *mode)
            self.assertGreater(len(found), 20000)
            self.assertEqual({(one.complete, one.exact) for one in found}, {(True, True)}, mode)
            parts = [re.fullmatch(rf"(?P<before>({RUNTIME} < )*)(?P<own>.*)", one.text().replace(".cold", ""))
                     for one in found]
            stages = [(own, [part["before"] for part in group])
                      for own, group in itertools.groupby(parts, key=lambda part: part["own"])]
            self.assertEqual([own for own, _ in stages], [stage[0] for stage in self.throwing()], mode)
            for (own, steps), (_, order, before) in zip(stages, self.throwing()):
                callers = [step.split(" < ")[-2][:9] if step else "" for step in steps]
                letters = "".join({"libgcc_s.": "u", "libstdc++": "s"}.get(one, "-") for one in callers)
                self.assertRegex(letters, f"^{order}$", own)
                for step in set(steps):
                    self.assertRegex(step, f"^({before})?$", own)

    @staticmethod
    def throwing():
        """[(the program's frames, who is before them in which order, all that may be before them)] of cases.cpp's
        run_exceptions. u: the unwinder, which may have landed already at its last three steps; s: libstdc++."""
        standard, unwinder = r"libstdc\+\+\S* < ", r"libgcc_s\S* < "
        others = r"(libc\.|ld-linux)\S* < "
        raises = rf"({others})?{standard}|({others}|{standard}|{unwinder}{standard})?{unwinder}{standard}"
        resumes = rf"plt < |({others}|({unwinder})?{standard})?{unwinder}"
        root = " < ".join(rooted("run_exceptions"))
        catches, *throws = ["throws < " * n + "catches < " + root for n in range(5)]
        return [(root, "-+", ""), (catches, "-+", ""), *((one, "-+", "") for one in throws[:3]),
                (throws[3], "[-s]+u{0,3}-+u+", rf"{raises}|{resumes}"),
                *((one, "u{0,3}-+u+", resumes) for one in throws[2::-1]),
                (catches, "u{0,3}[-s]+", rf"plt < |{unwinder}|({others})?{standard}"),
                (root, "[-su]+", rf"plt < |{unwinder}|{others}|({others})?{standard}"),  # catches ends with a jump
                (" < ".join(rooted("stop_stepping")), "-+", "")]

    def test_32_vfork(self):
        right = rf"(({RUNTIME}|stop_stepping) < )?run_vfork < main < libc\.so\.6 < _start"
        for mode in BOTH:
            output = run(self.cases, "vfork", *mode)
            self.assertNotIn("the child", output)
            found = parse(output)
            self.assertGreater(len(found), 1000)
            self.assertEqual(self.expect_marked(found, right), 0)  # also where the address is in rdi
            for one in found:
                self.assertTrue(one.exact or one.chain[0] == "libc.so.6", one)

    def test_33_qsort_callback(self):
        self.expect_chains(self.cases, ["qsort"], rooted("compare", "libc.so.6", "sorts", "run_qsort"))

    def test_34_cfa_in_odd_registers(self):
        for name in ("odd_rax", "odd_r11"):
            whole = rooted(name, "calls_odd", f"run_{name}")
            self.expect_steps(self.cases, [name], whole, whole[1:])
            for one in chains.samples(self.cases, name):
                self.assertIn(one.chain, {whole, whole[1:], ("stop_stepping", *whole[2:])})

    def test_35_cold_part(self):
        self.expect_chains(self.cases, ["cold"], rooted("rarely", "split.cold", "run_cold"))

    def test_36_vdso(self):
        whole = rooted("run_vdso")
        self.expect_steps(self.cases, ["vdso"], whole, ("plt", *whole), ("libc.so.6", *whole),
                          ("[vdso]", "libc.so.6", *whole))

    def test_37_garbage_registers(self):
        for mode in BOTH:
            output = run(self.cases, "garbage", *mode)
            rounds, deepest, unmarked = map(int, re.search(
                r"garbage rounds (\d+) deepest (\d+) unmarked (\d+)", output).groups())
            self.assertEqual(rounds, 40000)
            self.assertLessEqual(deepest, 128)
            self.assertGreater(deepest, 1)
            self.assertLessEqual(unmarked, 2)  # 0 or 1 are seen

    def test_37_garbage_stack_pointer(self):
        for mode in BOTH:
            found = chains.samples(self.cases, "wild_sp", *mode)
            self.assertEqual(len(found), 5)
            for one in found:
                self.assertFalse(one.complete and one.exact, one)
            for one in found[:3]:
                self.assertEqual(one.chain, ("with_saved_registers", "..."))

    def test_38_push_without_cfi(self):
        right = rooted("pushes_by_hand", "run_push")
        for mode in BOTH:
            found = chains.samples(self.cases, "push", *mode)
            self.assertEqual([one.chain[0] for one in found], ["pushes_by_hand"])
            for one in found:
                self.assertTrue(not one.complete or not one.exact or one.chain == right, one)

    def test_38_a_pointer_taken_for_a_return_address(self):
        for what, caller in (("pointer", "loops_over_callback"), ("label", "loops_over_label")):
            right = rooted("pushes_flags", caller, f"run_push_{what}")
            for mode in BOTH:
                found = chains.samples(self.cases, f"push_{what}", *mode)
                self.assertEqual([one.chain[0] for one in found], ["pushes_flags"] * 2)
                for one in found:
                    self.assertTrue(not one.complete or not one.exact or one.chain == right, one)

    def test_39_fork_child(self):
        program = harness.build([chains.PROGRAMS / "forks.cpp"], "forks", flags=harness.WARNINGS,
                                with_whole=True)
        files = [BUILD / "fork_parent.pb.gz", BUILD / "fork_child.pb.gz"]
        for file in files:
            file.unlink(missing_ok=True)
        harness.run(program, *files)
        parent, child = (pprof_check.parse(file.read_bytes()) for file in files)
        for profile in (parent, child):
            self.assertFalse(pprof_check.validate(profile, "heap"))
        stacks = [[name for name in profile.stack(sample)] for profile in (parent, child)
                  for sample in profile.sample]
        found = [stack[:stack.index("main") + 1] for stack in stacks if "child_allocates" in stack]
        self.assertEqual(set(map(tuple, found)), {("child_allocates", "in_child", "main")})
        names = {name for sample in parent.sample for name in parent.stack(sample)}
        self.assertIn("parent_allocates", names)
        self.assertNotIn("child_allocates", names)

    # ---- elsewhere -------------------------------------------------------------------------------

    def expect_elsewhere(self, name, emulator, compiler, *flags):
        """small.cpp, linked statically: all of its own frames; what ends before a root is marked."""
        program = BUILD / name
        sources = [chains.PROGRAMS / "sampler.cpp", chains.PROGRAMS / "small.cpp"]
        command(*compiler, "-std=c++17", "-O2", "-g", *flags, "-I", harness.TREE, *sources, "-static",
                "-o", program)
        found = chains.samples(*emulator, program)
        own = {"leaf", "middle", "compare", "sorts", "main", "thread_main"}
        self.assertEqual([[frame for frame in one.chain if frame in own] for one in found], [
            ["leaf", "middle", "main"]] * 2 + [["leaf", "compare", "sorts", "main"]] + [
            ["leaf", "middle", "thread_main"]] * 2)
        for one in found:
            self.assertEqual(one.complete, "..." not in one.chain, one)
        return found

    def musl(self, processor):
        return [*zig.compiler(), "-target", f"{processor}-linux-musl", "-fno-sanitize=all"]

    if LONG:
        def sixty_on_musl(self, name, *link):
            """The chain of sixty.cpp on musl, whose qsort has no unwind table; ends behind main."""
            sources = [chains.PROGRAMS / "sampler.cpp", chains.PROGRAMS / "sixty.cpp"]
            flags = ("-target", "x86_64-linux-musl", "-std=c++17", "-O2", "-g", "-fomit-frame-pointer",
                     "-fno-sanitize=all", "-I", harness.TREE)
            command(*zig.compiler(), *flags, *sources, *link, "-o", BUILD / name)
            for mode in BOTH:
                one, = chains.samples(BUILD / name, *mode)
                self.assertTrue(one.complete, one)
                own = [frame for frame in one.chain if re.match(r"step_\d+$|main$", frame)]
                self.assertEqual(own, [*(f"step_{n}" for n in range(60, 0, -1)), "main"], one)
                qsort = one.chain.index("step_31") - one.chain.index("step_32")
                self.assertGreater(qsort, 1, "qsort is between the comparison and its caller")
                # Of the others, which are frames of libc, some are in qsort, the rest below main.
                below = len(one.chain) - one.chain.index("main") - 1
                self.assertEqual(len(one.chain), 61 + qsort - 1 + below, one)
                self.assertGreater(below, 0)
            return one

        def test_25_musl_dynamic(self):
            library = BUILD / "libsixty_musl.so"
            command(*zig.compiler(), "-target", "x86_64-linux-musl", "-O2", "-fPIC", "-shared",
                    "-fomit-frame-pointer", "-nostdlib++", chains.PROGRAMS / "sixty_library.cpp", "-o",
                    library)
            one = self.sixty_on_musl("sixty_musl", "-dynamic", library, f"-Wl,-rpath,{BUILD}")
            self.assertIn("ld-musl-x86_64.so.1", command("readelf", "-lW", BUILD / "sixty_musl"))
            at = one.chain.index("step_32")
            self.assertEqual(one.chain[at + 1:at + 3], ("libc.so", "step_31"))
            self.assertEqual(one.chain[-2:], ("main", "libc.so"))

        def test_26_musl_static(self):
            for one in self.expect_elsewhere("musl", [], self.musl("x86_64")):
                self.assertTrue(one.complete, one)
                # The code that calls main, or a thread's function, has no rules: what was read from it is marked.
                self.assertFalse(one.exact, one)
            self.sixty_on_musl("sixty_musl_static", "-static",
                               chains.PROGRAMS / "sixty_library.cpp")

    def leaf_pac(self, name, compiler):
        signs = {}
        for protection in ("none", "standard"):
            with self.subTest(protection=protection):
                program = BUILD / f"{name}_{protection}"
                self.expect_elsewhere(program.name, [harness.tool("qemu-aarch64"), "-cpu", "max"], compiler,
                                      f"-mbranch-protection={protection}")
                signs[protection] = program.read_bytes().count(b"\x3f\x23\x03\xd5")  # paciasp
        self.assertGreater(signs["standard"], signs["none"] + 5)

    def test_40_aarch64_leaf_pac(self):
        self.leaf_pac("aarch64", [harness.tool("aarch64-linux-gnu-g++"), "-pthread",
                                  "-fomit-frame-pointer"])

    if LONG:
        def test_40_aarch64_leaf_pac_on_musl(self):
            self.leaf_pac("aarch64_musl", self.musl("aarch64"))

    # ---- all at once -----------------------------------------------------------------------------

    def test_sixty_frames(self):
        down = [f"step_{n}" for n in range(60, 0, -1)]
        down.insert(down.index("step_31"), "libc.so.6")  # qsort, between 32 and 31
        plain = list(down)  # optimised, libstdc++ 12's invoker jumps to the function
        plain[plain.index("step_45"):plain.index("step_45")] = [
            "std::__invoke_impl", "std::__invoke_r", "std::_Function_handler", "std::function"]
        ways = [("g++", "-O2", []), ("g++", "-O0", []), ("clang++", "-O2", []), ("clang++", "-O0", []),
                ("g++", "-O3", ["-fno-omit-frame-pointer"]), ("g++", "-Os", ["-fcf-protection=full"])]
        for number, (compiler, optimize, flags) in enumerate(ways):
            with self.subTest(compiler=compiler, optimize=optimize, flags=flags):
                library = build(f"libsixty_{number}.so", ["sixty_library.cpp"], compiler=compiler,
                                optimize=optimize, flags=["-shared", "-fPIC", *flags])
                program = build(f"sixty_{number}", ["sixty.cpp"], compiler=compiler, flags=flags,
                                optimize=optimize, link=[library, f"-Wl,-rpath,{BUILD}", *LAZY])
                for mode in BOTH:
                    found = chains.samples(program, *mode, templates=True)
                    self.assertEqual([one.text().replace("step_60.cold", "step_60") for one in found],
                                     [" < ".join(rooted(*(plain if optimize == "-O0" else down)))])
                    self.assertTrue(found[0].complete and found[0].exact)


if __name__ == "__main__":
    unittest.main()
