"""annotate.hpp: labels and records count wherever the whole is, and are nothing where it is not."""

import unittest

from support import harness, pprof_check
from support.quiet import needs_quiet

PLACES = ["whole", "beside", "in_library", "in_plugin"]


def labels_of(profile, sample):
    return {label.key: label.str for label in sample.label if label.str}


def sums(profile, column):
    """{(place, stage): sum of a column} over labelled samples."""
    index = [t.type for t in profile.sample_type].index(column)
    found = {}
    for sample in profile.sample:
        labels = labels_of(profile, sample)
        key = labels.get("place"), labels.get("stage")
        found[key] = found.get(key, 0) + sample.value[index]
    return found


def size_sums(profile, size):
    """{(place, stage): (allocated objects, live objects)} of one object size."""
    found = {}
    for sample in profile.sample:
        if not any(label.key == "bytes" and label.num == size for label in sample.label):
            continue
        labels = labels_of(profile, sample)
        key = labels.get("place"), labels.get("stage")
        before = found.get(key, (0, 0))
        found[key] = before[0] + sample.value[0], before[1] + sample.value[2]
    return found


def object_beside(compiler, flags=(), optimize="-O2"):
    return harness.object_of(harness.PROGRAMS / "annotate_place.cpp", compiler, [*flags, "-DPLACE=beside"],
                             optimize=optimize)


class Annotations(unittest.TestCase):
    def build_everywhere(self, compiler, flags, optimize):
        """One executable of two files, a linked library, a plugin: only one file has the whole."""
        library, plugin = [harness.build(["annotate_place.cpp"], output, compiler, [
            *flags, "-shared", "-fPIC", f"-DPLACE={name}"], optimize=optimize) for name, output in (
                ("in_library", "libannotate.so"), ("in_plugin", "annotate_plugin.so"))]
        program = harness.build(["annotate_main.cpp", object_beside(compiler, flags, optimize), library], "annotate_main", compiler,
                                flags, optimize=optimize, libraries=["-ldl"])
        return program, plugin

    def test_everywhere(self):
        for compiler, flags, optimize in (("g++", ["-fvisibility=hidden"], "-O1"),
                                          ("g++", ["-flto"], "-O1"), ("clang++", [], "-O0"),
                                          ("clang++", ["-fno-exceptions", "-fno-rtti"], "-O2"),
                                          ("g++", ["-DPROF_HOOKS=none"], "-O0")):
            with self.subTest(compiler=compiler, flags=flags, optimize=optimize):
                program, plugin = self.build_everywhere(compiler, flags, optimize)
                self.check_run(program, plugin, hooked="-DPROF_HOOKS=none" not in flags)

    def check_run(self, program, plugin, hooked):
        heap = harness.BUILD / "annotate_heap.pb.gz"
        self.check_times(program, heap, plugin)
        profile = pprof_check.parse(heap.read_bytes())
        self.assertEqual(pprof_check.validate(profile, "heap"), [])
        self.assertEqual(size_sums(profile, 1000), {(name, "outer"): (10, 6) for name in PLACES})
        mallocs = {(name, stage): (n, n) for name in PLACES
                   for stage, n in (("outer", 3), ("inner", 2))}
        self.assertEqual(size_sums(profile, 3000), mallocs if hooked else {})

    @needs_quiet
    def check_times(self, program, heap, plugin):
        cpu = harness.BUILD / "annotate_cpu.pb.gz"
        harness.run(program, cpu, heap, plugin)
        profile = pprof_check.parse(cpu.read_bytes())
        self.assertEqual(pprof_check.validate(profile, "cpu"), [])
        times = sums(profile, "cpu")
        for name in PLACES:
            self.assertAlmostEqual(times.get((name, "outer"), 0) / 1e9, 0.3, delta=0.06)
        self.assertLess(sum(time for (name, _), time in times.items() if name is None), 0.05e9)

    def test_pprof_selects_by_label(self):
        program, plugin = self.build_everywhere("g++", [], "-O0")
        heap = harness.BUILD / "annotate_heap.pb.gz"
        harness.run(program, "/dev/null", heap, plugin)
        shown = harness.pprof("-sample_index=alloc_space", "-tagfocus", "place=in_plugin", "-raw", heap)
        self.assertIn("place:[in_plugin]", shown)
        top = harness.pprof("-sample_index=alloc_objects", "-tagfocus", "place=in_plugin",
                            "-top", heap)
        self.assertIn(" 15, ", top)

    def test_alone_it_does_nothing(self):
        for compiler in harness.COMPILERS:
            program = harness.build(["annotate_alone.cpp", object_beside(compiler)], "annotate_alone", compiler)
            self.assertEqual(harness.run(program).stdout, "ok\n")
            symbols = harness.command("nm", "-C", program)
            self.assertNotIn(" T malloc", symbols)
            self.assertNotIn("W malloc", symbols)
            self.assertNotIn("prof_hook", symbols)
            for of_the_whole in ("prof_part_", "prof_hooks_", "process_state", "timer_create", "sigaction", "pthread_create"):
                self.assertNotIn(of_the_whole, symbols)

    def test_the_whole_may_come_later(self):
        """What was not found is looked for again."""
        for compiler in harness.COMPILERS:
            plugin = harness.build(["annotate_whole_plugin.cpp"], "annotate_whole.so", compiler, ["-shared", "-fPIC"],
                                   optimize="-O0")
            program = harness.build(["annotate_late.cpp"], "annotate_late", compiler, libraries=["-ldl"])
            cpu, heap = harness.BUILD / "annotate_late_cpu.pb.gz", harness.BUILD / "annotate_late_heap.pb.gz"
            harness.run(program, plugin, cpu, heap)
            times = sums(pprof_check.parse(cpu.read_bytes()), "cpu")
            self.assertGreater(times.get(("late", "outer"), 0), 0.2e9)
            self.assertNotIn(("early", "outer"), times)
            self.assertEqual(size_sums(pprof_check.parse(heap.read_bytes()), 1000), {("late", "outer"): (10, 6)})

    def test_no_constructor(self):
        for compiler in harness.COMPILERS:
            sections = harness.command("readelf", "-SW", object_beside(compiler))
            self.assertNotIn(".init_array", sections)
            self.assertIn(".note.prof", sections)


if __name__ == "__main__":
    unittest.main()
