#!/usr/bin/env python3
"""Storms under the profiler: modules that come and go at one address, exceptions, fibers, coroutines, a
small signal stack. Each runs for some seconds, for ten minutes with PROF_LONG, while CPU profiles at
1000 Hz and heap profiles are taken one behind the other; then every stack of every profile is judged.
"""

import collections
import concurrent.futures
import functools
import itertools
import os
import pathlib
import re
import shutil
import unittest
from typing import NamedTuple

from support import harness, pprof_check
from support.harness import LONG, command

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
OLD_LOADER = harness.ROOT / "tests" / "unit" / "old_loader.s"
SECONDS = float(os.environ.get("STORM_SECONDS", 600 if LONG else 3))  # the variable: to try things out
COMPILERS = os.environ.get("STORM_COMPILERS", "g++ clang++" if LONG else "g++").split()
AT_ONCE = 7 if LONG else 1  # all storms of a compiler, or two hours would not do
STORMS = {"exceptions": (), "fibers": (), "coroutines": (), "sigstack": ("a", "b"),
          "dlopens": ("a", "b", "c")}
MARK = "[truncated]"

# A stack as one text, see Stack.text: what is right, per storm.
WORK = r"(storm_work < )?"
RIGHT = {
    "exceptions": r"(\* < )?(((re)?throws_down(\.cold)? < )*catches(\.cold)? < )?throwing_thread < \*",
    "fibers": rf"(\* < )?((({WORK}fiber_leaf < |fiber_yield < )?fiber_middle < )?fiber_entry < "
              r"|((begins_fiber|resumes_fiber|reuses_stack) < )?fiber_thread < )\*",
    "coroutines": rf"(\* < )?(({WORK}coroutine_leaf < )?(plain_body < resumes_plain|(inner|outer)_body < "
                  r"resumes_(outer|inner)|(plain|(inner_body < )?outer)_body) < |resumes_\w+ < )?"
                  r"coroutine_thread < \*",
    # "?": a plugin's own begin and end, called by the loader; names of plugins are judged in dlopens.
    "sigstack": rf"(([*?] < )*loads_deep < |(\* < )?({WORK}works_deep < |throws_deep < )?)(goes_down < )?"
                rf"(\[truncated\] < goes_down < )?deep_thread(\.cold)? < \*",
    "dlopens": rf"(\* < )?((({WORK}known_leaf < )?known_middle < )?known_thread|"
               r"((loads_plugin|unloads_plugin|call_[abc]) < )?(one_round < )?storm_thread) < \*",
}
MAIN = r"(\* < )?main < \*"
KNOWN = set(re.findall(r"[a-z]+_[a-z]+", " ".join(RIGHT.values()))) | {
    "main", "plain_body", "inner_body", "outer_body", "throws_down", "rethrows_down", "catches",
    "begins_fiber", "resumes_fiber", "resumes_plain", "resumes_outer", "resumes_inner", "works_deep",
    "loads_plugin", "unloads_plugin", "call_a", "call_b", "call_c"}
# libc changes stacks in code whose call frame information does not say so. By leaf: a sample there may be cut, and
# is counted apart.
WINDOW = {"fibers": ("swapcontext", "setcontext", "__start_context")}
WINDOW_SHARE = 0.02  # 0 to 1.5 % are seen, by CPU


class Frame(NamedTuple):
    name: str
    module: str    # base name of the mapping's file, "" where there is none
    build_id: str

    def known(self):
        """The name if it is one of a storm's own functions, else "*", or "?" where nothing is known."""
        body = re.search(r"(plain|inner|outer)_body", self.name)
        name = body.group(0) if body else self.name
        if name == MARK or name.split(".")[0] in KNOWN:
            return name
        return "*" if self.module else "?"


class Stack(NamedTuple):
    kind: str      # cpu or heap
    frames: tuple  # Frame, leaf first

    def text(self):
        """The storm's functions, leaf first, repetitions once; "*" for stretches of others' frames."""
        names = []
        for frame in self.frames:
            name = frame.known()
            if not names or names[-1] != name:
                names.append(name)
        return " < ".join(names)

    def __str__(self):
        return f"{self.kind}: " + " < ".join(f"{frame.name} ({frame.module})" for frame in self.frames)


def build(compiler):
    """All storms, as programs of one object with the profiler and one of their own; and the plugins."""
    folder = harness.fresh_directory(compiler)
    libraries = []
    for who, (kind, build_id) in itertools.product("abc", (("", "sha1"), ("bare_", "none"))):
        room = ["-DROOM=300000"] if who == "c" else []
        libraries.append(("plugin.cpp", f"{kind}plugin_{who}.so", ("-shared", "-fPIC", f"-DWHO={who}", *room,
                                                                   f"-Wl,--build-id={build_id}")))

    def made(job):
        name, output, flags = job
        return harness.build([PROGRAMS / name], f"{compiler}/{output}", compiler, (*harness.WARNINGS, *flags),
                             optimize="-O2")

    def object_of(name):
        return harness.object_of(PROGRAMS / f"{name}.cpp", compiler, harness.WARNINGS, optimize="-O2",
                                 std="c++20" if name == "coroutines" else "c++17")

    objects = dict(zip(("storm", *STORMS), harness.in_parallel(object_of, ("storm", *STORMS))))
    harness.in_parallel(made, libraries)
    for name in STORMS:
        harness.build([objects["storm"], objects[name]], f"{compiler}/{name}", compiler, libraries=["-ldl"])
    # As before glibc 2.35, which cannot be asked in a handler what is loaded at an address.
    harness.build([objects["storm"], objects["dlopens"], OLD_LOADER], f"{compiler}/dlopens_old", compiler, ["-no-pie"],
                  libraries=["-ldl"])
    return folder


def stacks_of(path):
    """(Stack, samples) of a profile file. A heap profile's counts are scaled: each stack counts once."""
    kind = path.name.split("_")[0]
    profile = pprof_check.parse(path.read_bytes())
    mappings = {one.id: (os.path.basename(one.filename), one.build_id) for one in profile.mapping}
    names = {one.id: one.name for one in profile.function}
    frames = {one.id: [Frame(names[line.function_id], *mappings.get(one.mapping_id, ("", "")))
                       for line in one.line] for one in profile.location}
    for one in profile.sample:
        yield (Stack(kind, tuple(frame for id in one.location_id for frame in frames[id])),
               one.value[0] if kind == "cpu" else 1)


def problems_of(files):
    """What is wrong with the last CPU and the last heap profile, as files. Addresses of no module are left to
    the judgement of stacks."""
    last = {path.name.split("_")[0]: path for path in files}
    return [problem for kind, path in last.items()
            for problem in pprof_check.validate(pprof_check.parse(path.read_bytes()), kind)
            if not problem.startswith("address:")]


@functools.lru_cache
def start_context_offsets(libc="/lib/x86_64-linux-gnu/libc.so.6"):
    """__start_context has no symbol; of libc it alone calls setcontext (glibc 2.36: 50 bytes)."""
    (call,) = re.findall(r"(?m)^ *(\w+):.*\bcall .*<setcontext@@[^+>]*>", command("objdump", "-d", libc))
    return range(int(call, 16) - 32, int(call, 16) + 32)


def is_start_context(frame):
    offset = re.fullmatch(r"libc\.so\.6\+0x(\w+)", frame.name)
    return bool(offset) and int(offset.group(1), 16) in start_context_offsets()


def sum_of(counter):
    return sum(counter.values())


def shown(counter):
    return "".join(f"\n  {count} {stack}" for stack, count in counter.most_common(9))


class Outcome:
    """What a storm left behind."""

    def __init__(self, folder, name, case, seconds, arguments):
        directory = folder / f"profiles_{case}"
        directory.mkdir()
        # A hang ends here, as an error.
        self.output = harness.run(folder / name, seconds, directory, *arguments,
                                  timeout=2 * seconds + 60).stdout
        self.seconds = seconds
        files = sorted(directory.glob("*.pb.gz"))
        self.problems = problems_of(files)
        self.profiles = len(files)
        self.stacks = collections.Counter()
        for path in files:
            for stack, count in stacks_of(path):
                self.stacks[stack] += count
        shutil.rmtree(directory)

    def number(self, name):
        return int(re.search(rf"(?m)^{name} (\d+)$", self.output).group(1))

    def drops(self):
        return {cause: int(count) for count, cause in re.findall(r"(?m)^drop (\d+) (.*)$", self.output)}

    def total(self, kind):
        return sum(count for stack, count in self.stacks.items() if stack.kind == kind)


def plugin_verdict(stack, letter, ids):
    """right, wrong, unnamed or broken: the frames that were called from call_LETTER; None: there are none.

    `ids`: the plugins' build ids by letter."""
    names = [frame.name for frame in stack.frames]
    below = stack.frames[:names.index(f"call_{letter}")]
    if not below or below[-1].module.startswith("dlopens"):
        return None  # it has not called yet, or returned
    functions = []
    for frame in reversed(below):
        named = re.match(r"plugin_([abc])_(\w+)", frame.name)
        module = re.search(r"(plugin_([abc])|shared)\.so$", frame.module)
        if named and named.group(1) != letter or module and module.group(2) not in (None, letter):
            return "wrong"
        if module and frame.build_id != ids[letter]:
            return "wrong"
        if named and not frame.name.endswith("@plt"):
            functions.append(named.group(2))
        elif module and not named and "+0x" in frame.name or frame.known() == "?":
            return "unnamed"
    whole = ["entry", "middle", "leaf"]
    from_plugin = re.match(r"plugin_", below[0].name)
    if functions != whole[:len(functions)] or functions != whole and not from_plugin:
        return "broken"
    return "right"


class Storm(unittest.TestCase):
    folders = {}

    @classmethod
    def setUpClass(cls):
        cls.folders = {compiler: build(compiler) for compiler in COMPILERS}
        cls.outcomes = {}
        cases = {name: (name, SECONDS, [f"plugin_{who}.so" for who in plugins])
                 for name, plugins in STORMS.items()}
        plugins = cases["dlopens"][2]
        cases["dlopens_bare"] = ("dlopens", SECONDS / (1 if LONG else 2), [f"bare_{one}" for one in plugins])
        for kind, files in (("old", plugins), ("old_bare", [f"bare_{one}" for one in plugins])):
            cases[f"dlopens_{kind}"] = ("dlopens_old", SECONDS / (1 if LONG else 2), files)
        # A profile's names are of the file that is there at its end: it takes many to see two in five right.
        cases["dlopens_rebuilt"] = ("dlopens", SECONDS, [*plugins, "shared.so"])
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            for compiler, folder in cls.folders.items():
                running = {case: pool.submit(Outcome, folder, name, case, seconds,
                                             [folder / one for one in arguments])
                           for case, (name, seconds, arguments) in cases.items()}
                concurrent.futures.wait(running.values())
                cls.outcomes.update({(compiler, case): one for case, one in running.items()})

    def each(self, case, judge):
        """judge(compiler, Outcome) for a case, whose profiles are valid and many enough."""
        for compiler in COMPILERS:
            with self.subTest(compiler=compiler):
                outcome = self.outcomes[compiler, case].result()  # raises what went wrong: a crash, a hang
                print(f"\n{case} {compiler}: {outcome.number('rounds')} rounds, {outcome.profiles} profiles, "
                      f"{outcome.number('cpu_ms')} ms of CPU, "
                      f"{outcome.total('cpu')} samples, {outcome.total('heap')} heap stacks", end=", ")
                self.assertEqual(outcome.problems, [])
                self.assertGreater(outcome.profiles, outcome.seconds / AT_ONCE)
                self.assertGreater(outcome.total("cpu"), 300 * outcome.seconds / AT_ONCE)
                self.assertEqual(outcome.number("unsampled"), 0)
                self.assertLessEqual(set(outcome.drops()), {"ticks that arrived after the end"})
                judge(compiler, outcome)

    def check_stacks(self, storm, stacks):
        """At least 99.9 % of the stacks are right, from the leaf to the root."""
        right, window, leaves = 0, 0, WINDOW.get(storm, ())
        lost = collections.Counter()
        for stack, count in stacks.items():
            first = stack.frames[0]
            if re.fullmatch(f"{RIGHT[storm]}|{MAIN}", stack.text()):
                right += count
            elif stack.frames[-1].module.startswith("ld-linux") and not {
                    frame.known() for frame in stack.frames} - {"*"}:
                right += count  # before main
            elif first.name in leaves or is_start_context(first) and "__start_context" in leaves:
                window += count
            else:
                lost[stack] += count
        total = sum(stacks.values())
        print(f"{right} of {total} stacks right, {window} in the window, {sum_of(lost)} lost", end=", ")
        self.assertLessEqual(sum_of(lost), max(0.001 * total, 1), shown(lost))
        self.assertLessEqual(window, WINDOW_SHARE * total)
        self.assertGreater(right, 300)

    def check_storm(self, storm, also):
        def judge(_, outcome):
            self.check_stacks(storm, outcome.stacks)
            also(outcome)
        self.each(storm, judge)

    # ---- the storms ----------------------------------------------------------------------------------

    def test_exceptions(self):
        def also(outcome):
            self.assertGreater(outcome.number("rounds"), 100 * outcome.seconds / AT_ONCE)
        self.check_storm("exceptions", also)

    def test_fibers(self):
        def also(outcome):
            self.assertGreater(outcome.number("rounds"), 300 * outcome.seconds / AT_ONCE)
            self.assertGreater(outcome.number("ended"), 10 * outcome.seconds / AT_ONCE)
            self.assertTrue(any("fiber_leaf" in stack.text() for stack in outcome.stacks))
        self.check_storm("fibers", also)

    def test_coroutines(self):
        def also(outcome):
            texts = {stack.text() for stack in outcome.stacks}
            for chain in ("plain_body < resumes_plain", "outer_body < resumes_outer",
                          "inner_body < resumes_outer", "inner_body < resumes_inner",
                          "outer_body < resumes_inner"):
                self.assertTrue(any(f"coroutine_leaf < {chain} < coroutine_thread" in text
                                    for text in texts), chain)
        self.check_storm("coroutines", also)

    def test_sigstack(self):
        def also(outcome):
            frame, most, least = map(outcome.number, ("kernel_frame", "most", "least"))
            print(f"{most} bytes of the signal stack used, {frame} of them the kernel's", end="")
            self.assertGreater(least, frame, "a thread whose handler did not run on its signal stack")
            self.assertLess(most, 16384)
            self.assertLessEqual(most - frame, 1024)  # the handler's own, also where it looks up what is new
            for stack in outcome.stacks:
                if MARK in stack.text():  # cut in the middle, as too deep ones are meant to be
                    self.assertGreaterEqual(len(stack.frames), 100, stack)
        self.check_storm("sigstack", also)

    def check_plugins(self, case, may_be_unnamed):
        def judge(compiler, outcome):
            folder, bare = self.folders[compiler], case.endswith("_bare")
            ids = {who: "" if bare else re.search(r"Build ID: (\w+)", command(
                "readelf", "-n", folder / f"plugin_{who}.so")).group(1) for who in "abc"}
            verdicts = {kind: collections.Counter() for kind in ("right", "wrong", "unnamed", "broken")}
            others = collections.Counter()
            for stack, count in outcome.stacks.items():
                text = stack.text()
                letter = re.search(r"call_([abc])", text)
                verdict = letter and plugin_verdict(stack, letter.group(1), ids)
                if re.search(r"\? < (\* < )?(un)?loads_plugin", text):
                    verdict = "unnamed"  # a plugin's own begin or end, called by the loader
                (verdicts[verdict] if verdict else others)[stack] += count
            print(", ".join(f"{sum_of(found)} {kind}" for kind, found in verdicts.items()), end=", ")
            self.assertGreater(outcome.number("same_place"), outcome.number("rounds") * 0.3)
            self.check_stacks("dlopens", others)
            total = sum(sum_of(found) for found in verdicts.values())
            self.assertGreater(total, 100 * outcome.seconds / AT_ONCE)
            self.assertGreater(sum_of(verdicts["right"]), 0.2 * total)
            for kind, share in (("wrong", 0), ("unnamed", 1 if may_be_unnamed else 0), ("broken", 0.001)):
                with self.subTest(compiler=compiler, kind=kind):
                    self.assertLessEqual(sum_of(verdicts[kind]), share * total, shown(verdicts[kind]))
        self.each(case, judge)

    def test_dlopens(self):
        self.check_plugins("dlopens", may_be_unnamed=False)

    def test_dlopens_without_build_ids(self):
        self.check_plugins("dlopens_bare", may_be_unnamed=False)

    def test_dlopens_before_glibc_2_35(self):
        self.check_plugins("dlopens_old", may_be_unnamed=False)
        self.check_plugins("dlopens_old_bare", may_be_unnamed=False)

    def test_dlopens_of_a_rebuilt_plugin(self):
        # The file that had the names may be gone when they are looked for.
        self.check_plugins("dlopens_rebuilt", may_be_unnamed=True)


if __name__ == "__main__":
    unittest.main()
