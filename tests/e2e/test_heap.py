#!/usr/bin/env python3
"""Heap profiles of programs whose allocations are known: exact at rate 1, within 4 sigma at the default rate.

A sampled site of n objects of S bytes at rate R: each object is in the profile with chance
p = 1 - exp(-S/R) and then stands for 1/p, so the variance of its bytes is n * S^2 * (1 - p) / p. A test has at
most six such assertions, on three sites: it fails by chance less than once in 2000 runs.
"""

import math
import threading
import time
import unittest

from support import harness, pprof_check

DEFAULT_RATE = 524288
COLUMNS = ("inuse_objects", "inuse_space", "alloc_objects", "alloc_space")
FRAMES = ("-fno-omit-frame-pointer",)  # one test has them; nothing needs them

# site: (objects, size of each)
SITES = {"small_site": (200000, 24), "middle_site": (50000, 1024), "large_site": (40, 1 << 20)}

# site: (live objects, live bytes, allocated objects, allocated bytes)
KINDS = {
    "by_malloc": (100, 10000, 100, 10000),
    "by_calloc": (100, 20000, 100, 20000),
    "by_realloc": (1, 4096, 9, 8176),
    "by_reallocarray": (10, 770, 10, 770),
    "by_new": (100, 800, 100, 800),
    "by_new_object": (100, 1600, 100, 1600),
    "by_new_array": (100, 33300, 100, 33300),
    "by_new_nothrow": (100, 5500, 100, 5500),
    "by_new_aligned": (100, 19200, 100, 19200),
    "by_posix_memalign": (100, 64000, 100, 64000),
    "by_aligned_alloc": (100, 44800, 100, 44800),
    "by_vector": (1, 4096, 11, 8188),
    "by_string": (1, 1000, 1, 1000),
    "freed_at_once": (0, 0, 100, 7700),
    "by_malloc_of_nothing": (10, 0, 10, 0),
}

ALLOCATORS = (r"^(operator new(\[\])?\(|(malloc|calloc|realloc|reallocarray|memalign|posix_memalign|aligned_alloc"
              r"|valloc|pvalloc|free)$|prof::|_Zn[wa]m)")


def built(name, compiler="g++", optimize="-O2", flags=()):
    key = (name, compiler, optimize, flags)
    if key not in built.known:
        built.known[key] = harness.build([name + ".cpp"], f"{name}-{compiler}{optimize}-{len(flags)}",
                                         compiler=compiler, optimize=optimize, flags=flags, with_whole=True)
    return built.known[key]


built.known = {}


def site_values(profile, name):
    return tuple(pprof_check.find(profile, rf"(^|::){name}\(", column) for column in COLUMNS)


def variance(count, size, rate):
    chance = -math.expm1(-size / rate)
    return count * size * size * (1 - chance) / chance


class Heap(unittest.TestCase):
    def prefix(self, name=""):
        return harness.BUILD / f"{self.id().rsplit('.', 1)[1]}{name}-"

    def profile_of(self, path, kind="heap", rate=None):
        profile = pprof_check.parse(path.read_bytes())
        self.assertEqual(pprof_check.validate(profile, kind=kind), [])
        if rate is not None:
            self.assertEqual(profile.period, rate)
        return profile

    def pair(self, prefix, rate):
        return [self.profile_of(prefix.with_name(prefix.name + name + ".pb.gz"), rate=rate) for name in ("live", "freed")]

    def assert_sampled(self, got, wanted, sigma, what):
        print(f"\n{self.id().rsplit('.', 1)[1]}: {what}: {got / wanted:.4f}, {(got - wanted) / sigma:+.2f} sigma", end=" ")
        self.assertLessEqual(abs(got - wanted), 4 * sigma, f"{what}: {got} instead of {wanted}, sigma {sigma:.0f}")

    # ---- sites at the default rate and at 1 ----

    def sampled_sites(self, optimize, flags=()):
        prefix = self.prefix()
        harness.run(built("heap_sites", optimize=optimize, flags=flags), DEFAULT_RATE, prefix)
        live, freed = self.pair(prefix, DEFAULT_RATE)
        for name, (count, size) in SITES.items():
            sigma = math.sqrt(variance(count, size, DEFAULT_RATE))
            objects, space, alloc_objects, alloc_space = site_values(live, name)
            self.assert_sampled(space, count * size, sigma, f"{name} bytes")
            self.assert_sampled(objects, count, sigma / size, f"{name} objects")
            self.assertEqual((alloc_objects, alloc_space), (objects, space), name)
            self.assertEqual(site_values(freed, name), (0, 0, objects, space), name)

    def test_default_rate_o2(self):
        self.sampled_sites("-O2")

    def test_default_rate_o0(self):
        self.sampled_sites("-O0")

    def test_default_rate_o2_frame_pointers(self):
        self.sampled_sites("-O2", FRAMES)

    def exact_sites(self, optimize):
        prefix = self.prefix()
        harness.run(built("heap_sites", optimize=optimize), 1, prefix)
        live, freed = self.pair(prefix, 1)
        for name, (count, size) in SITES.items():
            self.assertEqual(site_values(live, name), (count, count * size, count, count * size), name)
            self.assertEqual(site_values(freed, name), (0, 0, count, count * size), name)

    def test_rate_1_o2(self):
        self.exact_sites("-O2")

    def test_rate_1_o0(self):
        self.exact_sites("-O0")

    def test_threads_that_free_each_others_objects(self):
        path = harness.BUILD / "heap-threads.pb.gz"
        still_live = int(harness.run(built("heap_threads"), path).stdout)
        count = 4 * 3 * 80000
        objects, space, alloc_objects, alloc_space = site_values(self.profile_of(path, rate=1), "shared_site")
        self.assertEqual((objects, space, alloc_objects), (0, 0, count))
        self.assertEqual(alloc_space, 12 * sum(16 + i % 7 * 16 for i in range(80000)))
        self.assertLess(abs(still_live), 20)

    # ---- every way to allocate ----

    def run_kinds(self, compiler="g++", optimize="-O2"):
        prefix = self.prefix(f"-{compiler}{optimize}")
        harness.run(built("heap_kinds", compiler, optimize), prefix)
        return prefix

    def check_kinds(self, compiler, optimize):
        prefix = self.run_kinds(compiler, optimize)
        live = self.profile_of(prefix.with_name(prefix.name + "live.pb.gz"), rate=1)
        allocs = self.profile_of(prefix.with_name(prefix.name + "allocs.pb.gz"), kind="allocs", rate=1)
        for name, wanted in KINDS.items():
            with self.subTest(site=name):
                self.assertEqual(site_values(live, name), wanted, name)
                self.assertEqual(site_values(allocs, name), wanted, name)
        self.assert_bytes_labels(live)
        with self.subTest(leaf="of every stack"):
            self.assert_leaves_are_the_programs(live)

    def assert_leaves_are_the_programs(self, profile):
        for sample in profile.sample:
            self.assertNotRegex(profile.stack(sample)[0], ALLOCATORS, profile.stack(sample))

    def assert_bytes_labels(self, profile):
        """At rate 1 each object counts as itself. What was allocated before main set that rate counts
        by the weight of the default one: one time in eight that is libstdc++'s emergency pool."""
        checked = 0
        for sample in profile.sample:
            if "main" not in profile.stack(sample):
                continue
            checked += 1
            labels = {label.key: label.num for label in sample.label}
            objects, space = sample.value[0], sample.value[1]
            self.assertEqual(labels.get("bytes", 0) * objects, space, (labels, sample.value))
        self.assertGreaterEqual(checked, len(KINDS))

    def test_kinds_gcc_o2(self):
        self.check_kinds("g++", "-O2")

    def test_kinds_gcc_o0(self):
        self.check_kinds("g++", "-O0")

    def test_kinds_clang_o2(self):
        self.check_kinds("clang++", "-O2")

    def test_kinds_clang_o0(self):
        self.check_kinds("clang++", "-O0")

    def test_text_has_the_same_totals(self):
        prefix = self.run_kinds()
        live = self.profile_of(prefix.with_name(prefix.name + "live.pb.gz"))
        again = prefix.with_name(prefix.name + "again.pb.gz")
        harness.pprof("-proto", "-output", again, prefix.with_name(prefix.name + "live.txt"))
        from_text = pprof_check.parse(again.read_bytes())
        for column in COLUMNS:
            self.assertEqual(pprof_check.total(from_text, column), pprof_check.total(live, column), column)

    def test_go_tool_pprof_reads_it(self):
        prefix = self.run_kinds()
        live = prefix.with_name(prefix.name + "live.pb.gz")
        allocs = prefix.with_name(prefix.name + "allocs.pb.gz")
        self.assertIn("Type: inuse_space", harness.pprof("-top", live))
        self.assertIn("Type: alloc_space", harness.pprof("-top", allocs))
        self.assertIn("by_new_array", harness.pprof("-top", "-sample_index=alloc_objects", live))
        self.assertIn("PeriodType: space bytes", harness.pprof("-raw", live))
        picture = prefix.with_name(prefix.name + "graph.png")
        harness.pprof("-png", "-output", picture, live)
        self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    # ---- one line at the end ----

    def test_one_line_at_the_end(self):
        for compiler in harness.COMPILERS:
            with self.subTest(compiler=compiler):
                path = harness.BUILD / f"one-line-{compiler}.pb.gz"
                harness.run(built("heap_last_line", compiler), path)
                profile = self.profile_of(path, rate=DEFAULT_RATE)
                leaves = pprof_check.by_leaf(profile, "inuse_space")
                for way in ("malloc", "new", "arrays", "calloc", "realloc", "shared"):
                    name = f"fill_with_{way}"
                    got = sum(value for leaf, value in leaves.items() if leaf.startswith(name + "("))
                    # The smallest site holds 25 MB; 4 sigma at 512 KiB is 4 * sqrt(25e6 * 524288).
                    self.assertGreater(got, 25e6 - 14.5e6, f"{name}: {leaves}")
                self.assert_leaves_are_the_programs(profile)

    # ---- rates ----

    def test_rate_change_stays_unbiased(self):
        path = harness.BUILD / "rate-change.pb.gz"
        harness.run(built("heap_rate_change"), path)
        profile = self.profile_of(path, rate=DEFAULT_RATE)
        parts = ((40000, DEFAULT_RATE), (20000, 65536), (5000, 1000))
        sigma = math.sqrt(sum(variance(count, 1000, rate) for count, rate in parts))
        objects, space, alloc_objects, alloc_space = site_values(profile, "changing_site")
        self.assert_sampled(alloc_space, 65000000, sigma, "bytes")
        self.assert_sampled(alloc_objects, 65000, sigma / 1000, "objects")
        self.assertEqual((objects, space), (alloc_objects, alloc_space))

    # ---- over HTTP ----

    def test_difference_over_http(self):
        with harness.Server(built("http_server")) as server:
            server.say("rate1")
            server.say("keep")
            answers = []
            for name in ("heap", "allocs"):
                asked = threading.Thread(target=lambda: answers.append(server.get(f"{name}?seconds=1")))
                asked.start()
                time.sleep(0.3)
                server.say("keep")
                server.say("drop")
                asked.join()
            for kind, answer in zip(("heap", "allocs"), answers):
                profile = pprof_check.parse(answer)
                self.assertEqual(pprof_check.validate(profile, kind=kind, max_age=60), [])
                self.assertEqual(site_values(profile, "keep_site"), (500, 50000, 1000, 100000), kind)
                self.assertGreaterEqual(profile.duration_nanos, 10**9)
            whole = pprof_check.parse(server.get("heap"))
            self.assertEqual(site_values(whole, "keep_site"), (2000, 200000, 3000, 300000))


if __name__ == "__main__":
    unittest.main()
