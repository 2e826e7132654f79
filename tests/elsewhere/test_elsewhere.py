"""Other systems: what is portable compiles for Windows and macOS, and its unit tests run on aarch64 and
riscv64 under qemu-user: by Debian's cross g++ in test_aarch64.py, which also has what is aarch64's own,
and with PROF_LONG=1 on musl here. Each of these targets' libc++ takes minutes to build, the first time.

Portable are the floors base, profile and write, and both facades, which compile everywhere and answer
"unsupported" where the OS is unknown. The compiler is clang as PyPI's ziglang packs it, with the headers
and libraries of all these targets; it is newer than Debian's, so it stands for the newest clang too.
"""

import os
import pathlib
import shutil
import subprocess
import unittest

from elsewhere import zig
from support import harness
from support.harness import BUILD, LONG, ROOT, WARNINGS, command, in_parallel

# doctest numbers its tests by __COUNTER__, which pedantic clang 22 calls an extension.
DOCTEST = ["-Wno-c2y-extensions"]
PORTABLE_FLOORS = ("base", "profile", "write")
FACADES = {
    "prof": "#include <prof/prof.hpp>\n",
    "prof_http": "#define PROF_ENABLE_HTTP\n#include <prof/prof.hpp>\n",
    "api": "#include <prof/api.hpp>\n",
}
USE = """
int main() {
  const prof::label_scope labels{{"k", "v"}};
  static char object;
  prof::record_alloc(&object, 1);
  prof::record_free(&object);
}
"""


def compile_file(target, source, output, flags):
    """Compiles one file; returns what the compiler said when it refused, else nothing."""
    command = [*zig.compiler(), "-target", target, "-std=c++17", "-O0", *WARNINGS, *flags,
               "-I", str(ROOT / "include"), "-isystem", str(BUILD / "doctest"), "-c", str(source),
               "-o", str(output)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return "" if done.returncode == 0 else " ".join(command) + "\n" + done.stdout[-4000:]


def portable_tests():
    return sorted(file for floor in PORTABLE_FLOORS
                  for file in (ROOT / "tests" / "unit" / floor).glob("*_test.cpp"))


class Elsewhere(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        BUILD.mkdir(parents=True, exist_ok=True)
        zig.compiler()
        # Alone in a folder: with all of /usr/include the host's headers would be found too.
        header = pathlib.Path("/usr/include/doctest/doctest.h")
        (BUILD / "doctest" / "doctest").mkdir(parents=True, exist_ok=True)
        shutil.copy(header, BUILD / "doctest" / "doctest" / "doctest.h")
        for name, text in FACADES.items():
            (BUILD / f"{name}.cpp").write_text(text + USE)

    def compile_all(self, target, sources, flags=()):
        """Compiles the files, as many at a time as there are cores; their objects."""
        (BUILD / target).mkdir(exist_ok=True)
        objects = [BUILD / target / (source.stem + ".o") for source in sources]
        refused = list(filter(None, in_parallel(lambda job: compile_file(target, *job, flags), zip(sources, objects))))
        self.assertFalse(refused, "\n".join(refused[:3]))
        return objects

    def facades(self):
        return [BUILD / f"{name}.cpp" for name in FACADES]

    def compile_portable(self, target, turn):
        """The facades, and every second file of the unit tests: another target takes the others."""
        self.compile_all(target, self.facades())
        self.compile_all(target, portable_tests() if LONG else portable_tests()[turn::2], DOCTEST)

    def test_windows(self):
        self.compile_portable("x86_64-windows-gnu", 0)

    def test_macos(self):
        self.compile_portable("aarch64-macos", 1)

    def test_newest_clang(self):
        for standard in ("c++17", "c++20", "c++23") if LONG else ("c++17", "c++23"):
            self.compile_all("x86_64-linux-gnu", self.facades(), [f"-std={standard}"])

    def run_units(self, target, emulator):
        """Links the portable unit tests statically and runs them under qemu-user."""
        sources = [ROOT / "tests" / "unit" / "main.cpp", *portable_tests()]
        objects = self.compile_all(target, sources, [*DOCTEST, "-O1"])
        program = BUILD / target / "unit"
        command(*zig.compiler(), "-target", target, "-static", *objects, "-o", program)
        done = subprocess.run([harness.tool(emulator), str(program)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=900)
        self.assertEqual(done.returncode, 0, done.stdout[-4000:])
        self.assertRegex(done.stdout, r"test cases: *([1-9]\d{2,}) \| *\1 passed \| *0 failed")
        return program

    def test_musl_compiles(self):
        for target in ("aarch64-linux-musl", "riscv64-linux-musl"):
            self.compile_all(target, self.facades())

    if LONG:
        def test_old_glibc(self):
            """Its representative in each run: tests/unit/old_loader.s."""
            done = subprocess.run([ROOT / "tools" / "clean_root_check", "tests/elsewhere/old_glibc"], text=True,
                                  env={**os.environ, "PROF_RELEASE": "bullseye"}, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout[-4000:])

        def test_aarch64_musl(self):
            self.run_units("aarch64-linux-musl", "qemu-aarch64")

        def test_riscv64_musl(self):
            self.run_units("riscv64-linux-musl", "qemu-riscv64")


if __name__ == "__main__":
    unittest.main()
