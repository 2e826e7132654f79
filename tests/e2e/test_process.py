"""What is one per process: the version of all files, and who a forked child is."""

import itertools
import shutil
import unittest

import harness
import pprof_check


def changed_tree(name, old, new):
    """A copy of the headers with one text replaced."""
    tree = harness.BUILD / name
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(harness.TREE, tree)
    changed = 0
    for header in tree.rglob("*.hpp"):
        text = header.read_text()
        changed += old in text
        header.write_text(text.replace(old, new))
    assert changed, f"{old} is nowhere"
    return tree


class Versions(unittest.TestCase):
    def test_another_layout_of_the_same_version_is_left_alone(self):
        """Two snapshots of one version in a process: each has tables of its own, none crashes."""
        changes = (("  spin_lock refresh_lock;", "  char more[4096];\n  spin_lock refresh_lock;"),
                   ("layout_revision = ", "layout_revision = 9"))
        for (old, new), compiler in zip(changes, itertools.cycle(harness.COMPILERS)):
            with self.subTest(change=new, compiler=compiler):
                other = changed_tree("other_layout", old, new)
                library = harness.build(["layout_library.cpp"], "liblayout.so", compiler=compiler,
                                        flags=["-shared", "-fPIC", "-I", str(other)])
                program = harness.build(["layout_main.cpp", library], "layout_main", compiler=compiler)
                paths = [program.with_suffix(f".{number}.pb.gz") for number in (1, 2)]
                harness.run(program, *paths)
                profile = pprof_check.parse(paths[1].read_bytes())
                self.assertEqual(pprof_check.find(profile, "^main$", "alloc_objects"), 3000)

    def test_two_versions_are_named(self):
        """The file that was compiled with another version is named in the error."""
        other = changed_tree("other_version", "#define PROF_VERSION_PATCH 0",
                             "#define PROF_VERSION_PATCH 7")
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
        program = harness.build(["fork_child.cpp"], "fork_child")
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
