"""What is one per process: the version of all files, and who a forked child is."""

import shutil
import unittest

import harness
import pprof_check


class Versions(unittest.TestCase):
    def test_two_versions_are_named(self):
        """The file that was compiled with another version is named in the error."""
        other = harness.BUILD / "other_version"
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(harness.TREE, other)
        for header in other.rglob("*.hpp"):
            text = header.read_text()
            header.write_text(text.replace("#define PROF_VERSION_PATCH 0",
                                           "#define PROF_VERSION_PATCH 7"))
        for compiler in harness.COMPILERS:
            object_file = harness.build(["version_other.cpp"], "version_other.o",
                                        compiler=compiler, flags=["-c", "-I", str(other)])
            # -I of the other tree must come first, so that it was really used.
            strings = object_file.read_bytes()
            self.assertIn(b"version_other.cpp", strings)
            program = harness.build(["version_main.cpp", object_file], "version_main",
                                    compiler=compiler)
            answer = harness.run(program, check=False).stdout
            self.assertIn("different versions", answer)
            self.assertIn("version_other.cpp has 0.1.7", answer)
            self.assertIn("version_main.cpp has 0.1.0", answer)

    def test_one_version_is_fine(self):
        program = harness.build(["version_main.cpp", "version_other.cpp"], "version_same")
        self.assertIn("ok", harness.run(program).stdout)


class Fork(unittest.TestCase):
    def test_child_starts_anew(self):
        program = harness.build(["fork_child.cpp"], "fork_child",
                                flags=["-fno-omit-frame-pointer"])
        parent, child = harness.BUILD / "fork_parent.pb.gz", harness.BUILD / "fork_child.pb.gz"
        harness.run(program, parent, child)
        for path, own, foreign in ((parent, "parent_work", "child_work"),
                                   (child, "child_work", "parent_work")):
            profile = pprof_check.parse(path.read_bytes())
            self.assertEqual(pprof_check.validate(profile, "cpu"), [])
            self.assertGreater(pprof_check.find(profile, own, "cpu"), 150e6)
            self.assertEqual(pprof_check.find(profile, foreign, "cpu"), 0)

    def test_child_gives_the_sockets_back(self):
        """A worker that outlives its parent's server must not keep the port."""
        program = harness.build(["fork_server.cpp"], "fork_server")
        self.assertEqual(harness.run(program).stdout.split(), ["0", "1", "1"])


if __name__ == "__main__":
    unittest.main()
