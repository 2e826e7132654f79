"""Timer samples of four threads that do ordinary work and throw: who is complete, and where the others are.

A complete stack is judged frame by frame against the program's disassembly: before each return address there is a
call, and a direct call enters the next frame's function, or one that jumps there, or a PLT's entry where the next
frame is a library's. What jumps through a register (prof's hooks) may get anywhere.
"""

import bisect
import collections
import os
import pathlib
import re
import subprocess
import unittest

import harness

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
BUILD = pathlib.Path(os.environ.get("PROF_BUILD_DIR", harness.ROOT / "build" / "unwind")) / "timer"
SOURCES = ("timer_samples", "workloads", "regexes")
WALKS = 500000 if os.environ.get("PROF_LONG") else 50000
JUMPS = 4  # to get from where a call goes to the function that it enters


def program(compiler, *flags):
    BUILD.mkdir(parents=True, exist_ok=True)
    output = BUILD / f"timer_{compiler}{''.join(flags)}"
    sources = [PROGRAMS / f"{source}.cpp" for source in SOURCES]
    subprocess.run([harness.tool(compiler), "-std=c++17", *flags, "-I", harness.TREE, *sources, "-o", output,
                    "-pthread", "-ldl"], check=True)
    return output


class Code:
    """What one program's instructions say of who calls whom."""

    def __init__(self, path):
        text = subprocess.run([harness.tool("objdump"), "-d", "--no-show-raw-insn", "-w", path], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
        self.starts, self.names = [], []
        self.calls = {}  # return address: where the call goes, None when it is indirect
        self.jumps = collections.defaultdict(set)  # by the begin of a function: where it jumps out to
        self.leaves = set()  # functions that jump through a register or memory
        call = None
        for line in text.splitlines():
            begins = re.match(r"([0-9a-f]+) <(.*)>:$", line)
            if begins:
                self.starts.append(int(begins[1], 16))
                self.names.append(begins[2])
            row = re.match(r" *([0-9a-f]+):\t(?:\w+ )*?(call|jmp|j\w+)? *(\*?)([0-9a-f]*)", line)
            if not row:
                continue
            if call is not None:
                self.calls[int(row[1], 16)] = call[0]
            target = int(row[4], 16) if row[2] and row[4] and not row[3] else None
            call = (target,) if row[2] == "call" else None
            if row[2] and row[2] != "call" and row[3]:
                self.leaves.add(self.starts[-1])
            if row[2] and row[2] != "call" and target is not None:
                self.jumps[self.starts[-1]].add(target)

    def function(self, address):
        return self.starts[bisect.bisect_right(self.starts, address) - 1]

    def name(self, address):
        return self.names[bisect.bisect_right(self.starts, address) - 1]

    def enters(self, target, address):
        """Whether a call of `target` gets into the function that holds `address`, or out to a library (None)."""
        reached = {self.function(target)}
        for _ in range(JUMPS):
            reached |= {self.function(to) for here in reached for to in self.jumps[here]}
        return bool(reached & self.leaves) or (address is not None and self.function(address) in reached)

    def fault(self, frames):
        """What is wrong with a chain of offsets, None in a library; or None."""
        for callee, caller in zip(frames, frames[1:]):
            if caller is None:
                continue
            if caller + 1 not in self.calls:
                return f"{self.name(caller)}+{caller:x} calls nobody"
            target = self.calls[caller + 1]
            if target is None:
                continue
            in_stub = callee is not None and self.name(callee).endswith(("@plt", "@plt-0x10"))
            if not in_stub and not self.enters(target, callee):
                return f"{self.name(caller)} calls {self.name(target)}, not {self.name(callee or 0)}"
        return None


class Timer(unittest.TestCase):
    def check(self, path):
        text = harness.run(path, WALKS, 100, "chains", timeout=300).stdout
        walks, complete, approximate, without_main, guessed = map(int, re.match(
            r"walks (\d+) complete (\d+) approximate (\d+) without_main (\d+) guessed (\d+)\n",
            text).groups())
        lost = re.findall(r"^lost (.*)$", text, re.MULTILINE)
        code, wrong, judged = Code(path), collections.Counter(), 0
        for count, chain in re.findall(r"(?m)^chain (\d+) (.*)$", text):
            fault = code.fault([None if frame == "-" else int(frame, 16) for frame in chain.split()])
            judged += int(count)
            if fault is not None:
                wrong[fault] += int(count)
        print(f"\n{path.name}: {complete} of {walks} complete, {approximate} approximate, {sum(wrong.values())} of "
              f"{judged} wrong", end=" ")
        self.assertGreaterEqual(walks, WALKS)
        self.assertGreater(judged, min(complete, 50000) * 0.9)
        self.assertEqual(without_main + guessed, 0,
                         "complete by its mark, but not through the thread's function")
        self.assertGreaterEqual(complete - sum(wrong.values()), 0.999 * walks, (lost, wrong))
        self.assertLessEqual(approximate, 0.001 * walks)
        self.assertEqual(len(lost), walks - complete)

    def test_gcc(self):
        self.check(program("g++", "-O2"))

    def test_clang(self):
        self.check(program("clang++", "-O2"))


if __name__ == "__main__":
    unittest.main()
