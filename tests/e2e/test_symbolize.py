"""How much of names a profile has: what was asked for, within limits, and what it says of what is missing; code without symbols
is known by where its function begins."""

import re
import shutil
import subprocess
import unittest

from support import harness, pprof_check


def functions_of(profile, sample):
    """(name, file, line) of each line of a sample's stack, the leaf first."""
    functions = {function.id: function for function in profile.function}
    for location_id in sample.location_id:
        for line in profile.location_by_id(location_id).line:
            function = functions[line.function_id]
            yield function.name, function.filename.rsplit("/", 1)[-1], line.line


class Symbolized(unittest.TestCase):
    FLAGS = ["-g"]

    def program(self, name="plain", flags=()):
        return harness.build(["symbolized.cpp"], f"symbolize/{name}", flags=[*self.FLAGS, *flags], optimize="-O2",
                             with_whole=True)

    def profiles(self, program, words, *arguments):
        """What the program writes for each word, in order."""
        folder = harness.fresh_directory(f"symbolize-{self._testMethodName}")
        paths = [folder / f"{i}_{word}" for i, word in enumerate(words)]
        subprocess.run([program, *map(str, arguments)], check=True, timeout=60, text=True,
                       input="".join(f"{word} {path}\n" for word, path in zip(words, paths)))
        return [path.read_bytes() for path in paths]

    def keepers(self, data):
        """The lines of stacks in which keep_many keeps something; of the program, that is."""
        profile = pprof_check.parse(data)
        if any(location.line for location in profile.location):
            self.assertEqual(pprof_check.validate(profile, "heap"), [])
        stacks = [list(functions_of(profile, sample)) for sample in profile.sample]
        return profile, max((stack for stack in stacks if any("keep_many" in name for name, _, _ in stack)), key=len, default=[])

    def test_each_detail(self):
        program = self.program()
        none, functions, lines, inlines, standard = self.profiles(
            program, ["none", "functions", "lines", "inlines", "standard"])
        profile, _ = self.keepers(none)
        self.assertEqual([location.line for location in profile.location if location.line], [])
        self.assertEqual([mapping.has_functions for mapping in profile.mapping if mapping.has_functions], [])

        _, stack = self.keepers(functions)
        self.assertEqual([(file, line) for _, file, line in stack if file or line], [])

        profile, stack = self.keepers(lines)
        self.assertEqual({len(location.line) for location in profile.location}, {1})
        self.assertIn("symbolized.cpp", [file for _, file, _ in stack])
        self.assertFalse(any(mapping.has_inline_frames for mapping in profile.mapping))

        profile, stack = self.keepers(inlines)
        names = [name for name, _, _ in stack]
        source = (harness.PROGRAMS / "symbolized.cpp").read_text().splitlines()
        for function, text in (("keep_many", "keep_one(static_cast"), ("keep_one", "kept.emplace_back")):
            at = next(i for i, name in enumerate(names) if function in name)
            self.assertIn(text, source[stack[at][2] - 1])
        self.assertLess(next(i for i, name in enumerate(names) if "keep_one" in name),
                        next(i for i, name in enumerate(names) if "keep_many" in name))
        main = next(mapping for mapping in profile.mapping if mapping.filename == str(program))
        self.assertTrue(main.has_functions and main.has_filenames and main.has_line_numbers and main.has_inline_frames)
        starts = {function.name: function.start_line for function in profile.function}
        self.assertIn("static inline void keep_one", source[starts[next(n for n in starts if "keep_one" in n)] - 1])

        self.assertEqual(self.keepers(standard)[1], stack)

    def test_what_standard_means(self):
        for word in ("functions", "lines", "none"):
            with self.subTest(standard=word):
                asked, standard = self.profiles(self.program(), [word, "standard"], "standard", word)
                self.assertEqual(self.keepers(standard)[1], self.keepers(asked)[1])

    def test_what_is_known_again_is_the_same(self):
        first, second = self.profiles(self.program(), ["inlines", "inlines"])
        self.assertEqual(self.keepers(first)[1], self.keepers(second)[1])

    def test_limits_leave_functions_and_say_so(self):
        for limit, text in ((("ms", 0), r"^\d+ addresses have no line"), (("memory", 1), "larger than options|have no line")):
            with self.subTest(limit=limit):
                data, = self.profiles(self.program("packed", ["-gz=zlib"]), ["inlines"], *limit)
                profile, stack = self.keepers(data)
                self.assertEqual([(file, line) for _, file, line in stack if file or line], [])
                self.assertRegex("\n".join(profile.comment), re.compile(text, re.M))

    def check_says(self, program, text):
        *profiles, status = self.profiles(program, ["inlines", "inlines", "lines", "status"])
        for data in profiles:  # known again, and still said, also beside what is looked up; each time once
            profile, stack = self.keepers(data)
            self.assertTrue(any("keep_many" in name for name, _, _ in stack))
            self.assertEqual([comment for comment in profile.comment if text in comment],
                             [f"names of {program}: {text}"])
        self.assertIn(f"names of {program}: {text}", status.decode())
        return stack

    def test_what_is_not_read_is_said(self):
        plain = self.program()
        damaged = plain.with_name("damaged")
        packed = self.program("packed", ["-gz=zlib"])
        sections = harness.command("readelf", "-SW", packed)
        offset, size = (int(word, 16) for word in re.search(r"\.debug_info +PROGBITS +\w+ (\w+) (\w+)", sections).groups())
        data = bytearray(packed.read_bytes())
        data[offset + size // 2] ^= 0x55
        damaged.write_bytes(data)
        damaged.chmod(0o755)
        self.check_says(damaged, "its debug information is damaged")

        data = bytearray(packed.read_bytes())
        data[offset] = 2  # ELFCOMPRESS_ZSTD
        zstd = plain.with_name("zstd")
        zstd.write_bytes(data)
        zstd.chmod(0o755)
        self.check_says(zstd, "its debug information is compressed by zstd, which is not read")

        stack = self.check_says(self.program("split", ["-gsplit-dwarf"]),
                                "inlined calls are in .dwo or .dwp files, which are not read")
        self.assertIn("symbolized.cpp", [file for _, file, _ in stack])  # the line is the skeleton's

    def test_tables_are_short_unless_whole(self):
        short, whole = (data.decode() for data in self.profiles(self.program(), ["top", "whole"]))
        self.assertRegex(short, r"make_unique<\.\.\.>")
        self.assertRegex(whole, r"make_unique<char \[\]>")


class Hostile(unittest.TestCase):
    """What a symbol stands for may be of any length; what it costs and shows is not. In the host it took 10 s and 1.5 GB."""

    def test_a_short_symbol_for_a_long_name(self):
        doubling = "_Z1fI1aIiiE"
        digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for i in range(30):
            last = "S0_" if i == 0 else f"S{digits[i]}_"
            doubling += f"S_I{last}{last}E"
        doubling += "Evv"
        program = harness.build(["hostile_name.cpp"], "symbolize/hostile", flags=[f"-DHOSTILE={doubling}"], with_whole=True)
        folder = harness.fresh_directory("symbolize-hostile")
        memory, ms = map(float, harness.run(program, folder / "heap.pb.gz").stdout.split())
        profile = pprof_check.parse((folder / "heap.pb.gz").read_bytes())
        self.assertEqual(pprof_check.validate(profile, "heap"), [])
        names = [function.name for function in profile.function if function.system_name == doubling]
        self.assertEqual([len(name) for name in names], [64 * 1024])
        self.assertTrue(names[0].startswith("void f<a<int, int>"))
        self.assertLess(memory, 100 * 1024)
        self.assertLess(ms, 2000)  # CPU time; some 10 were seen


class Stripped(unittest.TestCase):
    """A function of a stripped library is one row, as heavy as in the same library with its symbols."""

    def profiles(self, folder):
        """The program's, with the library of a folder."""
        program = harness.build(["hot_main.cpp"], f"{folder.name}/hot_main", with_whole=True,
                                libraries=["-L", str(folder), "-lhot", "-Wl,-rpath,$ORIGIN"])
        harness.run(program, folder)
        for name, kind in (("cpu", None), ("heap", "heap")):
            profile = pprof_check.parse((folder / f"{name}.pb.gz").read_bytes())
            self.assertEqual(pprof_check.validate(profile, kind), [])
            yield profile

    def test_rows(self):
        named, stripped = (harness.BUILD / f"symbolize-{name}" for name in ("named", "stripped"))
        for folder in (named, stripped):
            harness.fresh_directory(folder.name)
        library = harness.build(["hot_functions.cpp"], f"{named.name}/libhot.so", flags=["-fPIC", "-shared"], optimize="-O2")
        shutil.copy(library, stripped)
        harness.command("strip", "--strip-all", stripped / "libhot.so")
        begins = {}
        for line in harness.command("nm", "-C", library).splitlines():
            found = re.match(r"(\w+) t .*::(\w+)\(.*?(\[clone \.cold\])?$", line)
            if found:
                begins[int(found[1], 16)] = found[2] + (".cold" if found[3] else "")
        self.assertEqual(sorted(begins.values()), ["forty", "rarely", "ten", "ten.cold", "thirty", "twenty"])
        segments = harness.command("readelf", "-lW", library)
        offset, address = re.search(r"LOAD +(0x\w+) (0x\w+) .* R E ", segments).groups()

        def row(name):
            """The function of a row's name; its text where it is none of the library's."""
            made_up = re.fullmatch(r"libhot\.so\+0x(\w+)", name)
            if made_up:
                return begins.get(int(made_up[1], 16) - int(offset, 16) + int(address, 16), name)
            known = re.search(r"::(\w+)\(.*?\)( \[clone \.cold\])?$", name)
            return known[1] + (".cold" if known[2] else "") if known else name

        rows = [[{row(name): value for name, value in pprof_check.by_leaf(profile, type).items()}
                 for profile, type in zip(self.profiles(folder), ("samples", "alloc_objects"))] for folder in (named, stripped)]
        for cpu, heap in rows:
            counts = {"forty": 4000, "thirty": 3000, "twenty": 2000, "ten": 1000}
            self.assertEqual({name: heap[name] for name in counts}, counts)
            self.assertLessEqual({"forty", "thirty", "twenty", "ten.cold"}, set(cpu))
            for name in (*cpu, *heap):  # none has an address of its own
                self.assertNotRegex(name, r"^libhot\.so\+")


if __name__ == "__main__":
    unittest.main()
