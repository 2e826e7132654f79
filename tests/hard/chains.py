"""What the hard cases share: programs with sampler.cpp, run to their samples, every frame named.

A chain is a tuple of names from the leaf to the root: functions of the program and of the libraries
built here by their symbols, other modules' frames by their file (repeats once), code of a PLT as
"plt", code of no file as "anonymous", frames that were left out as "...". Frames of libstdc++'s
templates are dropped, because the optimizer may or may not have inlined them, but where a test asks
for them: "std::function".
"""

import bisect
import os
import pathlib
import re
from typing import NamedTuple

from support import harness
from support.harness import BUILD, command

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
ROOT_CHAIN = ("main", "libc.so.6", "_start")
MARK = 1  # prof::detail::truncation_mark


class Sample(NamedTuple):
    chain: tuple
    stepped: bool
    complete: bool
    exact: bool

    def text(self):
        return " < ".join(self.chain)


class Symbols:
    """Names of the functions and PLT sections of one file; `symbols` is a file that has its symbols."""
    known = {}

    def __init__(self, path, symbols=None):
        loads = re.findall(r"LOAD +\S+ 0x(\w+)", command("readelf", "-lW", path))
        self.base = int(loads[0], 16)
        self.stubs = [(int(at, 16), int(at, 16) + int(size, 16)) for at, size in re.findall(
            r" \.plt\S* +PROGBITS +(\w+) \w+ (\w+)", command("readelf", "-SW", path))]
        lines = re.findall(r"(?m)^(\w+) [tTwW] (\S+)$", command("nm", "-n", symbols or path))
        self.starts = [int(at, 16) for at, _ in lines]
        self.names = [name for _, name in lines]

    @classmethod
    def of(cls, path):
        if path not in cls.known:
            cls.known[path] = cls(path)
        return cls.known[path]

    def name(self, offset):
        address = self.base + offset
        if any(start <= address < limit for start, limit in self.stubs):
            return "plt"
        found = bisect.bisect_right(self.starts, address) - 1
        name = self.names[found] if found >= 0 else "?"
        return re.sub(r"\.(constprop|isra|part|lto_priv)\.\d+", "", name)


class Modules:
    def __init__(self, lines):
        parts = [line.split(" ", 4) for line in lines]
        self.ranges = [(int(start, 16), int(limit, 16), int(header, 16), path)
                       for _, start, limit, header, path in parts]

    def name(self, address):
        if address == MARK:
            return "..."
        for start, limit, header, path in self.ranges:
            if start <= address < limit:
                if pathlib.Path(path).is_relative_to(BUILD):
                    symbols = Symbols.of(path)
                    return symbols.name(address - (header or symbols.base))
                return os.path.basename(path)
        return "anonymous"


def chain_of(modules, addresses, templates):
    names = []
    for address in addresses:
        name = modules.name(int(address, 16))
        template = re.match(r"_Z(?:NK?)?St(\d+)(\w+)", name)
        if template:
            name = "std::" + template[2][:int(template[1])]
        foreign = name in ("...", "anonymous") or ".so" in name
        if (templates or not template) and not (foreign and names and names[-1] == name):
            names.append(name)
    return tuple(names)


def parse(output, templates=False):
    """[Sample] of what print_samples printed; other lines are not looked at."""
    samples, listed, modules = [], [], None
    for line in output.splitlines():
        words = line.split()
        if line == "modules":
            listed, modules = [], None
        elif line.startswith("module "):
            listed.append(line)
        elif line.startswith("sample "):
            modules = modules or Modules(listed)
            samples.append(Sample(chain_of(modules, words[4:], templates), words[1] == "step",
                                  words[2] == "complete", words[3] == "exact"))
    return samples


def build(name, sources, compiler="g++", flags=(), std="c++17", link=(), optimize="-O2"):
    """PROGRAMS' sources, under the house's warnings, linked with the sampler unless that is among them."""
    paths = [PROGRAMS / source for source in sources]
    if "-shared" not in flags and "sampler.cpp" not in sources:
        paths.append(harness.object_of(PROGRAMS / "sampler.cpp", flags=harness.WARNINGS, optimize="-O2"))
    return harness.build(paths, name, compiler, (*harness.WARNINGS, *flags), std, optimize, link)


def run(program, *arguments):
    return harness.run(program, *arguments, timeout=120, cwd=BUILD).stdout


def samples(program, *arguments, templates=False):
    return parse(run(program, *arguments), templates)
