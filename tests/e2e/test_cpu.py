#!/usr/bin/env python3
"""CPU profiles of small programs whose CPU time and shares are known: totals, shares, threads, sessions, addresses.

Bounds are on CPU time as getrusage counts it, so a busy machine makes these tests slower, not wrong; see shares().
"""

import itertools
import platform
import re
import time
import unittest

from support import harness, pprof_check
from support.quiet import needs_quiet

# The functions of cpu_addresses touch each other, as far as the compiler lets them.
ADDRESS_FLAGS = {"g++": ("-falign-functions=1", "-fno-toplevel-reorder"), "clang++": ()}
LIBC_START = re.compile(r"^(_start|__libc_start.*|libc\.so.*|ld-musl.*)$")


def is_profs(name):
    return name.startswith("prof::")


def built(name, compiler="g++", flags=()):
    """One build per program and compiler, whichever test comes first."""
    key = (name, compiler, flags)
    if key not in built.known:
        built.known[key] = harness.build([name + ".cpp", harness.whole(compiler)], f"{name}-{compiler}", compiler=compiler,
                                         flags=flags)
    return built.known[key]


built.known = {}


class Cpu(unittest.TestCase):
    def path(self, name):
        return harness.BUILD / f"{self.id().rsplit('.', 1)[1]}-{name}.pb.gz"

    def profile_of(self, path, hz):
        """Parsed, valid, with the period of its rate."""
        profile = pprof_check.parse(path.read_bytes())
        self.assertEqual(pprof_check.validate(profile, kind="cpu"), [])
        self.assertEqual(profile.period, 10**9 // hz)
        return profile

    def assert_within(self, got, wanted, share, what):
        print(f"\n{self.id().rsplit('.', 1)[1]}: {what}: {got / wanted:.4f} of {wanted / 1e9:.3f} CPU s", end=" ")
        self.assertLessEqual(abs(got - wanted), share * wanted, f"{what}: {got / wanted:.4f} of the truth")

    def shares(self, hz):
        """The kernel looks at a thread's CPU clock at its tick (4 ms here) while the thread runs. Where others compete
        for the CPU a thread may be off it at the tick, and its time is then given to what it does later: totals stay
        right, shares of 10 ms bursts blur. So a run is repeated when its threads waited for a CPU, whatever it shows."""
        path = self.path(hz)
        for _ in range(8):
            used, waited = map(int, harness.run(built("cpu_shares"), path, hz, 4000).stdout.split())
            if waited < 0.02 * used:
                break
            print(f"\nrepeated: threads waited {100 * waited / used:.1f} % of their time for a CPU", end=" ")
            time.sleep(5)
        profile = self.profile_of(path, hz)
        self.assert_within(pprof_check.total(profile, "cpu"), used, 0.03, f"{hz} Hz")
        return profile

    # ---- (a) shares and threads ----

    @needs_quiet
    def test_shares_of_four_functions(self):
        profile = self.shares(250)
        total = pprof_check.total(profile, "cpu")
        for percent in (40, 30, 20, 10):
            got = 100 * pprof_check.find(profile, rf"^\(anonymous namespace\)::burn_{percent}\(", "cpu") / total
            print(f"{percent} % is {got:.2f} %", end=" ")
            self.assertLessEqual(abs(got - percent), 3, f"burn_{percent}: {got:.2f} %")

    @needs_quiet
    def test_threads_from_before_and_after_the_start(self):
        profile = self.shares(250)
        total = pprof_check.total(profile, "cpu")
        for name in ("thread_before_start", "thread_after_start"):
            share = pprof_check.find(profile, rf"::{name}\(", "cpu") / total
            self.assertLessEqual(abs(share - 0.5), 0.03, f"{name} has {share:.3f}")

    # ---- (b), (c) totals ----

    @needs_quiet
    def test_system_time_counts(self):
        path = self.path(100)
        used, system = map(int, harness.run(built("cpu_read"), path, 100, 2000).stdout.split())
        self.assertGreater(system, 0.9 * used, "the program does not do what this test is about")
        profile = self.profile_of(path, 100)
        self.assert_within(pprof_check.total(profile, "cpu"), used, 0.03, "100 Hz")
        self.assertGreater(pprof_check.find(profile, r"^read_zeros\(", "cpu"), 0.9 * used)

    @needs_quiet
    def test_system_time_counts_at_1000_hz(self):
        path = self.path(1000)
        used, _ = map(int, harness.run(built("cpu_read"), path, 1000, 2000).stdout.split())
        self.assert_within(pprof_check.total(self.profile_of(path, 1000), "cpu"), used, 0.03, "1000 Hz")

    @needs_quiet
    def test_total_at_100_hz(self):
        self.shares(100)

    @needs_quiet
    def test_total_at_1000_hz(self):
        self.shares(1000)

    # ---- (d) short threads ----

    @needs_quiet
    def test_many_short_threads(self):
        """A thread loses what it uses after the last kernel tick that met it: half a tick (2 ms at HZ=250)
        on an idle machine, up to two ticks where others compete for the CPUs. Hence 75 % of 40 ms."""
        path = self.path(1000)
        printed = harness.run(built("cpu_short_threads"), path, 1000, 60, 40000).stdout.split()
        used, started, armed, drops = map(int, printed)
        profile = self.profile_of(path, 1000)
        got = pprof_check.find(profile, r"::short_work\(", "cpu")
        print(f"\nshort threads of 40 ms: {got / used:.4f}", end=" ")
        self.assertGreaterEqual(got, 0.75 * used)
        self.assertLessEqual(got, 1.01 * used)
        self.assertEqual((started, drops), (60, 0))
        self.assertLessEqual(armed, 2, "ended threads keep their timers")

    def test_thousands_of_tiny_threads(self):
        """Most end before their first tick; what is left is not to crash, to lose no timer and not to invent time."""
        path = self.path(1000)
        printed = harness.run(built("cpu_short_threads"), path, 1000, 3000, 50).stdout.split()
        used, started, armed, drops = map(int, printed)
        profile = self.profile_of(path, 1000)
        self.assertLessEqual(pprof_check.find(profile, r"::short_work\(", "cpu"), 1.2 * used)
        self.assertEqual((started, drops), (3000, 0))
        self.assertLessEqual(armed, 2, "ended threads keep their timers")

    # ---- (e) sessions ----

    @needs_quiet
    def test_two_sessions_at_different_rates(self):
        slow, fast = self.path("slow"), self.path("fast")
        slow_used, fast_used = map(int, harness.run(built("cpu_sessions"), slow, fast).stdout.split())
        slow_profile, fast_profile = self.profile_of(slow, 100), self.profile_of(fast, 1000)
        self.assert_within(pprof_check.total(slow_profile, "cpu"), slow_used, 0.03, "100 Hz")
        self.assert_within(pprof_check.total(fast_profile, "cpu"), fast_used, 0.03, "1000 Hz")
        self.assertEqual(pprof_check.find(fast_profile, r"::slow_only\(", "cpu"), 0)
        both = pprof_check.find(slow_profile, r"::both\(", "cpu")
        self.assertLessEqual(abs(both - fast_used), 0.03 * fast_used, "the slow session's view of the fast one's time")

    # ---- frames ----

    def test_no_frame_that_was_never_called(self):
        """Words that an earlier call left on the stack are not callers: only the C library calls main, and no
        function of prof's calls the program's. A tick may find the program inside prof, between the start of the
        timers and the return of start_cpu_profile (it opens the file there): then all from the leaf on is prof's."""
        slow, fast, zeros, where = (self.path(name) for name in ("slow", "fast", "zeros", "where"))
        harness.run(built("cpu_sessions"), slow, fast)
        harness.run(built("cpu_read"), zeros, 1000, 500)
        harness.run(built("cpu_addresses", "g++", ADDRESS_FLAGS["g++"]), where)
        for path in (slow, fast, zeros, where):
            with self.subTest(path=path.name):
                profile = pprof_check.parse(path.read_bytes())
                wrong = {}
                for sample in profile.sample:
                    stack = profile.stack(sample)
                    above = stack[stack.index("main") + 1:] if "main" in stack else []
                    names = [name for name in above if not LIBC_START.match(name)]
                    if path in (zeros, where):  # in the others threads start and a session ends
                        inside = itertools.takewhile(is_profs, stack)
                        names += list(filter(is_profs, stack[len(list(inside)):]))
                    for name in names:
                        wrong[name] = wrong.get(name, 0) + sample.value[1] / 1e9
                self.assertEqual(wrong, {}, "CPU seconds with a made-up caller")

    # ---- (f) go tool pprof, addresses ----

    def test_go_tool_pprof_reads_it(self):
        program, first, second = built("cpu_shares"), self.path("first"), self.path("second")
        for path, cpu_ms in ((first, 1000), (second, 2000)):
            harness.run(program, path, 100, cpu_ms)
        again, picture = self.path("again"), self.path("graph").with_suffix(".png")
        harness.pprof("-proto", "-output", again, first)
        self.assertEqual(pprof_check.total(pprof_check.parse(again.read_bytes()), "cpu"),
                         pprof_check.total(pprof_check.parse(first.read_bytes()), "cpu"))
        self.assertIn("PeriodType: cpu nanoseconds", harness.pprof("-raw", first))
        top = harness.pprof("-top", "-cum", first)
        for name in ("burn_40", "burn_30", "thread_before_start"):
            self.assertIn(name, top)
        harness.pprof("-png", "-output", picture, first)
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        difference = harness.pprof("-top", "-cum", "-diff_base", first, second)
        self.assertRegex(difference, r"[0-9]m?s .*burn_40")  # twice the time, so about as much as in the first
        self.assertIn("burn_40", harness.pprof("-top", "-cum", program, first))

    def test_addresses_of_leaf_and_callers(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                self.check_addresses(compiler)

    def check_addresses(self, compiler):
        path = self.path(compiler)
        where, behind = harness.run(built("cpu_addresses", compiler, ADDRESS_FLAGS[compiler]), path).stdout.split()
        profile = self.profile_of(path, 1000)
        leaves = {}
        for sample in profile.sample:
            location = profile.location_by_id(sample.location_id[0])
            if profile.function_by_id(location.line[0].function_id).name == "spin_loop":
                offset = location.address - int(where, 16)
                leaves[offset] = leaves.get(offset, 0) + sample.value[1]
        # Where the thread was interrupted, not a byte before: sub, jne and ret begin here on x86-64, subs, b.ne
        # and ret on aarch64. Each millionth turn ends in ret, so one of 500 samples may be there.
        begins = {0, 4, 6} if platform.machine() == "x86_64" else {0, 4, 8}
        self.assertTrue(leaves and set(leaves) <= begins, leaves)
        self.assertGreater(sum(leaves.values()), 0.4e9)
        if compiler == "g++":  # clang pads between the two
            self.assertEqual(behind, "1", "the call is not the last instruction before the next function")
        by_name = pprof_check.by_function_cum(profile, "cpu")
        self.assertGreater(by_name.get("last_call", 0), 0.4e9)
        self.assertGreater(by_name.get("never_returns", 0), 0.4e9)
        self.assertNotIn("right_behind", by_name)


if __name__ == "__main__":
    unittest.main()
