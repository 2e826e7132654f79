#!/usr/bin/env python3
"""Programs and libraries that are replaced or deleted while they run, or whose code lies on pages of no file: functions have
their names, or none, never those of another file."""

import itertools
import os
import shutil
import subprocess
import unittest

from support import harness

BUILD_IDS = {"with build id": (), "without": ("-Wl,--build-id=none",)}
CHANGES = ("kept", "deleted", "replaced", "replaced again")
RELEASES = {n: ("-fPIC", "-fno-toplevel-reorder", f"-DRELEASE={n}") for n in (1, 2)}


class Service:
    """identity_main; says lines to it."""

    def __init__(self, program, *arguments, folder):
        self.process = subprocess.Popen([str(program), *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, "LD_LIBRARY_PATH": str(folder)})

    def say(self, *lines):
        """What it prints for them."""
        printed = []
        for word in lines:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
            for line in self.process.stdout:
                if line.strip() == "done " + word:
                    break
                printed.append(line.rstrip("\n"))
            else:
                raise RuntimeError(f"it ended after {word!r}: {printed}")
        return printed

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        code = self.process.wait(30)
        self.process.stdout.close()
        if code != 0 and _[0] is None:
            raise RuntimeError(f"it ended with {code}")


def names_of(printed):
    """The functions of a `top`, the most expensive first."""
    at = next(i for i, line in enumerate(printed) if line.split()[:2] == ["flat", "flat%"])
    rows = itertools.takewhile(lambda line: "%" in line, printed[at + 1:])
    return [line.split(None, 5)[5] for line in rows]


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = harness.fresh_directory(f"identity-{self._testMethodName}")

    def build(self, name, sources, flags=(), libraries=(), release=1, with_whole=True):
        return harness.build(sources, f"{self.folder.name}/{name}", flags=(*RELEASES[release], *flags),
                             libraries=libraries, with_whole=with_whole)

    def library(self, name, release, flags):
        return self.build(name, ["identity_jobs.cpp"], ("-shared", *flags), release=release, with_whole=False)

    def change(self, how, path, *others):
        """What a deployment does to a file."""
        if how == "deleted":
            path.unlink()
        for other in others if how.startswith("replaced") else ():
            copy = path.with_suffix(".new")
            shutil.copy(other, copy)
            copy.rename(path)
            if how == "replaced":
                break

    def check_right(self, printed, message):
        names = names_of(printed)
        self.assertEqual(names[0], "parse_orders()", (message, printed))
        self.assertNotIn("send_invoices()", names, message)


class Replaced(Case):
    def check(self, message, how, service, path, others):
        with service:
            service.say("up")
            self.change(how, path, *others)
            self.check_right(service.say("run", "heap"), message)

    def test_the_program(self):
        for (message, flags), how in itertools.product(BUILD_IDS.items(), CHANGES):
            with self.subTest(build=message, how=how):
                one, two = [self.build(f"service{n}", ["identity_main.cpp", "identity_jobs.cpp"], flags, ("-ldl",), n)
                            for n in (1, 2)]
                other = shutil.copy(one, self.folder / "other")
                path = one.with_name("service")
                shutil.copy(one, path)
                self.check(message, how, Service(path, folder=self.folder), path, (other, two))

    def test_a_library_it_is_linked_to(self):
        for (message, flags), how in itertools.product(BUILD_IDS.items(), CHANGES):
            with self.subTest(build=message, how=how):
                one, two = [self.library(f"jobs{n}.so", n, flags) for n in (1, 2)]
                path = self.folder / "libjobs.so"
                shutil.copy(one, path)
                program = self.build("service", ["identity_main.cpp"],
                                     libraries=("-Wl,--no-as-needed", f"-L{self.folder}", "-ljobs", "-ldl"))
                self.check(message, how, Service(program, folder=self.folder), path, (two, one, two))

    def test_a_library_that_was_unloaded(self):
        program = self.build("service", ["identity_main.cpp"], libraries=("-ldl",))
        for (message, flags), how, was_named in itertools.product(BUILD_IDS.items(), CHANGES, (False, True)):
            with self.subTest(build=message, how=how, was_named=was_named):
                one, two = [self.library(f"jobs{n}.so", n, flags) for n in (1, 2)]
                path = self.folder / "libjobs.so"
                shutil.copy(one, path)
                with Service(program, path, folder=self.folder) as service:
                    service.say("heap", "run", *(["heap"] if was_named else []), "close")
                    self.change(how, path, two, one, two)
                    names = names_of(service.say("heap"))
                    self.assertNotIn("send_invoices()", names)
                    if how == "kept" or was_named:  # what was named while it was there is known
                        self.assertEqual(names[0], "parse_orders()")
                    else:
                        self.assertTrue(names[0].startswith("libjobs.so+0x"), names)


class Moved(Case):
    def setUp(self):
        super().setUp()
        self.program = self.build("service", ["identity_main.cpp"], libraries=("-ldl",))

    def names(self, *lines):
        with Service(self.program, folder=self.folder) as service:
            printed = service.say(*lines[:-1])
            self.assertNotIn("not moved", printed)
            return names_of(service.say(lines[-1]))

    def check_heap(self, names):
        self.assertEqual(names[0], "keep_memory()", names)
        self.assertIn("main", names)
        self.assertFalse([name for name in names if name.startswith("0x")], names)
        self.assertFalse([name for name in names if "prof::" in name], names)

    def test_all_of_it(self):
        for lines in (("keep", "heap"), ("move", "keep", "heap"), ("heap", "move", "keep", "heap"),
                      ("keep", "move", "heap"), ("keep", "heap", "move", "heap")):
            with self.subTest(lines=lines):
                self.check_heap(self.names(*lines))

    def test_a_page_of_it(self):
        for lines in (("move-part", "keep", "heap"), ("heap", "move-part", "keep", "heap"), ("keep", "move-part", "heap"),
                      ("keep", "heap", "move-part", "move", "heap")):
            with self.subTest(lines=lines):
                self.check_heap(self.names(*lines))

    def test_a_cpu_profile(self):
        for lines in (("move", "cpu"), ("cpu", "move-part", "cpu")):
            with self.subTest(lines=lines):
                names = self.names(*lines)
                self.assertEqual(names[0], "inner()", names)
                self.assertIn("outer()", names)
                self.assertFalse([name for name in names if name.startswith("0x")], names)


if __name__ == "__main__":
    unittest.main()
