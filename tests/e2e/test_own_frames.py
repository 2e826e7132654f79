"""Where stacks begin: at the host's call of what prof hooks, or of prof itself, however both are compiled.

prof's functions are told by their addresses, so it is the same where no name is there to tell them: without symbolize, and
in a stripped program, whose addresses are looked up in the symbols of its unstripped copy.
"""

import re
import unittest

from support import harness, pprof_check

# What leaves frames of prof's on the stack (-O0, -O1 of g++, no sibling calls), and what does not.
WAYS = {
    "O0": ("-O0",),
    "O2": ("-O2",),
    "called": ("-O2", "-fno-optimize-sibling-calls"),
}
if harness.LONG:
    WAYS.update({"O1": ("-O1",), "lto_called": ("-O2", "-flto", "-fno-optimize-sibling-calls"), "O3": ("-O3",), "Os": ("-Os",), "lto": ("-O2", "-flto"),
                 "called_with_fp": ("-O1", "-fno-optimize-sibling-calls", "-fno-omit-frame-pointer")})
PROFILES = ("heap", "mutex", "block", "threads", "threadcreate")
OWN = re.compile(r"(^|\b)prof::|^(malloc|calloc|realloc|free|posix_memalign|aligned_alloc|pthread_\w+|sem_\w+|usleep|syscall)$"
                 r"|^operator (new|delete)")


class Symbols:
    """The functions of a program, by nm."""

    def __init__(self, program):
        self.functions = []
        for line in harness.command("nm", "-C", "-S", "--defined-only", program).splitlines():
            found = re.match(r"([0-9a-f]+) ([0-9a-f]+) [tTwW] (.*)", line)
            if found:
                self.functions.append((int(found[1], 16), int(found[2], 16), found[3]))

    def at(self, address):
        return next((name for begin, size, name in self.functions if begin <= address < begin + size), "?")


def without_parameters(name):
    """Nor with the suffix of a part that the compiler has split off."""
    return re.sub(r"\(.*|\.cold$| \[clone .*", "", name)


class OwnFrames(unittest.TestCase):
    def leaves(self, path, program, symbols):
        """The functions of the program in which stacks begin; with names as the profile says them, without by nm. Stacks
        that begin in a library are the library's."""
        profile = pprof_check.parse(path.read_bytes())
        mappings = {mapping.id: mapping for mapping in profile.mapping}
        found = set()
        for sample in profile.sample:
            location = profile.location_by_id(sample.location_id[0])
            mapping = mappings.get(location.mapping_id)
            if mapping is None or mapping.filename != str(program):
                continue
            if symbols is None:
                found.add(without_parameters(profile.stack(sample)[0]))
            else:
                found.add(without_parameters(symbols.at(location.address)))
        return found

    def check(self, program, unstripped, folder):
        symbols = Symbols(unstripped)
        wanted = dict(line.split(" ", 1) for line in harness.run(program, folder).stdout.splitlines())
        self.assertEqual(sorted(wanted), sorted(PROFILES))
        for name in PROFILES:
            for kind, names in ((".pb.gz", None if program == unstripped else symbols), (".raw.pb.gz", symbols)):
                with self.subTest(profile=name + kind):
                    leaves = self.leaves(folder / (name + kind), program, names)
                    self.assertEqual([leaf for leaf in leaves if OWN.search(leaf) or leaf == "?"], [])
                    missing = set(wanted[name].split()) - leaves
                    if names is not None:
                        missing -= {"host_new", "host_new_array"}  # these begin in libstdc++'s operator new
                    self.assertEqual(missing, set())

    def built(self, compiler, way, flags):
        name = f"own_frames_{compiler}_{way}"
        flags = (*flags, "-no-pie")  # an address is the same in the file
        optimize, *rest = flags
        return harness.build(["own_frames.cpp"], name, compiler=compiler, optimize=optimize, flags=tuple(rest))

    def check_ways(self, compiler):
        for way, flags in WAYS.items():
            with self.subTest(way=way):
                program = self.built(compiler, way, flags)
                self.check(program, program, harness.fresh_directory(f"own_frames_{compiler}_{way}_profiles"))

    def test_gcc(self):
        self.check_ways("g++")

    def test_clang(self):
        self.check_ways("clang++")

    def test_stripped(self):
        for way in ("O0", "called"):
            with self.subTest(way=way):
                whole = self.built("g++", way, WAYS[way])
                program = whole.with_name(whole.name + "_stripped")
                harness.command("strip", "-o", program, whole)
                self.check(program, whole, harness.fresh_directory(program.name + "_profiles"))


if __name__ == "__main__":
    unittest.main()
