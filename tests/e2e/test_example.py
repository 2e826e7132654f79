"""The example program: a real library, built without frame pointers, profiled over HTTP."""

import re
import unittest

from support import harness, pprof_check


class Sqlite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = harness.build([harness.ROOT / "examples" / "01_sqlite.cpp"], "sqlite_demo",
                                    flags=["-Wall", "-Wextra", "-Werror"],
                                    libraries=["-lsqlite3"])

    def test_profiles_open_and_name_sqlite(self):
        with harness.Server(self.program) as server:
            cpu = pprof_check.parse(server.get("profile?seconds=4"))
            heap = pprof_check.parse(server.get("heap"))
            allocs = pprof_check.parse(server.get("allocs"))
            top = harness.pprof("-top", server.url("profile?seconds=1"))
        for profile, kind in ((cpu, "cpu"), (heap, "heap"), (allocs, "allocs")):
            self.assertEqual(pprof_check.validate(profile, kind), [])
            self.assertTrue(any("libsqlite3" in m.filename and m.build_id and m.memory_limit
                                for m in profile.mapping))
        # Debian's libsqlite3 names some of its functions; the others show as libsqlite3.so...+0x...
        leaves = pprof_check.by_leaf(cpu, "cpu")
        inside = sum(v for name, v in leaves.items() if re.match(r"(lib)?sqlite3", name))
        self.assertGreater(inside, 0.5 * pprof_check.total(cpu, "cpu"))
        self.assertGreater(leaves.get("sqlite3VdbeExec", 0), 0, sorted(leaves))
        # What the program itself keeps is named by its own function.
        self.assertGreater(pprof_check.find(heap, r"^keep_row\(", "inuse_space"), 0)
        self.assertIn("libsqlite3", top)

    def test_port_in_use_and_signal(self):
        with harness.Server(self.program) as server:
            port = server.address.rsplit(":", 1)[1]
            second = harness.run(self.program, server.address, check=False)
            self.assertEqual(second.returncode, 1)
            self.assertEqual(second.stderr, f"prof: port {port} on 127.0.0.1 is in use; pass "
                             "another address or stop the other process\n")
            server.process.terminate()
            self.assertEqual(server.process.wait(20), 0)


if __name__ == "__main__":
    unittest.main()
