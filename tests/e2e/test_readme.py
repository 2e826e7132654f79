#!/usr/bin/env python3
"""Compiles and runs every block of README.md, as its reader would.

A block of ```cpp, ```sh or ```cmake has a comment before it that says how it is tested:

    <!-- test: program NAME -->     cpp: a whole program, compiled; sh blocks find it as NAME.cpp
    <!-- test: snippet -->          cpp: statements, put into a function, compiled and run
    <!-- test: shell -->            sh: run by bash in a directory of its own; ends all it started
    <!-- test: commands -->         sh: not run, for what opens windows or tests itself; the tools
                                    that it names exist and it is valid shell
    <!-- test: cmake -->            cmake: the end of a CMakeLists.txt that builds the first program

With prints="REGEX" the output must match; with compile="FLAGS" a program is compiled with these.
localhost:6060 is replaced by a free port.
"""

import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from support import harness

README = harness.ROOT / "README.md"
BLOCK = re.compile(
    r"(?:<!--\s*test:\s*(?P<how>.*?)\s*-->\n)?```(?P<language>cpp|sh|cmake)\n(?P<text>.*?)```\n",
    re.DOTALL,
)
KINDS = {"cpp": {"program", "snippet"}, "sh": {"shell", "commands"}, "cmake": {"cmake"}}
SNIPPET = """\
#include <prof/api.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <string>

[[maybe_unused]] static void run_application() {
  volatile double sum = 0;
  for (int i = 0; i < 3000000; ++i) sum = sum + std::sqrt(i);
}

static void example() {
%s
}

int main() { example(); }
"""


class Block:
    def __init__(self, match, text):
        self.line = text.count("\n", 0, match.start("language")) + 1
        self.language = match["language"]
        self.text = match["text"]
        words = shlex.split(match["how"] or "")
        self.kind = words[0] if words else ""
        self.options = dict(word.split("=", 1) for word in words[1:] if "=" in word)
        self.name = next((word for word in words[1:] if "=" not in word), "")


def read_blocks():
    text = README.read_text(encoding="ascii")
    return [Block(match, text) for match in BLOCK.finditer(text)]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


class ReadmeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.blocks = read_blocks()
        cls.port = free_port()
        directory = tempfile.TemporaryDirectory(prefix="prof-readme-")
        cls.addClassCleanup(directory.cleanup)
        cls.place = pathlib.Path(directory.name)
        # What the reader has next to the commands: the checkout, with the header under test.
        (cls.place / "single_include").symlink_to(harness.TREE)
        (cls.place / "tools").symlink_to(harness.ROOT / "tools")
        for block in cls.blocks:
            if block.kind == "program":
                cls.file(block).write_text(cls.adapt(block.text))

    @classmethod
    def file(cls, block):
        return cls.place / f"{block.name}.cpp"

    @classmethod
    def adapt(cls, text):
        return text.replace("localhost:6060", f"localhost:{cls.port}")

    def of_kind(self, kind):
        found = [block for block in self.blocks if block.kind == kind]
        self.assertTrue(found, f"README.md has no {kind} block: did its format change?")
        return found

    def run_here(self, command, timeout=300):
        """Runs in the scratch directory; whatever is left of it afterwards is ended."""
        with open(self.place / "output", "w+b") as output:
            process = subprocess.Popen(command, cwd=self.place, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            try:
                status = process.wait(timeout)
            finally:
                self.end_group(process)
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        self.assertEqual(status, 0, f"{command}\n{text}")
        return text

    @staticmethod
    def end_group(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def check_output(self, block, text):
        if "prints" in block.options:
            self.assertRegex(text, block.options["prints"])

    def compile(self, source, output, flags=(), objects=()):
        """Builds with the first compiler; the others only look at the source, which is faster."""
        for compiler in harness.COMPILERS:
            self.run_here([harness.tool(compiler), "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror",
                           "-Isingle_include", *flags, source, *objects, "-o", output, "-pthread"])
            flags, objects = (*flags, "-fsyntax-only"), ()

    def test_every_block_says_how_it_is_tested(self):
        for block in self.blocks:
            with self.subTest(line=block.line):
                self.assertIn(block.kind, KINDS[block.language],
                              f"README.md:{block.line}: no <!-- test: ... --> before the block")

    def test_programs(self):
        for block in self.of_kind("program"):
            with self.subTest(line=block.line):
                flags = shlex.split(block.options.get("compile", ""))
                self.compile(f"{block.name}.cpp", block.name, flags)

    def test_snippets(self):
        for block in self.of_kind("snippet"):
            with self.subTest(line=block.line):
                name = f"snippet_{block.line}"
                (self.place / f"{name}.cpp").write_text(SNIPPET % block.text)
                self.compile(f"{name}.cpp", name, objects=[harness.whole(harness.COMPILERS[0])])
                self.check_output(block, self.run_here([f"./{name}"]))

    def test_shell(self):
        for block in self.of_kind("shell"):
            with self.subTest(line=block.line):
                # A person types the next line a second after `./app &`.
                script = re.sub(r" &$", " &\nsleep 1", self.adapt(block.text), flags=re.MULTILINE)
                began = time.monotonic()
                text = self.run_here(["bash", "-euo", "pipefail", "-c", script])
                self.assertLess(time.monotonic() - began, 240)
                self.check_output(block, text)

    def test_commands(self):
        for block in self.of_kind("commands"):
            with self.subTest(line=block.line):
                self.run_here(["bash", "-n", "-c", block.text])
                for line in block.text.splitlines():
                    command = shlex.split(line, comments=True)
                    if not command:
                        continue
                    if "/" in command[0]:
                        self.assertTrue(os.access(harness.ROOT / command[0], os.X_OK), command[0])
                    else:
                        harness.tool(command[0])

    def test_cmake(self):
        for block in self.of_kind("cmake"):
            with self.subTest(line=block.line):
                project = self.place / "project"
                (project / "third_party").mkdir(parents=True)
                (project / "third_party" / "prof").symlink_to(harness.ROOT)
                (project / "app.cpp").write_text((self.place / "app.cpp").read_text())
                (project / "CMakeLists.txt").write_text(
                    "cmake_minimum_required(VERSION 3.14)\nproject(app CXX)\n"
                    f"add_executable(app app.cpp)\n{block.text}")
                self.run_here(["cmake", "-G", "Ninja", "-S", "project", "-B", "project/build"])
                self.run_here(["cmake", "--build", "project/build"])


class ShownOutputTest(unittest.TestCase):
    """What README.md shows as output has the shape of what the program prints."""

    def test_tables(self):
        text = README.read_text(encoding="ascii")
        shown = re.search(r"```text\n(.*?)```", text, re.DOTALL)
        self.assertIsNotNone(shown)
        for wanted in ("Type: cpu", "Type: inuse_space", "flat%", "cut(node*)", "grow(int)"):
            self.assertIn(wanted, shown[1])


if __name__ == "__main__":
    unittest.main()
