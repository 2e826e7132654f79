"""Timer samples of four threads that do ordinary work and throw: who is complete, and where the others are.

A complete stack is judged frame by frame by what the files of the process say, the program's and the libraries':
before each return address there is a call. A direct one enters the next frame's function or one that jumps there;
a PLT's goes to who exports the name, or to the loader that looks for it; one through a pointer goes to a function
whose address code or data hold. So does a jump through a register, but prof's hooks go to whom they stand before.
What is behind an unwinder's last instructions and longjmp's, where a return address is overwritten or the thread
about to land, counts as wrong.
"""

import bisect
import collections
import functools
import math
import os
import pathlib
import re
import struct
import unittest

from support import harness
from support.harness import LONG
from support.quiet import needs_quiet

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
SOURCES = ("timer_samples", "workloads", "regexes")
INSTRUCTION = re.compile(r" *([0-9a-f]+):\t(?:(?:bnd|notrack|data16|addr32|rex\.W) +)*"
                         r"(?:(call|j\w+|add|lea) +(\*?)(\S+))?")
# They replace all registers, one by one, before they leave.
LEAVING = ("_Unwind_RaiseException", "_Unwind_Resume", "setcontext", "swapcontext")
WALKS = 500000 if LONG else 50000


@functools.lru_cache(maxsize=None)
def program(compiler, optimize):
    return harness.build([PROGRAMS / f"{source}.cpp" for source in SOURCES], f"timer_{compiler}{optimize}", compiler,
                         optimize=optimize, libraries=["-ldl"])


def lines_of(tool, *arguments):
    return harness.command(tool, *arguments).splitlines()


class File:
    """What one file's instructions, call frame information and dynamic symbols say of its functions."""

    def __init__(self, path):
        self.path = path
        self.starts, self.names = [], []  # labels; of a stripped library's own functions there are none
        self.calls = {}  # return address: where the call goes, None when it is indirect
        self.jumps = collections.defaultdict(set)  # by the begin of a function: where it jumps out to
        self.leaves = set()  # functions that jump through a register or memory, but for tables of a switch
        self.taken = set()  # addresses that code or data hold: whom a pointer may lead to
        self.asked = set()  # names of other files' functions that a pointer may lead to
        self.exports = collections.defaultdict(set)  # name: addresses, None where a resolver chooses
        frames = re.findall(r"(?m) FDE .*pc=(\w+)\.\.(\w+)$", "\n".join(lines_of("readelf", "-wNf", path)))
        self.ranges = sorted((int(begin, 16), int(end, 16)) for begin, end in frames)
        self.read_symbols()
        self.read_data()
        self.read_code()

    def read_symbols(self):
        for line in lines_of("nm", "-D", "--defined-only", self.path):
            row = re.match(r"([0-9a-f]+) ([TtWwi]) ([^@]+)", line)
            if row and row[2] == "i":
                self.exports[row[3]].add(None)
                self.taken.add(int(row[1], 16))  # the loader calls it
            elif row:
                self.exports[row[3]].add(int(row[1], 16))

    def read_data(self):
        relocations = "\n".join(lines_of("readelf", "-rW", self.path))
        self.taken |= {int(to, 16) for to in re.findall(r"R_X86_64_RELATIVE +(\w+)", relocations)}
        self.asked |= set(re.findall(r"R_X86_64_(?:GLOB_DAT|64) +\w+ +([^@\s]+)", relocations))
        # Packed ones are listed by where they are.
        packed = [int(at, 16) for at in re.findall(r"(?m)^([0-9a-f]{16})$", relocations)]
        content, loads = pathlib.Path(self.path).read_bytes(), "\n".join(lines_of("readelf", "-lW", self.path))
        for load in re.findall(r"LOAD +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+)", loads):
            offset, begin, size = (int(word, 16) for word in load)
            self.taken |= {struct.unpack_from("<Q", content, at - begin + offset)[0]
                           for at in packed if begin <= at < begin + size}

    def read_code(self):
        call = added = None
        for line in lines_of("objdump", "-d", "--no-show-raw-insn", "-w", self.path):
            begins = re.match(r"([0-9a-f]+) <(.*)>:$", line)
            if begins:
                self.starts.append(int(begins[1], 16))
                self.names.append(begins[2])
                continue
            row = INSTRUCTION.match(line)
            if not row:
                continue
            address, kind, indirect, operand = int(row[1], 16), *row.groups()[1:]
            if call is not None:
                self.calls[address] = call[0]
            goes = kind is not None and kind not in ("add", "lea")
            target = int(operand, 16) if goes and not indirect else None
            call = (target,) if kind == "call" else None
            if goes and kind != "call":
                self.read_jump(self.function(address), target, switch=operand == added)
            added = operand.rpartition(",")[2] if kind == "add" else None
            held = re.search(r"\(%rip\),\S+ +# (\w+)", line) if kind == "lea" else None
            self.taken.update([int(held[1], 16)] if held else [])

    def read_jump(self, function, target, switch):
        if target is not None:
            self.jumps[function].add(target)
        elif not switch:
            self.leaves.add(function)

    def name(self, address):
        return self.names[max(bisect.bisect_right(self.starts, address) - 1, 0)]

    def stub(self, address):
        """The name that a PLT's code at an address is for, or None."""
        name, plt, _ = self.name(address).partition("@plt")
        return name if plt else None

    def function(self, address):
        """Where it begins. One row of call frame information is for all of a PLT, whose entries have labels."""
        begin, end = self.ranges[max(bisect.bisect_right(self.ranges, (address, math.inf)) - 1, 0)]
        if begin <= address < end and self.stub(address) is None:
            return begin
        return self.starts[max(bisect.bisect_right(self.starts, address) - 1, 0)]


file_at = functools.lru_cache(maxsize=None)(File)


class Code:
    """Who can call whom in one process. A place is a file's number and the begin of a function, None for any
    whose address is taken; without a file's number too, of any file."""

    def __init__(self, paths):
        self.files = [file_at(path) for path in paths]
        self.known = {}
        self.root = None  # see root_of, where it is known
        self.pointed = {number: self.follow(self.held_by(number, file)) for number, file in enumerate(self.files)}
        self.pointed[None] = set().union(*self.pointed.values())

    def held_by(self, number, file):
        begins = {begin for begin, _ in file.ranges} | set(file.starts)
        return set().union({(number, to) for to in file.taken & begins}, *map(self.exported, file.asked))

    def place(self, frame):
        return frame and (frame[0], self.files[frame[0]].function(frame[1]))

    def text(self, frame):
        if frame is None:
            return "no file"
        number, address = frame
        file = self.files[number]
        return f"{file.name(address)}+{address - file.function(address):x} ({os.path.basename(file.path)} {address:x})"

    def exported(self, name):
        return {(number, address if address is None else file.function(address))
                for number, file in enumerate(self.files) for address in file.exports.get(name, ())}

    def resolver(self):
        """What the loader enters to bind a name that was not called yet: it ends with a jump through a register."""
        return {(number, leaf) for number, file in enumerate(self.files) if "ld-linux" in file.path
                for leaf in file.leaves}

    def behind_stub(self, number, name):
        if name.startswith("*ABS*"):
            return {(number, None)}  # a resolver of the same file chooses
        file = self.files[number]  # whose PLT begins with what all entries jump to first
        return self.exported(name) | self.resolver() | {
            (number, start) for start, label in zip(file.starts, file.names) if label.endswith("@plt-0x10")}

    def behind(self, place):
        """Where code gets from a function without a call."""
        number, function = place
        if function is None:
            return set()
        file = self.files[number]
        stub = file.stub(function)
        if stub is not None:
            return self.behind_stub(number, stub)
        places = {(number, file.function(to)) for to in file.jumps[function]}
        if function not in file.leaves:
            return places
        # prof's hooks jump to code of their own, or to whom they stand before.
        same = [self.exported(name) for name in file.exports if function in file.exports[name]]
        hooked = set().union(*(found for found in same if len({to[0] for to in found}) > 1))
        return places | ({(number, None)} | hooked if hooked else {(None, None)})

    def follow(self, places):
        """These and all that code gets to from there without a call."""
        places, new = set(places), set(places)
        while new:
            new = {to for here in new for to in self.behind(here)} - places
            places |= new
        return places

    def enters(self, number, target, callee):
        """Whether a call of `target`, None where that is in a register, gets to the function of `callee`."""
        begin = (None, None) if target is None else (number, self.files[number].function(target))
        if begin not in self.known:
            self.known[begin] = self.follow({begin})
        places, place = self.known[begin], self.place(callee)
        return place in places or any(place in self.pointed[file] for file, begin in places if begin is None)

    def leaves_calls(self, frames):
        """Whether the leaf may be about to land elsewhere than it was called from: at a handler or behind setjmp."""
        target = frames[1] and self.files[frames[1][0]].calls.get(frames[1][1] + 1)
        jumps = target is not None and "setjmp" in self.files[frames[1][0]].name(target)
        return jumps or self.place(frames[0]) in set().union(*map(self.exported, LEAVING))

    def root_of(self, frames):
        """Of a thread: its function and libc's two that called it."""
        return tuple(map(self.place, frames[-3:]))

    def fault(self, frames):
        """What is wrong with a chain of (file's number, offset), None in no file; or None."""
        if self.root not in (None, self.root_of(frames)):
            return "begins elsewhere"
        for callee, caller in zip(frames, frames[1:]):
            if caller is None:
                return f"no file calls {self.text(callee)}"
            calls = self.files[caller[0]].calls
            if caller[1] + 1 not in calls:
                return f"{self.text(caller)} calls nobody"
            target = calls[caller[1] + 1]
            if not self.enters(caller[0], target, callee):
                whom = "a pointer" if target is None else self.text((caller[0], target))
                return f"{self.text(caller)} calls {whom}, not {self.text(callee)}"
        return None


def parse(text):
    """(Code, [(count, chain)]) of what timer_samples printed. All threads have the same root."""
    code = Code(re.findall(r"(?m)^file (.*)$", text))
    chains = []
    for count, chain in re.findall(r"(?m)^chain (\d+) (.*)$", text):
        words = [frame.partition(":") for frame in chain.split()]
        chains.append((int(count), [(int(file), int(offset, 16)) if offset else None for file, _, offset in words]))
    roots = collections.Counter(code.root_of(frames) for _, frames in chains)
    code.root = roots.most_common(1)[0][0]
    return code, chains


class Timer(unittest.TestCase):
    @needs_quiet
    def check(self, path, approximate_share=0.001):
        text = harness.run(path, WALKS, 100, "chains", timeout=300).stdout
        walks, complete, approximate, without_main, guessed = map(int, re.match(
            r"walks (\d+) complete (\d+) approximate (\d+) without_main (\d+) guessed (\d+)\n",
            text).groups())
        lost = re.findall(r"^lost (.*)$", text, re.MULTILINE)
        code, chains = parse(text)
        wrong, elsewhere = collections.Counter(), collections.Counter()
        for count, frames in chains:
            fault = code.fault(frames)
            if fault is not None:
                (wrong if code.leaves_calls(frames) else elsewhere)[fault] += count
        judged, bad = sum(count for count, _ in chains), sum(wrong.values()) + sum(elsewhere.values())
        print(f"\n{path.name}: {complete} of {walks} complete, {approximate} approximate, {bad} of {judged} wrong, "
              f"{sum(elsewhere.values())} of them elsewhere than where one lands", end=" ")
        self.assertGreaterEqual(walks, WALKS)
        self.assertGreater(judged, min(complete, 50000) * 0.9)
        self.assertEqual(without_main + guessed, 0,
                         "complete by its mark, but not through the thread's function")
        self.assertGreaterEqual(complete - bad, 0.999 * walks, (lost, wrong, elsewhere))
        self.assertLessEqual(sum(elsewhere.values()), 0.0001 * walks, elsewhere)
        self.assertLessEqual(approximate, approximate_share * walks)
        self.assertEqual(len(lost), walks - complete)

    def test_gcc(self):
        self.check(program("g++", "-O2"))

    def test_clang(self):
        self.check(program("clang++", "-O2"))

    def test_with_frame_pointers(self):
        """Where they are, a landing's last steps overwrite them before the return addresses: found by scanning."""
        self.check(program("g++", "-O0"), approximate_share=0.02)
        if LONG:
            self.check(program("clang++", "-O0"), approximate_share=0.02)


class WrongChains(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.code, chains = parse(harness.run(program("g++", "-O2"), 5000, 100, "chains", timeout=300).stdout)
        cls.good = [frames for _, frames in chains if cls.code.fault(frames) is None]

    def noticed(self, spoil):
        """Good chains of a short run, spoilt at each place: the share that is noticed."""
        spoilt = [one for frames in self.good for at in range(1, len(frames)) for one in spoil(frames, at)]
        found = sum(self.code.fault(frames) is not None for frames in spoilt)
        print(f"\n{found} of {len(spoilt)} noticed", end=" ")
        self.assertGreater(len(spoilt), 5000)
        return found / len(spoilt)

    def test_a_frame_is_missing(self):
        """What could be is not noticed: `exceptions` calls where `first_throw` jumps, and who calls through a pointer
        may call `throwing`, whose address is taken. Frames that are the same are none the less for one."""
        def without(frames, at):
            alike = frames[at] in (*frames[at - 1:at], *frames[at + 1:at + 2])
            return [] if alike else [frames[:at] + frames[at + 1:]]
        self.assertGreater(self.noticed(without), 0.7)

    def shifted(self, by):
        return self.noticed(lambda frames, at: [
            [*frames[:at], (frames[at][0], frames[at][1] + by), *frames[at + 1:]]] if frames[at] else [])

    def test_a_return_address_is_off(self):
        self.assertEqual(self.shifted(1), 1)
        self.assertEqual(self.shifted(-1), 1)
        self.assertGreater(self.shifted(8), 0.998)


if __name__ == "__main__":
    unittest.main()
