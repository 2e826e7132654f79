"""Several objects that all include the header: every malloc, new, thread and wait is counted once.

Two files of an executable, a linked shared library and a plugin opened with RTLD_LOCAL each
allocate 100 objects by malloc (all freed) and 100 by new (half freed) of their own sizes and start
two threads, of which one makes the other wait for a lock. At rate 1 the profiles must hold exactly
these, whatever compiler, optimisation, visibility, allocator or kind of link. PROF_LONG=1 runs the
whole matrix instead of pairs.
"""

import itertools
import pathlib
import re
import unittest

from support import harness, pprof_check
from support.pprof_check import delays

HIDDEN = ["-fvisibility=hidden"]
NO_EXCEPTIONS = ["-fno-exceptions", "-fno-rtti"]
LIBRARIES = "/usr/lib/x86_64-linux-gnu"

# Chosen so that every value of one column meets every value of most others.
PAIRS = [
    ("g++", "-O0", [], "c++17"),
    ("g++", "-O0", HIDDEN + NO_EXCEPTIONS, "c++20"),
    ("g++", "-O1", ["-flto"], "c++17"),
    ("clang++", "-O0", HIDDEN + NO_EXCEPTIONS, "c++20"),
    ("clang++", "-O1", ["-flto"] + HIDDEN, "c++17"),
]
if harness.LONG:
    PAIRS = [(compiler, optimize, lto + hidden + plain, std)
             for compiler, optimize, lto, hidden, plain, std in itertools.product(
                 ["g++", "clang++"], ["-O0", "-O2"], [[], ["-flto"]], [[], HIDDEN],
                 [[], NO_EXCEPTIONS], ["c++17", "c++20"])]


def work_of(profile):
    """{size: (allocated objects, live objects)} of the sizes that the programs use."""
    found = {}
    for sample in profile.sample:
        for label in sample.label:
            if label.key == "bytes" and 5000 < label.num < 5200:
                allocated, live = found.get(label.num, (0, 0))
                found[label.num] = (allocated + sample.value[0], live + sample.value[2])
    return found


def recorded(sizes):
    """What the objects with these malloc sizes record explicitly, whoever's hooks count."""
    return {size + 100: (20, 10) for size in sizes if size % 2}


def expected(sizes):
    """malloc sizes are odd and freed, new sizes are even and half freed."""
    return {**{size: (100, 0 if size % 2 else 50) for size in sizes}, **recorded(sizes)}


class Outcome:
    def __init__(self, profiles, status, printed):
        self.profile, self.mutex, self.block = profiles
        self.status = status
        # {object: {kind of wait: milliseconds at most}}
        self.waits = {name: {kind: float(most) for kind, most in zip(words[::2], words[1::2])}
                      for name, *words in map(str.split, printed.splitlines())}
        self.threads = int(re.search(r"^threads started: (\d+)$", status, re.M).group(1))
        rows = re.findall(r"^  (\S+): (live|forwarding|dead) - (.+)$", status, re.M)
        self.hooks = {name: state for name, state, _ in rows}
        self.reasons = {name: why for name, _, why in rows}


def run(program, name, *plugin, env=None):
    profile = harness.BUILD / f"{name}.pb.gz"
    status = harness.BUILD / f"{name}.status"
    printed = harness.run(program, profile, status, *plugin, env=env).stdout
    files = {"allocs": profile, "mutex": f"{profile}.mutex", "block": f"{profile}.block"}
    parsed = [pprof_check.parse(pathlib.Path(file).read_bytes()) for file in files.values()]
    problems = [pprof_check.validate(*pair) for pair in zip(parsed, files)]
    if any(problems):
        raise AssertionError(problems)
    return Outcome(parsed, status.read_text(), printed)


def build_objects(name, compiler="g++", optimize="-O2", flags=(), std="c++17"):
    common = {"compiler": compiler, "optimize": optimize, "std": std}
    library = f"lib{name}.so"
    harness.build(["objects_library.cpp"], library, flags=[*flags, "-fPIC", "-shared"], **common)
    plugin = harness.build(["objects_plugin.cpp"], f"{name}_plugin.so",
                           flags=[*flags, "-fPIC", "-shared"], **common)
    program = harness.build(
        ["objects_main.cpp", "objects_second.cpp"], name, flags=flags,
        libraries=[f"-L{harness.BUILD}", f"-l{name}", f"-Wl,-rpath,{harness.BUILD}", "-ldl"],
        **common)
    return program, plugin


def alone_parts(compiler):
    return [harness.object_of(harness.PROGRAMS / f"objects_{part}.cpp", compiler, ["-DALONE"], optimize="-O0")
            for part in ("main", "second")]


def build_alone(name, flags=(), libraries=(), compiler="g++"):
    """The two files of the executable without library and plugin, linked in one of many ways."""
    return harness.build(alone_parts(compiler), name, compiler=compiler, flags=flags, libraries=libraries)


class Waits(unittest.TestCase):
    """What both kinds of programs say of locks."""

    def check_waits(self, outcome, objects):
        self.assertEqual(list(outcome.waits), [f"{name}_work" for name in objects])
        for name, most in outcome.waits.items():
            for what, found, least in (("held", delays(outcome.mutex, f"{name}_holds"), 30),
                                       ("mutex", delays(outcome.block, f"{name}_waits", "mutex"), 30),
                                       ("cond", delays(outcome.block, f"{name}_waits", "cond"), 10),
                                       ("semaphore", delays(outcome.block, f"{name}_waits", "semaphore"), 10)):
                count, delay = found
                self.assertEqual(count, 1, (name, what))
                self.assertGreaterEqual(delay / 1e6, least, (name, what))
                self.assertLessEqual(delay / 1e6, most[what], (name, what))
            self.assertEqual(delays(outcome.block, name, "join")[0], 2, name)
        for hook in ("pthread_mutex_lock", "pthread_cond_timedwait", "sem_timedwait", "pthread_join"):
            self.assertEqual(outcome.hooks[hook], "live", hook)


class SharedObjects(Waits):
    def check_all_counted(self, outcome):
        self.check_waits(outcome, ("exe", "second", "library", "plugin"))
        self.assertEqual(work_of(outcome.profile), expected(range(5001, 5009)))
        self.assertEqual(outcome.threads, 8)
        self.assertEqual(outcome.hooks["malloc"], "live")
        self.assertEqual(outcome.hooks["free"], "live")
        self.assertEqual(outcome.hooks["pthread_create"], "live")
        self.assertNotIn("dead", outcome.hooks.values())

    def test_every_build(self):
        for number, (compiler, optimize, flags, std) in enumerate(PAIRS):
            with self.subTest(compiler=compiler, optimize=optimize, flags=flags, std=std):
                name = f"objects{number}"
                program, plugin = build_objects(name, compiler, optimize, flags, std)
                outcome = run(program, name, plugin)
                self.check_all_counted(outcome)
                self.assertEqual(outcome.hooks["_Znwm"], "forwarding")  # libstdc++'s calls malloc

    def test_preloaded_allocators(self):
        program, plugin = build_objects("objects_preload", optimize="-O0")
        for library, new_state in (("libjemalloc.so.2", "forwarding"),
                                   ("libtcmalloc.so.4", "live"),
                                   ("libtcmalloc_minimal.so.4", "live")):
            with self.subTest(library=library):
                outcome = run(program, "preload", plugin,
                              env={"LD_PRELOAD": f"{LIBRARIES}/{library}"})
                self.check_all_counted(outcome)
                if library != "libjemalloc.so.2":  # some builds of it define new, some do not
                    self.assertEqual(outcome.hooks["_Znwm"], new_state)


class OneObject(Waits):
    sizes = range(5001, 5005)

    def outcome_of(self, program, name):
        outcome = run(program, name)
        self.check_waits(outcome, ("exe", "second"))
        return outcome

    def test_linked_allocators(self):
        for library in ("jemalloc", "tcmalloc"):
            with self.subTest(library=library):
                program = build_alone(f"linked_{library}",
                                      libraries=["-Wl,--no-as-needed", f"-l{library}"])
                loaded = harness.run("/usr/bin/ldd", program).stdout
                self.assertIn(f"lib{library}.so", loaded)
                outcome = self.outcome_of(program, f"linked_{library}")
                self.assertEqual(work_of(outcome.profile), expected(self.sizes))
                self.assertEqual(outcome.threads, 4)
                self.assertNotIn("dead", outcome.hooks.values())

    def test_static_runtime(self):
        program = build_alone("static_runtime", flags=["-static-libstdc++", "-static-libgcc"])
        outcome = self.outcome_of(program, "static_runtime")
        self.assertEqual(work_of(outcome.profile), expected(self.sizes))
        self.assertEqual(outcome.threads, 4)
        self.assertNotIn("dead", outcome.hooks.values())

    def test_static(self):
        """libc's malloc and free win in a static link: new still counts, and nothing lies."""
        for compiler in harness.COMPILERS:
            for kind in ("-static", "-static-pie"):
                with self.subTest(compiler=compiler, kind=kind):
                    name = "alone" + kind.replace("-", "_")
                    outcome = self.outcome_of(build_alone(name, flags=[kind], compiler=compiler), name)
                    self.assertEqual(work_of(outcome.profile), 
                                     {**expected([5002, 5004]), **recorded([5001, 5003])})
                    self.assertEqual(outcome.threads, 4)
                    self.assertEqual(outcome.hooks["malloc"], "dead")
                    self.assertIn("static link", outcome.reasons["malloc"])
                    self.assertEqual(outcome.hooks["free"], "dead")
                    self.assertEqual(outcome.hooks["_Znwm"], "live")
                    self.assertIn("fallback", outcome.reasons["_Znwm"])
                    # Given back by a free that nobody sees, so it must not be counted.
                    self.assertEqual(outcome.hooks["calloc"], "forwarding")
                    self.assertIn("free is another", outcome.reasons["calloc"])
                    self.assertEqual(outcome.hooks["pthread_create"], "live")

    def test_static_jemalloc(self):
        """From the archive nothing of it is pulled in (ours are definitions already); whole, its
        strong definitions win and every entry of it is reported dead."""
        archive = f"{LIBRARIES}/libjemalloc.a"
        program = build_alone("jemalloc_archive", libraries=[archive, "-lm", "-ldl"])
        outcome = self.outcome_of(program, "jemalloc_archive")
        self.assertEqual(work_of(outcome.profile), expected(self.sizes))
        self.assertEqual(outcome.hooks["malloc"], "live")
        whole = build_alone("jemalloc_whole", libraries=[
            "-Wl,--whole-archive", archive, "-Wl,--no-whole-archive", "-lm", "-ldl"])
        outcome = self.outcome_of(whole, "jemalloc_whole")
        self.assertEqual(work_of(outcome.profile), recorded(self.sizes))
        self.assertEqual(outcome.threads, 4)
        for entry in ("malloc", "free", "calloc", "realloc", "posix_memalign"):
            self.assertEqual(outcome.hooks[entry], "dead", entry)
            self.assertIn("another definition comes first", outcome.reasons[entry])
        self.assertEqual(outcome.hooks["pthread_create"], "live")


if __name__ == "__main__":
    unittest.main()
