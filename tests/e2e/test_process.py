"""What is one per process: the version of all files, and who a forked child is."""

import itertools
import re
import shutil
import unittest

from support import harness, pprof_check


def changed_tree(name, old, new, source=harness.TREE):
    """A copy of the headers with one text replaced."""
    tree = harness.BUILD / name
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(source, tree)
    changed = 0
    for header in tree.rglob("*.hpp"):
        text = header.read_text()
        changed += old in text
        header.write_text(text.replace(old, new))
    assert changed, f"{old} is nowhere"
    return tree


# A member more in what a sampler's objects share, in what all share, and another meaning of the same bytes.
LAYOUTS = (("  count_table counts;  // one counter: nanoseconds", "  count_table counts;\n  char more[4096];"),
           ("  std::atomic<std::uint64_t> samples;\n};", "  std::atomic<std::uint64_t> samples;\n  char more[4096];\n};"),
           ("  std::atomic<const code_map*> code;", "  char more[4096];\n  std::atomic<const code_map*> code;"),
           ("layout_revision = ", "layout_revision = 9"))
# What tables are laid out by that the process state only points to, and what the functions of parts are handed.
CONSTANTS = (("index_bits = 14", "index_bits = 13"), ("std::size_t{256} << 10", "std::size_t{512} << 10"),
             ("max_labels = 16", "max_labels = 8"), ("max_depth = 1024", "max_depth = 512"),
             ("per_piece = 256", "per_piece = 128"), ("per_piece = 8", "per_piece = 4"),
             ("  const std::atomic<bool>* cancel = nullptr;", "  const std::atomic<bool>* cancel = nullptr;\n  char more[64] = {};"),
             ("  text_view failure = {};", "  text_view failure = {};\n  text_view more = {};"))
VISIBILITIES = ((), ("-fvisibility=hidden",))
CHANGED = ("library", "program")
# Who includes the whole; the other one only includes api.hpp.
WHOLES = ("both", "library", "program")


class Snapshots(unittest.TestCase):
    """Two snapshots of one version in a process: each has tables of its own, or one serves both."""

    def build(self, layout, visibility, changed, wholes, compiler):
        tree = changed_tree(f"layout_{LAYOUTS.index(layout)}", *layout)
        flags = {who: [*visibility, *(["-I", str(tree)] if changed == who else []),
                       *([] if wholes in ("both", who) else ["-DANNOTATE_ONLY"])] for who in CHANGED}
        library = harness.build(["layout_library.cpp"], "liblayout.so", compiler,
                                ["-shared", "-fPIC", *flags["library"]], optimize="-O0")
        return harness.build(["layout_main.cpp", library], "layout_main", compiler, flags["program"], optimize="-O0")

    def check(self, case):
        _, _, changed, wholes, _ = case
        program = self.build(*case)
        paths = [harness.BUILD / f"layout_{who}_{kind}.pb.gz" for who in CHANGED for kind in ("cpu", "heap")]
        answer = harness.run(program, *paths, check=False)
        self.assertEqual((answer.returncode, answer.stdout), (0, ""), answer.stderr)
        for cpu in (paths[0], paths[2]):
            profile = pprof_check.parse(cpu.read_bytes())
            self.assertGreater(pprof_check.find(profile, "burn_labelled", "cpu"), 100e6)
            labels = {label.str for sample in profile.sample for label in sample.label if label.key == "place"}
            self.assertEqual(labels, {"here"})
        profile = pprof_check.parse(paths[3].read_bytes())
        # What one snapshot allocates the other one counts, as it would anybody's.
        of_prof = sum(sample.value[0] for sample in profile.sample
                      if any("prof::" in name for name in profile.stack(sample)))
        self.assertEqual(pprof_check.find(profile, "^main$", "alloc_objects") - of_prof, 3000)

    def test_constants_of_shared_tables_are_part_of_the_layout(self):
        text = "#include <prof/process/process.hpp>\n#include <cstdio>\nint main() {{ std::printf({}); }}\n"
        source = harness.BUILD / "layout_version.cpp"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text.format('"%u", prof::detail::layout_version'))
        headers = harness.ROOT / "include"
        trees = [headers] + [changed_tree(f"constant_{number}", *texts, headers)
                             for number, texts in enumerate(CONSTANTS)]
        programs = harness.in_parallel(lambda job: harness.build(
            [source], f"layout_version_{job[0]}", flags=["-I", job[1]], optimize="-O0", libraries=["-ldl"]), enumerate(trees))
        layouts = [harness.run(program).stdout for program in programs]
        self.assertEqual(len(set(layouts)), len(trees), layouts)

    def test_nothing_whose_size_or_table_differs_is_exported(self):
        """Else the program's copy would serve the library's calls, with the program's sizes and table."""
        for compiler in harness.COMPILERS:
            library = harness.build(["layout_library.cpp"], "libexports.so", compiler, ["-shared", "-fPIC"],
                                    optimize="-O0")
            exported = re.findall(r" [TWu] (prof::.*)", harness.command("nm", "-DC", library))
            self.assertTrue(any("prof::v1::sink::" in name for name in exported), exported)  # types stay visible
            own = re.compile(r"prof::v1::(detail::|http::|(cpu_session::~|label_scope|status_report)|\w+\()")
            self.assertEqual([name for name in exported if own.match(name) and "std::" not in name], [])

    def test_they_never_touch_each_other(self):
        cases = list(itertools.product(LAYOUTS, VISIBILITIES, CHANGED, WHOLES, harness.COMPILERS))
        if not harness.LONG:
            # Each value of each column, each layout where both include the whole, and each pair of who changed and
            # who includes the whole.
            pairs = itertools.product(CHANGED, WHOLES)
            cases = [(LAYOUTS[i % len(LAYOUTS)], VISIBILITIES[(i + i // 2) % 2], changed, wholes,
                      harness.COMPILERS[i % len(harness.COMPILERS)]) for i, (changed, wholes) in enumerate(pairs)]
            cases += [(LAYOUTS[i], VISIBILITIES[i % 2], CHANGED[i % 2], "both", harness.COMPILERS[0]) for i in (1, 2)]
        for case in cases:
            with self.subTest(case=case):
                self.check(case)


class Sessions(unittest.TestCase):
    def test_another_snapshot_ends_what_one_began(self):
        """They share the process state, for only what a session is made of differs: a member of its output more."""
        tree = changed_tree("longer_delivery", "class delivery {\n public:\n", "class delivery {\n  char more_[64] = {};\n\n public:\n")
        for changed in CHANGED:
            with self.subTest(changed=changed):
                include = {who: ["-I", str(tree)] if who == changed else [] for who in CHANGED}
                library = harness.build(["session_library.cpp"], "libsession.so", "g++", [
                    "-shared", "-fPIC", "-fvisibility=hidden", *include["library"]], optimize="-O0")
                program = harness.build(["session_main.cpp", library], "session_main", "g++", include["program"],
                                        optimize="-O0")
                paths = [harness.BUILD / f"session_{number}.pb.gz" for number in (1, 2)]
                self.assertEqual(harness.run(program, *paths).stdout, "off\n")
                for path in paths:
                    profile = pprof_check.parse(path.read_bytes())
                    self.assertGreater(pprof_check.find(profile, "^main$", "cpu"), 0.1e9)


class Versions(unittest.TestCase):
    def test_two_versions_are_named(self):
        """The file that was compiled with another version is named in the error."""
        other = changed_tree("other_version", "#define PROF_VERSION_PATCH 0",
                             "#define PROF_VERSION_PATCH 7")
        for compiler in harness.COMPILERS:
            object_file = harness.object_of(harness.PROGRAMS / "version_other.cpp", compiler, ["-I", str(other)],
                                            optimize="-O0")
            # -I of the other tree must come first, so that it was really used.
            strings = object_file.read_bytes()
            self.assertIn(b"version_other.cpp", strings)
            program = harness.build(["version_main.cpp", object_file], "version_main",
                                    compiler=compiler, optimize="-O0")
            answer = harness.run(program, check=False).stdout
            self.assertIn("different versions", answer)
            self.assertIn("version_other.cpp has 0.1.7", answer)
            self.assertIn("version_main.cpp has 0.1.0", answer)

    def test_one_version_is_fine(self):
        program = harness.build(["version_main.cpp", "version_other.cpp"], "version_same", optimize="-O0")
        self.assertIn("ok", harness.run(program).stdout)


class Fork(unittest.TestCase):
    def test_child_starts_anew(self):
        program = harness.build(["fork_child.cpp"], "fork_child", with_whole=True)
        parent, child = harness.BUILD / "fork_parent.pb.gz", harness.BUILD / "fork_child.pb.gz"
        harness.run(program, parent, child)
        for path, own, foreign in ((parent, "parent_work", "child_work"),
                                   (child, "child_work", "parent_work")):
            profile = pprof_check.parse(path.read_bytes())
            self.assertEqual(pprof_check.validate(profile, "cpu"), [])
            self.assertGreater(pprof_check.find(profile, own, "cpu"), 150e6)
            self.assertEqual(pprof_check.find(profile, foreign, "cpu"), 0)

    def test_a_child_finds_the_loader_free(self):
        """glibc leaves the lock of dl_iterate_phdr in the child as it was. Without the whole calls look for it."""
        for whole in (False, True):
            with self.subTest(whole=whole):
                program = harness.build(["fork_loader.cpp"], f"fork_loader_{whole}", libraries=["-ldl"], with_whole=whole)
                self.assertEqual(harness.run(program, timeout=120).stdout, "0 of 200\n")

    def test_child_gives_the_sockets_back(self):
        """A worker that outlives its parent's server must not keep the port."""
        program = harness.build(["fork_server.cpp"], "fork_server", with_whole=True)
        self.assertEqual(harness.run(program).stdout.split(), ["0", "1", "1"])


if __name__ == "__main__":
    unittest.main()
