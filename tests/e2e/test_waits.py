"""Where threads wait and who makes them wait: the profiles block and mutex of programs that know it themselves.

Programs print what their own clock says; the profiles must agree.
"""

import math
import pathlib
import statistics
import unittest

from support import harness, pprof_check
from support.pprof_check import delays


class Kinds(unittest.TestCase):
    """Each kind of wait, once, at its stack."""

    def check(self, name, **how):
        program = harness.build(["waits.cpp"], f"waits_{name}", with_whole=True, **how)
        directory = harness.fresh_directory(f"waits_{name}_files")
        lines = [line.split() for line in harness.run(program, directory).stdout.splitlines()]
        said = [line for line in lines if line[0] != "held"]
        self.assertEqual(len(said), 21)
        block, mutex, waiter = (pprof_check.parse((directory / f"{file}.pb.gz").read_bytes())
                                for file in ("block", "mutex", "waiter"))
        for kind, profile in (("block", block), ("mutex", mutex), ("mutex", waiter)):
            self.assertEqual(pprof_check.validate(profile, kind), [])
        for kind, function, milliseconds, _ in said:
            with self.subTest(function=function):
                count, total = delays(block, function, kind)
                self.assertEqual(count, 1)
                self.assertAlmostEqual(total / 1e6, float(milliseconds), delta=2)
                self.assertEqual(delays(block, function)[0], 1)
        times = {function: float(milliseconds) * 1e6 for _, function, milliseconds, _ in said}
        return mutex, waiter, times, *(float(line[1]) * 1e6 for line in lines if line[0] == "held")

    def test_every_kind_is_seen_once_with_its_time(self):
        mutex, waiter, said, held = self.check("gcc", optimize="-O1")
        # Five waits for locks, of which two end in vain, and one of a woken thread, for 30 ms.
        of_locks = ["wait_mutex", "wait_timed_in_vain", "wait_timedlock_in_vain", "wait_read_lock", "wait_write_lock"]
        for function in of_locks:
            with self.subTest(waiter=function):
                count, total = delays(waiter, function)
                self.assertEqual(count, 1)
                self.assertAlmostEqual(total, said[function], delta=3e6)
        self.assertAlmostEqual(delays(waiter, "wait_condition_and_mutex")[1], held, delta=2e6)
        charged = delays(mutex, "main")[1]
        waited = delays(waiter, "start_thread")[1] or pprof_check.total(waiter, "delay")
        self.assertAlmostEqual(charged, waited, delta=1e6)

    def test_the_same_in_other_builds(self):
        for name, how in (("clang", {"compiler": "clang++", "optimize": "-O2"}),
                          ("static", {"flags": ["-static"]}),
                          ("no_exceptions", {"flags": ["-fno-exceptions", "-fno-rtti"], "optimize": "-O0"}),
                          ("lto", {"flags": ["-flto"], "optimize": "-O2"})):
            with self.subTest(build=name):
                self.check(name, **how)


class UnderWay(unittest.TestCase):
    """A profile in the middle of a wait of each kind, one over the time in which it ends, and one behind it."""

    @classmethod
    def setUpClass(cls):
        program = harness.build(["waits_under_way.cpp"], "waits_under_way", with_whole=True)
        directory = harness.fresh_directory("waits_under_way_files")
        lines = [line.split() for line in harness.run(program, directory).stdout.splitlines()]
        cls.before, cls.behind = (float(word) * 1e6 for line in lines if line[0] == "snapshot" for word in line[2:])
        cls.waits = {function: (kind, float(lasted) * 1e6, float(began) * 1e6)
                     for kind, function, lasted, began in lines if kind != "snapshot"}
        cls.middle, cls.rest, cls.whole = (pprof_check.parse((directory / f"{name}.pb.gz").read_bytes())
                                           for name in ("middle", "rest", "whole"))

    def seen(self, profile):
        """{function: (contentions, nanoseconds)} at its own kind, for which there is nothing at any other."""
        found = {function: delays(profile, function, kind) for function, (kind, _, _) in self.waits.items()}
        self.assertEqual(found, {function: delays(profile, function) for function in self.waits})
        return found

    def test_each_kind_is_there_once_with_its_time_so_far(self):
        self.assertEqual({kind for kind, _, _ in self.waits.values()},
                         {"mutex", "rdlock", "wrlock", "cond", "semaphore", "barrier", "once", "join", "futex"})
        moments = []  # of the profile, by what it and the program say of each wait
        for function, (count, so_far) in self.seen(self.middle).items():
            with self.subTest(function=function):
                self.assertEqual(count, 1)
                moments.append(self.waits[function][2] + so_far)
                self.assertGreater(moments[-1], self.before - 2e6)
                self.assertLess(moments[-1], self.behind + 2e6)
        self.assertLess(max(moments) - min(moments), 2e6)

    def test_the_whole_wait_is_there_once_when_it_has_ended(self):
        for function, (count, whole) in self.seen(self.whole).items():
            with self.subTest(function=function):
                self.assertEqual(count, 1)
                self.assertAlmostEqual(whole, self.waits[function][1], delta=2e6)

    def test_a_profile_over_the_end_has_the_rest_of_a_wait_only(self):
        middle, rest, whole = map(self.seen, (self.middle, self.rest, self.whole))
        between = set()  # the middle and the begin of the profile over a second: the same for all waits
        for function in self.waits:
            self.assertEqual(rest[function][0], 0)
            self.assertGreater(rest[function][1], 100e6)
            between.add(whole[function][1] - middle[function][1] - rest[function][1])
        self.assertLess(max(between) - min(between), 1e6)
        self.assertGreater(min(between), 0)
        self.assertLess(max(between), 100e6)


class ContentionOfLocks:
    """Each unlock is charged the overlap of every waiter's wait with that hold, whatever the lock."""

    NAME = "contention"
    FLAGS = ()

    @classmethod
    def setUpClass(cls):
        cls.program = harness.build(["contention.cpp"], cls.NAME, flags=cls.FLAGS, with_whole=True)
        cls.directory = harness.fresh_directory(f"{cls.NAME}_files")

    def contend(self, what):
        """What the program says, the mutex profile and its view of the waiters."""
        file = self.directory / what
        said = dict(line.split() for line in harness.run(self.program, what, file, 3).stdout.splitlines())
        profiles = [pprof_check.parse(pathlib.Path(f"{file}{view}").read_bytes()) for view in ("", ".waiter")]
        for profile in profiles:
            self.assertEqual(pprof_check.validate(profile, "mutex"), [])
        return {word: float(number) for word, number in said.items()}, *profiles

    def test_a_hold_among_a_hundred_waiters_makes_them_wait_a_hundred_times_as_long(self):
        said, holders, _ = self.contend("crowd")
        count, total = delays(holders, "crowd_member")
        self.assertAlmostEqual(count, said["holds"], delta=3)
        self.assertAlmostEqual(total / said["holds"] / 1e9, 1.0, delta=0.1)

    def test_each_holder_is_charged_what_the_program_itself_logs(self):
        said, holders, waiters = self.contend("holders")
        for function in ("hold_30", "hold_10"):
            with self.subTest(holder=function):
                self.assertAlmostEqual(delays(holders, function)[1] / 1e6 / said[function], 1, delta=0.05)
        self.assertAlmostEqual(pprof_check.total(waiters, "delay") / pprof_check.total(holders, "delay"), 1, delta=0.01)

    def test_readers_share_what_a_writer_waits(self):
        said, holders, waiters = self.contend("readers")
        first, second = (delays(holders, function)[1] / 1e6 for function in ("read_for_20", "read_for_60"))
        self.assertAlmostEqual(first, max(said["read_for_20"], 0), delta=2)
        # The charge ends with the last reader's unlock; the writer may wake later.
        self.assertLess(first + second, said["write_now"] + 1)
        self.assertGreater(first + second, 30)
        self.assertAlmostEqual(delays(waiters, "write_now")[1] / 1e6, first + second, delta=1)


class Contention(ContentionOfLocks, unittest.TestCase):
    """Of the standard's locks, by hooks."""

    def test_woken_waiters_wait_for_the_mutex_from_the_broadcast_on(self):
        _, holders, waiters = self.contend("broadcast")
        for profile in (holders, waiters):
            total = delays(profile, "woken")[1]
            self.assertGreater(total, 940e6)
            self.assertLess(total, 1300e6)


class OwnLocks(ContentionOfLocks, unittest.TestCase):
    """Of prof::mutex and prof::shared_mutex beside hooks: everything once."""

    NAME = "contention_own"
    FLAGS = ("-DOWN_LOCKS",)


class OwnLocksWithoutHooks(ContentionOfLocks, unittest.TestCase):
    """The same where no foreign symbol is defined."""

    NAME = "contention_unhooked"
    FLAGS = ("-DOWN_LOCKS", "-DPROF_HOOKS=none")


class Abseil(unittest.TestCase):
    """absl::Mutex tells who makes others wait by its own function."""

    def test_contention_is_charged_to_the_function_that_unlocks(self):
        libraries = harness.command("pkg-config", "--libs", "absl_synchronization").split()
        program = harness.build(["abseil.cpp"], "abseil", libraries=libraries, with_whole=True)
        directory = harness.fresh_directory("abseil_files")
        said = float(harness.run(program, directory / "mutex.pb.gz").stdout)
        mutex = pprof_check.parse((directory / "mutex.pb.gz").read_bytes())
        self.assertEqual(pprof_check.validate(mutex, "mutex"), [])
        count, total = delays(mutex, "hold")
        self.assertGreaterEqual(count, 1)
        self.assertAlmostEqual(total / 1e6, said, delta=5)


class Sampling(unittest.TestCase):
    """What is sampled is what the program itself saw, on the average over 200 profiles."""

    # The function that each profile charges, and which of the program's figures, holds or waits, it counts.
    SEEN = {"mutex": {"": ("hold_it", 0), ".waiter": ("wait_for_it", 1)}, "block": {"": ("wait_in_vain", 1)}}

    def differences(self, what, rate, windows):
        """(what the profile says, what the program says) of contentions and of delay, for each window and view."""
        program = harness.build(["sampled_waits.cpp"], "sampled_waits", with_whole=True)
        directory = harness.fresh_directory("sampled_waits_files")
        lines = harness.run(program, what, rate, windows, directory).stdout.splitlines()
        said = [tuple(map(int, line.split())) for line in lines]
        self.assertEqual(len(said), windows)
        for view, (function, counted) in self.SEEN[what].items():
            seen = [delays(pprof_check.parse((directory / f"{window}{view}.pb.gz").read_bytes()), function)
                    for window in range(windows)]
            for column, figure in enumerate((counted, 2)):
                yield [(now[column] - before[column], own[figure])
                       for before, now, own in zip([(0, 0), *seen], seen, said)]

    def farthest(self, what, rate):
        """In standard errors, how far the mean of 200 windows is from the truth, where it is farthest."""
        off = []
        for pairs in self.differences(what, rate, 200):
            errors = [seen - true for seen, true in pairs]
            off.append(abs(statistics.mean(errors)) / (statistics.stdev(errors) / math.sqrt(len(errors))))
        return max(off)

    def check(self, what, rate):
        # At rate 1 the program's own log and the profile are the same, so the log is the truth.
        for pairs in self.differences(what, 1, 20):
            self.assertAlmostEqual(sum(seen for seen, _ in pairs) / sum(true for _, true in pairs), 1, delta=0.03)
        # By chance one run in a hundred has something beyond 3, but not two in a row.
        first = self.farthest(what, rate)
        if first >= 3:
            self.assertLess(self.farthest(what, rate), 3, f"and {first} before")

    def test_one_hold_in_five_stands_for_five(self):
        self.check("mutex", 5)

    def test_waits_shorter_than_the_rate_stand_for_as_many_as_are_not_counted(self):
        self.check("block", 20000000)


class BesideGo(unittest.TestCase):
    """Go's own mutex profile of the same two programs, written in Go."""

    @classmethod
    def setUpClass(cls):
        cls.program = harness.BUILD / "contention_go"
        harness.command("go", "build", "-o", cls.program, harness.PROGRAMS / "contention.go")
        cls.directory = harness.fresh_directory("contention_go_files")

    def contend(self, what):
        file = self.directory / what
        said = dict(line.split() for line in harness.run(self.program, what, file, 3).stdout.splitlines())
        return {word: float(number) for word, number in said.items()}, pprof_check.parse(file.read_bytes())

    def test_a_hold_among_a_hundred_waiters_is_charged_the_same(self):
        said, profile = self.contend("crowd")
        count, total = delays(profile, "main.crowdMember")
        self.assertAlmostEqual(count, said["holds"], delta=3)
        self.assertAlmostEqual(total / said["holds"] / 1e9, 1.0, delta=0.1)

    def test_holders_share_what_is_charged_as_the_program_itself_logs(self):
        # In all Go charges these holders 1.21 to 1.25 times what they log (10 runs of Go 1.26), for it takes the mean of
        # the first and the last waiter's wait for all (runtime/sema.go). Ours are within 1.05, see Contention.
        said, profile = self.contend("holders")
        long, short = (delays(profile, f"main.{function}")[1] for function in ("hold30", "hold10"))
        self.assertAlmostEqual(long / (long + short), said["hold30"] / (said["hold30"] + said["hold10"]), delta=0.03)
        self.assertGreater(pprof_check.total(profile, "delay") / 1e6, 0.85 * said["total"])


class Sanitized(unittest.TestCase):
    """A thread sanitizer's own hooks come first: what needs ours is empty then, and all else is there without a race."""

    def check(self, compiler):
        program = harness.build(["sanitized_locks.cpp"], f"sanitized_locks_{compiler}", compiler=compiler,
                                flags=["-fsanitize=thread"])
        directory = harness.fresh_directory(f"sanitized_locks_{compiler}_files")
        done = harness.run(program, directory, env={"TSAN_OPTIONS": "exitcode=66"})
        self.assertEqual(done.stderr, "")
        profiles = {name: pprof_check.parse((directory / name).read_bytes()) for name in
                    ("profile", "mutex", "block", "threads", "goroutine", "threadcreate", "heap")}
        for name, profile in profiles.items():
            with self.subTest(profile=name):
                self.assertEqual(pprof_check.validate(profile), [])
                needs_hooks = name in ("mutex", "block", "heap")
                self.assertEqual(len(profile.sample) == 0, needs_hooks)
        self.assertGreater(pprof_check.find(profiles["profile"], "^contend$"), 0)
        self.assertGreaterEqual(pprof_check.total(profiles["threads"]), 5)
        self.assertGreater(pprof_check.find(profiles["threads"], "^contend$"), 0)
        self.assertIn("(none): off - PROF_HOOKS=none, a sanitizer's build", (directory / "status").read_text())

    def test_gcc(self):
        self.check("g++")

    def test_clang(self):
        self.check("clang++")


if __name__ == "__main__":
    unittest.main()
