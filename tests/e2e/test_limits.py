"""What a process has little of: memory that may be locked, address space, static thread-local storage."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

from support import harness

PLUGINS = 100
THIN_PLUGIN = r"""
#include <prof/api.hpp>
extern "C" void work() {
  const prof::label_scope label{{"plugin", "yes"}};
  static int object;
  prof::record_alloc(&object, 100);
  prof::record_free(&object);
}
"""
WHOLE_PLUGIN = r"""
#include <prof/prof.hpp>
extern "C" void work() { (void)prof::set_mem_profile_rate(524288); }
"""
HOST = r"""
#ifdef HOST_HAS_PROF
#include <prof/prof.hpp>
#endif
#include <cstdio>
#include <dlfcn.h>
int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    void* const plugin = dlopen(argv[i], RTLD_NOW | RTLD_LOCAL);
    if (plugin == nullptr) return std::printf("%d loaded, then: %s\n", i - 1, dlerror()), 1;
    reinterpret_cast<void (*)()>(dlsym(plugin, "work"))();
  }
  std::printf("%d loaded\n", argc - 1);
}
"""


def source(name, text):
    harness.BUILD.mkdir(parents=True, exist_ok=True)
    path = harness.BUILD / name
    path.write_text(text)
    return path


class Plugins(unittest.TestCase):
    def tls_of(self, library):
        """Bytes of static thread-local storage."""
        headers = subprocess.run([harness.tool("readelf"), "-lW", library], stdout=subprocess.PIPE, text=True, check=True)
        return sum(int(size, 16) for size in re.findall(r"^ +TLS +\S+ \S+ \S+ \S+ (\S+)", headers.stdout, re.M))

    def test_a_hundred_load(self):
        """The static thread-local storage of a process, some 1.6 KB, is everybody's."""
        hosts = [harness.build([source("limits_host.cpp", HOST)], name, flags=flags, optimize="-O0",
                               libraries=["-ldl"])
                 for name, flags in (("limits_host_plain", ()), ("limits_host", ("-DHOST_HAS_PROF",)))]
        for kind, text in (("thin", THIN_PLUGIN), ("whole", WHOLE_PLUGIN)):
            for compiler in harness.COMPILERS:
                plugin = harness.build([source(f"limits_{kind}.cpp", text)], f"limits_{kind}.so", compiler=compiler,
                                       flags=["-fPIC", "-shared"], optimize="-O0")
                copies = [harness.BUILD / f"limits_{kind}_{i}.so" for i in range(PLUGINS)]
                for copy in copies:
                    shutil.copy(plugin, copy)
                with self.subTest(kind=kind, compiler=compiler):
                    self.assertLessEqual(self.tls_of(plugin), 8)
                    for host in hosts:
                        self.assertEqual(harness.run(host, *copies).stdout, f"{PLUGINS} loaded\n")


class Memory(unittest.TestCase):
    """Sizes are in kB."""

    @classmethod
    def setUpClass(cls):
        cls.plain = harness.build(["limits_work.cpp"], "limits_plain", flags=["-DPLAIN"])
        cls.profiled = harness.build(["limits_work.cpp"], "limits_work", with_whole=True)

    def steps(self, program, *steps, user=None):
        """What the program printed after each step; a call that failed is an error."""
        options = {}
        if user is not None:
            # A directory that the other user may enter; limits are those of a new session.
            place = pathlib.Path("/tmp") / f"prof_limits_{os.getpid()}"
            place.mkdir(mode=0o755, exist_ok=True)
            self.addCleanup(shutil.rmtree, place, True)
            program = shutil.copy(program, place)
            options = {"user": user, "group": user, "extra_groups": [], "cwd": "/"}
        answer = harness.run(program, *steps, **options).stdout
        self.assertNotIn("failed", answer)
        return [{key: int(value) for key, value in re.findall(r"(\w+) (\d+)", line)}
                for line in answer.splitlines()]

    def test_before_main(self):
        start = self.steps(self.profiled)[0]
        plain = self.steps(self.plain)[0]
        self.assertLessEqual(start["anonymous"] - plain["anonymous"], 1500)

    def test_share_of_the_address_space(self):
        steps = ("work", "cpu", "heap", "serve")
        plain, profiled = self.steps(self.plain, *steps)[-1], self.steps(self.profiled, *steps)[-1]
        self.assertLessEqual(profiled["size"] - plain["size"], 4096)

    def test_own_memory_is_what_the_system_sees(self):
        steps = ("work", "cpu", "heap", "serve")
        for step, plain, profiled in zip(("start",) + steps, self.steps(self.plain, *steps),
                                         self.steps(self.profiled, *steps)):
            with self.subTest(step=step):
                self.assertGreater(profiled["own"], 0)
                self.assertLessEqual(abs(profiled["anonymous"] - plain["anonymous"] - profiled["own"]), 64)

    def test_locked_memory(self):
        """mlockall(MCL_FUTURE) makes resident what is mapped; it costs what prof uses."""
        last = self.steps(self.profiled, "lock", "cpu", "heap", "serve", "cpu")[-1]
        self.assertLessEqual(last["resident"], 12 << 10)

    def test_locked_memory_of_a_user(self):
        """With the default limit of 8 MiB, of which the plain program leaves 2.5."""
        if os.geteuid() != 0:
            self.steps(self.profiled, "lock", "cpu", "heap", "serve", "cpu")
        else:
            self.steps(self.profiled, "lock", "cpu", "heap", "serve", "cpu", user=65534)

    def test_no_more_address_space(self):
        """What prof cannot map is counted, and a profile that needs it says so; the host's calls go on."""
        used = self.steps(self.profiled, "work")[-1]["size"]
        for spare in (0, 64, 256, 512):
            with self.subTest(spare=spare):
                # Beyond the first piece: at rate 1 the live objects and their stacks ask for more.
                answer = harness.run(self.profiled, "work", "limit", used + spare, "rate1", "work", "cpu", "heap",
                                     "work", check=False)
                self.assertEqual(answer.returncode, 0, answer.stdout + answer.stderr)
                refused = int(re.findall(r"refused (\d+)", answer.stdout)[-1])
                self.assertGreater(refused, 0)


if __name__ == "__main__":
    unittest.main()
