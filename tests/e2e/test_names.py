#!/usr/bin/env python3
"""Functions, lines and inlined frames are those that llvm-symbolizer finds, on random addresses of many builds; and
what go tool pprof shows of a profile with names is what it shows when it finds them itself.

    cd tests && python3 -m unittest e2e.test_names    PROF_LONG=1: all builds; PROF_NAMES=clang_lto,dwz: these only

Each build is one program of several files (names_*.cpp), and name_addresses.cpp names its addresses as prof does. One
oracle only: addr2line's chains differ from LLVM's. A row for each build is printed: which part of the addresses agrees,
and how often each class of difference was met. A class has a rule in RULES, which looks at both answers and at the
file, and says why both are right; what no rule explains counts as wrong. The bounds are those of what is left.
"""

import bisect
import collections
import functools
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import unittest
from typing import Callable, Dict, List, NamedTuple

from support import harness
from support.harness import BUILD, PROGRAMS

SOURCES = ["names_main.cpp", "names_shapes.cpp", "names_text.cpp", "names_tables.cpp"]
ADDRESSES = 5000
FUNCTIONS, LINES, CHAINS = 0.999, 0.995, 0.99  # the least parts that agree
CLONE = re.compile(r"(\.(isra|cold|constprop|part|lto_priv|llvm|localalias)(\.\d+)*)+$")


# ---- the builds ----


class Files(NamedTuple):
    """What is asked: by prof, with an environment, and by the oracle."""

    prof: pathlib.Path
    oracle: pathlib.Path
    environment: Dict[str, str] = {}


def folder(name):
    return harness.fresh_directory(f"names/{name}")


def program(name, compiler="g++", compile_flags=("-g",), link_flags=(), optimize="-O2", sources=SOURCES):
    objects = [harness.object_of(PROGRAMS / source, compiler, compile_flags, optimize=optimize) for source in sources]
    folder(name)
    flags = [*compile_flags, "-Wl,--build-id", *link_flags]
    return harness.build(objects, f"names/{name}/program", compiler, flags, optimize=optimize)


def plain(*arguments, **options):
    path = program(*arguments, **options)
    return Files(path, path)


def split_dwarf(name):
    """The .dwo files are gone: what is left is a skeleton and its lines."""
    path = program(name, compile_flags=("-g", "-gsplit-dwarf"))
    for source in SOURCES:
        made = harness.object_of(PROGRAMS / source, "g++", ("-g", "-gsplit-dwarf"), optimize="-O2")
        for left in made.parent.glob(f"{made.stem}*.dwo"):
            left.unlink()
    return Files(path, path)


def separate(name, place):
    """Stripped, with its debug information where `place`(folder, build id) says."""
    whole = program(name)
    notes = harness.command("readelf", "-n", whole)
    build_id = re.search(r"Build ID: ([0-9a-f]+)", notes)[1]
    target, environment = place(whole.parent, build_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    stripped = whole.with_name("stripped")
    harness.command("objcopy", "--only-keep-debug", whole, target)
    harness.command("objcopy", "--strip-all", whole, stripped)
    if not environment:
        harness.command("objcopy", f"--add-gnu-debuglink={target}", stripped)
    return Files(stripped, whole, environment)


def beside(place, _):
    return place / "stripped.debug", {}


def in_dot_debug(place, _):
    return place / ".debug" / "stripped.debug", {}


def by_build_id(place, build_id):
    path = place / "debug" / ".build-id" / build_id[:2] / f"{build_id[2:]}.debug"
    return path, {"PROF_DEBUG_PATH": str(place / "debug")}


def dwz(name, compile_flags=("-g",), relative=True):
    """The oracle reads the file as it was before: LLVM 14 reads no supplementary files."""
    whole = program(name, compile_flags=compile_flags)
    other = program(f"{name}_other", compile_flags=compile_flags,
                    sources=["names_other.cpp", *SOURCES[1:]])
    first, second = whole.with_name("first"), whole.with_name("second")
    shutil.copy(whole, first)
    shutil.copy(other, second)
    harness.command("dwz", *(["-r"] if relative else []), "-m", whole.with_name("common.debug"), first, second)
    if ".gnu_debugaltlink" not in harness.command("readelf", "-SW", first):
        raise RuntimeError("dwz moved nothing into the common file")
    return Files(first, whole)


def compressed(name, compiler):
    path = program(name, compiler, link_flags=["-gz=zlib"])
    if not re.search(r"\.debug_info .* C ", harness.command("readelf", "-SW", path)):
        raise RuntimeError("the linker compressed nothing")
    return Files(path, path)


SECTIONS = ["-g", "-ffunction-sections"]
BUILDS: Dict[str, Callable[[str], Files]] = {
    "gcc_dwarf5": plain,
    "gcc_dwarf4": functools.partial(plain, compile_flags=["-gdwarf-4"]),
    "gcc_dwarf3": functools.partial(plain, compile_flags=["-gdwarf-3"]),
    "gcc_dwarf2": functools.partial(plain, compile_flags=["-gdwarf-2"]),
    "clang_dwarf5": functools.partial(plain, compiler="clang++"),
    "clang_dwarf4": functools.partial(plain, compiler="clang++", compile_flags=["-gdwarf-4"]),
    "gcc_lto": functools.partial(plain, compile_flags=["-g", "-flto"]),
    "clang_lto": functools.partial(plain, compiler="clang++", compile_flags=["-g", "-flto"], link_flags=["-fuse-ld=lld"]),
    "gcc_gz": functools.partial(compressed, compiler="g++"),
    "clang_gz": functools.partial(compressed, compiler="clang++"),
    "gc_sections": functools.partial(plain, compile_flags=SECTIONS, link_flags=["-Wl,--gc-sections"]),
    "icf": functools.partial(plain, compile_flags=SECTIONS,
                             link_flags=["-Wl,--gc-sections", "-fuse-ld=lld", "-Wl,--icf=all"]),
    "static_pie": functools.partial(plain, link_flags=["-static-pie"]),
    "shared": functools.partial(plain, compile_flags=["-g", "-fPIC"], link_flags=["-shared"]),
    "debug_link": functools.partial(separate, place=beside),
    "dot_debug": functools.partial(separate, place=in_dot_debug),
    "build_id": functools.partial(separate, place=by_build_id),
    "dwz": dwz,
    "dwz_dwarf4": functools.partial(dwz, compile_flags=["-gdwarf-4"], relative=False),
    "g1": functools.partial(plain, compile_flags=["-g1"]),
    "split_dwarf": split_dwarf,
    "gcc_O0": functools.partial(plain, optimize="-O0"),
    "gcc_O3": functools.partial(plain, optimize="-O3"),
}
# What the gate has: four compilations of the program, linked and taken apart in many ways.
GATE = ["gcc_dwarf5", "gcc_dwarf4", "clang_dwarf5", "gcc_gz", "gc_sections", "icf", "static_pie", "debug_link", "dwz"]
# How much of its code each build must let us judge: (functions, lines, chains of several frames). The C library of
# static-pie has no debug information; clang says line 0 of a fifth of its code.
JUDGED = {"static_pie": (0.9, 0.1, 0.05), "g1": (0.9, 0.9, 0), "split_dwarf": (0.9, 0.9, 0), "gcc_O0": (0.9, 0.9, 0)}
JUDGED_ELSE = (0.9, 0.7, 0.3)


# ---- files as readelf shows them ----


class Symbols:
    """Functions with a size."""

    def __init__(self, path):
        self.names = collections.defaultdict(set)  # begin: names
        self.ranges = set()
        for line in harness.command("readelf", "-sW", path).splitlines():
            words = line.split()
            if len(words) != 8 or words[3] not in ("FUNC", "IFUNC") or words[6] == "UND":
                continue
            begin, size = int(words[1], 16), int(words[2], 0)
            self.names[begin].add(words[7].split("@")[0])
            if size != 0:
                self.ranges.add((begin, begin + size))
        self.sorted = sorted(self.ranges)
        self.begins = [begin for begin, _ in self.sorted]

    def at(self, address):
        """The names of the functions that cover the address, or none."""
        found = set()
        after = bisect.bisect_right(self.begins, address)
        for begin, end in self.sorted[max(0, after - 8) : after]:
            if begin <= address < end:
                found |= self.names[begin]
        return found


def code_sections(path):
    found = re.findall(r"\] \S+ +(?:PROGBITS|NOBITS) +([0-9a-f]+) [0-9a-f]+ ([0-9a-f]+) \S+ +AX ",
                       harness.command("readelf", "-SW", path))
    return [(int(begin, 16), int(size, 16)) for begin, size in found]


class Rows:
    """The rows of all line tables, with what linkers made overlap; read when a rule asks."""

    def __init__(self, path):
        self.path = path

    @functools.cached_property
    def spans(self):
        """(begin, end, file's last name, line), sorted."""
        spans, before = [], None
        for found in re.finditer(r"^(\S+) +(\d+|-) +0x([0-9a-f]+)",
                                 harness.command("readelf", "-W", "--debug-dump=decodedline", self.path), re.M):
            address = int(found[3], 16)
            if before is not None and before[0] < address:
                spans.append((before[0], address, before[1], before[2]))
            before = None if found[2] == "-" else (address, found[1], int(found[2]))
        return sorted(spans)

    def at(self, address):
        return {(file, line) for begin, end, file, line in self.spans if begin <= address < end}


def random_addresses(path, seed):
    sections = code_sections(path)
    source = random.Random(seed)
    picked = source.choices(sections, [size for _, size in sections], k=ADDRESSES)
    return sorted(begin + source.randrange(size) for begin, size in picked)


# ---- who answers ----


class Frame(NamedTuple):
    """A function, as linkers know it; empty and 0: unknown."""

    name: str
    file: str
    line: int
    column: int
    start_line: int


def ask(command, addresses, environment=None):
    words = "".join(f"{address:#x}\n" for address in addresses)
    done = subprocess.run(list(map(str, command)), input=words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=600, env={**os.environ, **(environment or {})})
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != len(addresses):
        raise RuntimeError(f"{command} ended with {done.returncode}, {len(lines)} answers for {len(addresses)} addresses\n"
                           f"{done.stderr[-2000:]}")
    return [json.loads(line) for line in lines]


def path_of(file):
    return os.path.normpath(file) if file else ""


def oracle_frames(path, addresses) -> List[List[Frame]]:
    answers = ask([harness.tool("llvm-symbolizer"), f"--obj={path}", "--output-style=JSON", "--inlines",
                   "--functions=linkage", "--no-demangle"], addresses)
    return [[Frame(f["FunctionName"], path_of(f["FileName"]), f["Line"], f["Column"], f["StartLine"])
             for f in answer["Symbol"]] for answer in answers]


def prof_frames(namer, files, addresses) -> List[List[Frame]]:
    answers = ask([namer, files.prof, "inlines"], addresses, files.environment)
    return [[Frame("" if f.get("made_up") else f["linkage"], path_of(f["file"]), f["line"], f["column"], f["start_line"])
             for f in answer] for answer in answers]


# ---- the comparison ----


class Place(NamedTuple):
    """One address: what is known of it."""

    address: int
    ours: List[Frame]
    theirs: List[Frame]
    symbols: set  # names of the functions of the symbol table that cover it
    rows: Rows


def base_name(name):
    return CLONE.sub("", name)


def same_name(ours, theirs):
    return base_name(ours) == base_name(theirs)


def same_function(place):
    """The function that was not inlined. Names of one place are one function."""
    if not place.ours:
        return False
    ours, theirs = place.ours[-1].name, place.theirs[-1].name
    twins = {base_name(name) for name in place.symbols}
    return same_name(ours, theirs) or {base_name(ours), base_name(theirs)} <= twins


def same_line(place):
    if not place.ours:
        return False
    return place.ours[0][1:3] == place.theirs[0][1:3]


def same_chain(place):
    if len(place.ours) != len(place.theirs) or not same_function(place):
        return False
    inlined = zip(place.ours[:-1], place.theirs[:-1])
    return all(same_name(a.name, b.name) for a, b in inlined) and \
        all(a[1:3] == b[1:3] for a, b in zip(place.ours, place.theirs))


def same_column(place):
    return bool(place.ours) and place.ours[0].column == place.theirs[0].column


def same_start(place):
    return len(place.ours) == len(place.theirs) and \
        all(a.start_line == b.start_line for a, b in zip(place.ours, place.theirs))


class Rule(NamedTuple):
    name: str
    explains: Callable[[str, Place], bool]  # of which question; both answers


def is_folded(question, place):
    """The linker kept one of several functions with the same code (--icf=all), and the debug information of each says
    that the code is its own. Which one is shown is chance; its line must be one that a table has for the address."""
    if question != "lines" or len(set(map(base_name, place.symbols))) < 2 or not place.ours:
        return False
    return (os.path.basename(place.ours[0].file), place.ours[0].line) in place.rows.at(place.address)


RULES = [Rule("one of several functions that the linker folded", is_folded)]


def kind_of(place):
    """What a difference that no rule explains looks like."""
    if not place.ours:
        return "no answer"
    if len(place.ours) != len(place.theirs):
        return "more frames" if len(place.ours) > len(place.theirs) else "fewer frames"
    for ours, theirs in zip(place.ours, place.theirs):
        if ours.file != theirs.file:
            return "another file" if ours.file else "no file"
        if ours.line != theirs.line:
            return "another line" if ours.line else "no line"
    if not all(same_name(ours.name, theirs.name) for ours, theirs in zip(place.ours[:-1], place.theirs)):
        return "another inlined function"
    return "another function" if not same_function(place) else "another column or begin"


class Question(NamedTuple):
    name: str
    least: float
    asked: Callable[[Place], bool]  # does the oracle know it
    same: Callable[[Place], bool]


def knows_function(place):
    return bool(place.symbols) and bool(place.theirs) and place.theirs[-1].name not in ("", "??")


def knows_line(place):
    return bool(place.theirs) and place.theirs[0].file != "" and place.theirs[0].line != 0


QUESTIONS = [
    Question("functions", FUNCTIONS, knows_function, same_function),
    Question("lines", LINES, knows_line, same_line),
    Question("chains", CHAINS, lambda place: knows_line(place) and place.theirs[-1].name != "", same_chain),
    Question("columns", CHAINS, lambda place: knows_line(place) and same_line(place), same_column),
    Question("starts", CHAINS, lambda place: knows_line(place) and same_chain(place), same_start),
]


class Verdict:
    """How many places agree on each question, and why others do not."""

    def __init__(self, places):
        self.places = len(places)
        self.asked = collections.Counter()
        self.right = collections.Counter()
        self.classes = collections.Counter()
        self.wrong = collections.defaultdict(list)
        for place in places:
            self.judge(place)
        self.inlined = sum(knows_line(place) and len(place.theirs) > 1 for place in places)

    def judge(self, place):
        for question in QUESTIONS:
            if not question.asked(place):
                continue
            self.asked[question.name] += 1
            if question.same(place):
                self.right[question.name] += 1
                continue
            rule = next((rule for rule in RULES if rule.explains(question.name, place)), None)
            if rule is None:
                self.wrong[question.name].append(place)
            else:
                self.right[question.name] += 1
                self.classes[f"{question.name}: {rule.name}"] += 1

    def part(self, name):
        return self.right[name] / self.asked[name] if self.asked[name] else 1.0

    def row(self):
        parts = "  ".join(f"{q.name} {100 * self.part(q.name):.2f} % of {self.asked[q.name]}" for q in QUESTIONS)
        explained = "".join(f"\n    explained: {count} {name}" for name, count in self.classes.most_common())
        kinds = collections.Counter(f"{name}: {kind_of(place)}" for name in self.wrong for place in self.wrong[name])
        wrong = "".join(f"\n    wrong: {count} {kind}" for kind, count in kinds.most_common())
        return f"{parts}  inlined {self.inlined}{explained}{wrong}"

    def failures(self, judged):
        """One text for each bound that is missed."""
        for question, least in zip(QUESTIONS, judged[:2]):
            if self.asked[question.name] < least * self.places:
                yield f"only {self.asked[question.name]} of {self.places} {question.name} could be judged"
        if self.inlined < judged[2] * self.places:
            yield f"only {self.inlined} of {self.places} places are inlined"
        for question in QUESTIONS:
            if self.part(question.name) < question.least:
                yield f"{question.name}: {100 * self.part(question.name):.2f} %, not {100 * question.least} %\n" + \
                    "\n".join(map(show, self.wrong[question.name][:5]))


def show(place):
    lines = [f"  at {place.address:#x}, in {', '.join(sorted(place.symbols)) or 'no symbol'}"]
    for who, frames in (("prof", place.ours), ("llvm", place.theirs)):
        lines += [f"    {who}: {f.name} {f.file}:{f.line}:{f.column} from {f.start_line}" for f in frames or []]
    return "\n".join(lines)


def compare(name, namer):
    files = BUILDS[name](name)
    addresses = random_addresses(files.oracle, name)
    symbols, rows = Symbols(files.oracle), Rows(files.oracle)
    return Verdict([Place(address, ours, theirs, symbols.at(address), rows) for address, ours, theirs in
                    zip(addresses, prof_frames(namer, files, addresses), oracle_frames(files.oracle, addresses))])


def one_test_per_build(case):
    wanted = os.environ.get("PROF_NAMES") or ",".join(BUILDS if harness.LONG else GATE)
    for name in wanted.split(","):
        assert name in BUILDS, name
        setattr(case, f"test_{name}", lambda self, name=name: self.check(name))
    return case


@one_test_per_build
class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.namer = harness.build(["name_addresses.cpp"], "name_addresses")

    def check(self, name):
        verdict = compare(name, self.namer)
        print(f"\n{name}: {verdict.row()}", flush=True)
        missed = list(verdict.failures(JUDGED.get(name, JUDGED_ELSE)))
        if missed:
            self.fail("\n".join(missed))


class SomeRows:
    """Those of some_place: another function has the same code, with lines of its own."""

    @staticmethod
    def at(address):
        return {("a.cpp", 3), ("twin.cpp", 33)} if address == 16 else set()


def some_place(ours=None, symbols=("outer", "twin"), rows=SomeRows()):
    """Two frames, as the oracle says them; `ours` changes a copy."""
    theirs = [Frame("inner", "/a.cpp", 3, 4, 2), Frame("outer", "/b.cpp", 7, 9, 6)]
    return Place(16, theirs if ours is None else ours(theirs), theirs, set(symbols), rows)


class Judge(unittest.TestCase):
    """The comparison itself: what it accepts, and that each bound can be missed."""

    @staticmethod
    def missed(wrong, wrong_count, places=2000):
        verdict = Verdict([some_place()] * (places - wrong_count) + [some_place(wrong)] * wrong_count)
        return [line.split(":")[0] for line in verdict.failures(JUDGED_ELSE)]

    @staticmethod
    def with_frame(at, **changes):
        return lambda frames: [f._replace(**changes) if i == at else f for i, f in enumerate(frames)]

    def test_the_same_answers_pass(self):
        self.assertEqual(self.missed(None, 0), [])

    def test_clones_and_names_of_the_same_place_pass(self):
        for name in ("outer.isra.0", "outer.constprop.1.cold", "twin", "twin.lto_priv.0", "outer.llvm.123"):
            self.assertEqual(self.missed(self.with_frame(1, name=name), 2000), [], name)
        self.assertEqual(self.missed(self.with_frame(0, name="inner.part.0"), 2000), [])

    def test_each_bound_can_be_missed(self):
        for wrong, allowed, missed in [
            (self.with_frame(1, name="other"), 2, ["functions"]),
            (self.with_frame(1, name=""), 2, ["functions"]),
            (self.with_frame(0, line=2), 10, ["lines"]),
            (self.with_frame(0, file="/c.cpp"), 10, ["lines"]),
            (self.with_frame(0, name="other"), 20, ["chains"]),
            (self.with_frame(1, line=8), 20, ["chains"]),
            (lambda frames: frames[:1] + frames, 20, ["chains"]),
            (self.with_frame(0, column=5), 20, ["columns"]),
            (self.with_frame(1, start_line=5), 19, ["starts"]),
        ]:
            self.assertEqual(self.missed(wrong, allowed), [])
            self.assertEqual(self.missed(wrong, 22)[: len(missed)], missed)

    def test_the_line_of_a_folded_function_is_one_that_a_table_has(self):
        for file, line, symbols, right in [("/twin.cpp", 33, ("outer", "twin"), 1), ("/twin.cpp", 33, ("outer",), 0),
                                           ("/twin.cpp", 33, ("outer", "outer.cold"), 0),
                                           ("/twin.cpp", 34, ("outer", "twin"), 0)]:
            verdict = Verdict([some_place(self.with_frame(0, file=file, line=line), symbols)])
            self.assertEqual((verdict.right["lines"], verdict.right["chains"]), (right, 0), (file, line, symbols))
            self.assertEqual(sum(verdict.classes.values()), right)

    def test_no_answer_is_a_wrong_one(self):
        self.assertEqual(self.missed(lambda frames: [], 2000), ["functions", "lines", "chains"])

    def test_too_little_to_judge_is_a_failure(self):
        nothing = Place(16, [], [Frame("", "", 0, 0, 0)], set(), SomeRows())
        verdict = Verdict([some_place()] * 10 + [nothing] * 90)
        self.assertEqual(len(list(verdict.failures(JUDGED_ELSE))), 3)


# ---- what go tool pprof shows ----

PPROF = """package main

import (
	"fmt"
	"os"

	"github.com/google/pprof/driver"
)

func main() {
	if err := driver.PProf(&driver.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}
"""
VENDORED = ["github.com/google/pprof", "github.com/ianlancetaylor/demangle"]


def build_pprof():
    """pprof with its own tools for object files, from the sources that Go brings: those that `go tool pprof` has instead
    read Go's tables only, and find nothing in a program of C++."""
    place = folder("pprof")
    root = pathlib.Path(harness.command("go", "env", "GOROOT").strip())
    version = re.match(r"go(\d+\.\d+)", harness.command("go", "env", "GOVERSION"))[1]
    module = f"\n\ngo {version}\n"
    needs = "".join(f"\nrequire {name} v0.0.0\nreplace {name} => ./{pathlib.Path(name).name}\n" for name in VENDORED)
    for name in VENDORED:
        shutil.copytree(root / "src" / "cmd" / "vendor" / name, place / pathlib.Path(name).name)
        (place / pathlib.Path(name).name / "go.mod").write_text(f"module {name}{module}")
    (place / "go.mod").write_text(f"module names_pprof{module}{needs}")
    (place / "main.go").write_text(PPROF)
    harness.command("go", "build", "-o", place / "pprof_of_cpp", ".", cwd=place)
    return place / "pprof_of_cpp"


def as_both_say(line):
    """A line of a report, without what may differ: clones, the style of template arguments, spaces; a lambda has no
    name for linkers while it is inlined, and pprof says its last word only."""
    line = re.sub(r"\[clone [^]]*\]", "", CLONE.sub("", line.rstrip()))
    line = re.sub(r"(?:\S*::)?\{lambda[^}]*\}(?:::operator\(\))?(?:\([^)]*\))?(?: const)?", "operator()", line)
    line = re.sub(r"\S*::operator\(\)\([^)]*\)( const)?", "operator()", line)
    line = re.sub(r"> >", ">>", line).replace("(inline)", "")
    return " ".join(line.split())


def sections(report, mark):
    """What a report shows, without its head, in an order that does not depend on names."""
    parts = re.split(mark, report, flags=re.M)[1:]
    return sorted("\n".join(sorted(filter(None, map(as_both_say, part.splitlines())))) for part in parts)


class Pprof(unittest.TestCase):
    """The binary is away; what was left when pprof had it is the measure."""

    maxDiff = None
    SHOWN = "busy::|operator|^main$"  # not the C library, whose debug information may be installed

    @classmethod
    def setUpClass(cls):
        place = folder("profile")
        whole = harness.build(["names_profile.cpp"], "names/profile/program", flags=["-g"], optimize="-O2", with_whole=True)
        harness.run(whole, f"{place}/")
        cls.named = place / "named.pb.gz"
        cls.expected = place / "expected.pb.gz"
        harness.command(build_pprof(), "-symbolize=local:demangle=full", "-proto", f"-output={cls.expected}", whole,
                        place / "plain.pb.gz", env={**os.environ, "PPROF_TMPDIR": str(place)})
        whole.rename(place.parent / "moved_away")

    def both(self, mark, *arguments):
        for index in ("inuse_space", "alloc_objects"):
            shown = [sections(harness.pprof(*arguments, f"-sample_index={index}", f"-show={self.SHOWN}", "-symbolize=none",
                                            file), mark) for file in (self.expected, self.named)]
            yield index, shown[0], shown[1]

    def compare(self, mark, *arguments, least):
        for index, expected, shown in self.both(mark, *arguments):
            with self.subTest(index):
                self.assertGreaterEqual(sum(part.count("\n") + 1 for part in expected), least, expected)
                self.assertEqual("\n--\n".join(shown), "\n--\n".join(expected))

    def test_lines(self):
        self.compare(r"^ +flat .*$", "-top", "-lines", "-nodecount=1000", least=12)

    def test_functions(self):
        self.compare(r"^ +flat .*$", "-top", "-nodecount=1000", least=8)

    def test_list(self):
        self.compare(r"^ROUTINE =+ ", "-list=busy::|operator", least=60)

    def test_peek(self):
        self.compare(r"^-{20}.*$", "-peek=busy::|operator", "-lines", least=40)


if __name__ == "__main__":
    unittest.main()
