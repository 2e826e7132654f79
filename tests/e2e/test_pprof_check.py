#!/usr/bin/env python3
"""Proves that each rule of pprof_check fires, and that a good profile passes, with an encoder of its own."""

import contextlib
import copy
import gzip
import io
import os
import re
import tempfile
import time
import unittest

from support import pprof_check

NOW = 1750000000

# ---- a hand-written encoder: plain dicts in, profile.proto out -----------------------------------


def varint(value):
    value &= (1 << 64) - 1
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value) if value else b""


def chunk(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def packed(field, values):
    return chunk(field, b"".join(varint(value) for value in values)) if values else b""


class Encoder:
    def __init__(self):
        self.strings = [b""]

    def text(self, field, text):
        return number(field, self.index(text))

    def index(self, text):
        if isinstance(text, int):
            return text                      # a raw index, for bad profiles
        raw = text if isinstance(text, bytes) else text.encode()
        if raw not in self.strings:
            self.strings.append(raw)
        return self.strings.index(raw)

    def value_type(self, pair):
        return self.text(1, pair[0]) + self.text(2, pair[1])

    def label(self, l):
        return (self.text(1, l["key"]) + self.text(2, l.get("str", "")) + number(3, l.get("num", 0)) +
                self.text(4, l.get("num_unit", "")))

    def sample(self, s):
        return (packed(1, s["locations"]) + packed(2, s["values"]) +
                b"".join(chunk(3, self.label(l)) for l in s.get("labels", [])))

    def mapping(self, m):
        return (number(1, m["id"]) + number(2, m["start"]) + number(3, m["limit"]) + number(4, m.get("offset", 0)) +
                self.text(5, m["file"]) + self.text(6, m.get("build_id", "")) + number(7, m.get("has_functions", 0)) +
                number(8, m.get("has_filenames", 0)) + number(9, m.get("has_line_numbers", 0)) +
                number(10, m.get("has_inline_frames", 0)))

    def line(self, l):
        return number(1, l[0]) + number(2, l[1]) + number(3, l[2] if len(l) > 2 else 0)

    def location(self, l):
        return (number(1, l["id"]) + number(2, l.get("mapping", 0)) + number(3, l.get("address", 0)) +
                b"".join(chunk(4, self.line(line)) for line in l["lines"]))

    def function(self, f):
        return (number(1, f["id"]) + self.text(2, f["name"]) + self.text(3, f.get("system_name", "")) +
                self.text(4, f.get("file", "")) + number(5, f.get("start_line", 0)))

    def profile(self, p):
        out = b"".join(chunk(1, self.value_type(pair)) for pair in p["types"])
        out += b"".join(chunk(2, self.sample(s)) for s in p["samples"])
        out += b"".join(chunk(3, self.mapping(m)) for m in p["mappings"])
        out += b"".join(chunk(4, self.location(l)) for l in p["locations"])
        out += b"".join(chunk(5, self.function(f)) for f in p["functions"])
        tail = self.text(7, p.get("drop_frames", "")) + self.text(8, p.get("keep_frames", ""))
        tail += number(9, p.get("time", 0)) + number(10, p.get("duration", 0))
        if "period_type" in p:
            tail += chunk(11, self.value_type(p["period_type"]))
        tail += number(12, p.get("period", 0)) + packed(13, [self.index(c) for c in p.get("comments", [])])
        tail += self.text(14, p.get("default", "")) + self.text(15, p.get("doc_url", ""))
        return out + b"".join(chunk(6, s) for s in p.get("strings", self.strings)) + tail


def encode(profile):
    return Encoder().profile(profile)


# ---- good profiles ------------------------------------------------------------------------------

# main -> ns::burn(int) -> spin inlined in ns::work<int>, once with a label; and one frame of a stripped library
GOOD = {
    "types": [("samples", "count"), ("cpu", "nanoseconds")],
    "period_type": ("cpu", "nanoseconds"),
    "period": 10000000,
    "time": NOW * 10**9,
    "duration": 2 * 10**9,
    "comments": ["engine: timer"],
    "mappings": [
        {"id": 1, "start": 0x400000, "limit": 0x500000, "file": "/bin/app", "build_id": "00ffab12", "has_functions": 1,
         "has_filenames": 1, "has_line_numbers": 1, "has_inline_frames": 1},
        {"id": 2, "start": 0x7f0000000000, "limit": 0x7f0000100000, "offset": 0x1000, "file": "/lib/libfoo.so.1"},
        {"id": 3, "start": 0x7fff00000000, "limit": 0x7fff00001000, "file": "[vdso]"},
    ],
    "functions": [
        {"id": 1, "name": "main", "system_name": "main", "file": "/src/app.cpp", "start_line": 10},
        {"id": 2, "name": "ns::burn(int)", "system_name": "_ZN2ns4burnEi", "file": "/src/burn.cpp"},
        {"id": 3, "name": "ns::work<int>", "system_name": "_ZN2ns4workIiEEvT_", "file": "/src/burn.cpp"},
        {"id": 4, "name": "spin", "system_name": "_ZL4spinv", "file": "/src/burn.cpp"},
        {"id": 5, "name": "libfoo.so.1+0x12"},
        {"id": 6, "name": "[thread exit]"},
    ],
    "locations": [
        {"id": 1, "mapping": 1, "address": 0x400010, "lines": [(1, 12)]},
        {"id": 2, "mapping": 1, "address": 0x400020, "lines": [(2, 5)]},
        {"id": 3, "mapping": 1, "address": 0x400030, "lines": [(4, 33, 7), (3, 44)]},
        {"id": 4, "mapping": 2, "address": 0x7f0000000012, "lines": [(5, 0)]},
        {"id": 5, "lines": [(6, 0)]},
    ],
    "samples": [
        {"locations": [3, 2, 1], "values": [3, 30000000]},
        {"locations": [3, 2, 1], "values": [1, 10000000], "labels": [{"key": "tenant", "str": "a"}]},
        {"locations": [4, 1], "values": [2, 20000000], "labels": [{"key": "bytes", "num": 64, "num_unit": "bytes"}]},
        {"locations": [2, 2, 1], "values": [1, 10000000]},
        {"locations": [5], "values": [1, 0]},
    ],
}


def good(kind="cpu"):
    profile = copy.deepcopy(GOOD)
    if kind == "cpu":
        return profile
    shape = pprof_check.KINDS[kind]
    profile.update(types=list(shape.sample_types), period_type=shape.period_type, period=524288, default=shape.default_sample_type)
    del profile["duration"]
    for sample in profile["samples"]:
        sample["values"] = [index + 1 for index in range(len(shape.sample_types))]
    return profile


FIRED = set()


def check(data, kind=None, **more):
    problems = pprof_check.validate(pprof_check.parse(data), kind, now=NOW, **more)
    FIRED.update(problem.split(":")[0] for problem in problems)
    return problems


class Checks(unittest.TestCase):
    def rules(self, data, kind=None, **more):
        return sorted({problem.split(":")[0] for problem in check(data, kind, **more)})

    def bad(self, rule, change, kind=None, base="cpu", also=()):
        """The change breaks exactly this rule (and those that cannot but break with it)."""
        profile = good(base)
        change(profile)
        self.assertEqual(self.rules(encode(profile), kind), sorted({rule, *also}), rule)


class Good(Checks):
    def test_every_kind_passes_plain_and_compressed(self):
        for kind in pprof_check.KINDS:
            data = encode(good(kind))
            self.assertEqual(check(data, kind), [])
            self.assertEqual(check(data), [])
            self.assertEqual(check(gzip.compress(data), kind), [])
            self.assertEqual(pprof_check.warnings(pprof_check.parse(data)), [])

    def test_a_profile_without_samples_passes(self):
        profile = good()
        profile.update(samples=[], locations=[], functions=[])
        for mapping in profile["mappings"]:
            for flag in [key for key in mapping if key.startswith("has_")]:
                del mapping[flag]
        self.assertEqual(check(encode(profile), "cpu"), [])

    def test_the_table_may_come_first(self):
        encoder = Encoder()
        data = encoder.profile(good())
        table = b"".join(chunk(6, s) for s in encoder.strings)
        self.assertIn(table, data)
        self.assertEqual(check(table + data.replace(table, b""), "cpu"), [])

    def test_negative_values_are_fine_in_a_delta(self):
        profile = good("heap")
        profile["samples"][0]["values"] = [0, -1, -(1 << 63), 5]
        parsed = pprof_check.parse(encode(profile))
        self.assertEqual(parsed.sample[0].value, [0, -1, -(1 << 63), 5])
        self.assertEqual(pprof_check.validate(parsed, "heap", now=NOW), [])

    def test_everything_is_decoded(self):
        parsed = pprof_check.parse(gzip.compress(encode(good())))
        self.assertTrue(parsed.compressed)
        self.assertEqual([(t.type, t.unit) for t in parsed.sample_type], GOOD["types"])
        self.assertEqual(parsed.mapping[0], pprof_check.Mapping(1, 0x400000, 0x500000, 0, "/bin/app", "00ffab12", True, True, True, True))
        self.assertEqual(parsed.mapping[1].file_offset, 0x1000)
        self.assertEqual(parsed.function[1], pprof_check.Function(2, "ns::burn(int)", "_ZN2ns4burnEi", "/src/burn.cpp", 0))
        self.assertEqual(parsed.location[2].line, [pprof_check.Line(4, 33, 7), pprof_check.Line(3, 44, 0)])
        self.assertEqual(parsed.sample[2].label, [pprof_check.Label("bytes", "", 64, "bytes")])
        self.assertEqual((parsed.time_nanos, parsed.duration_nanos, parsed.period), (NOW * 10**9, 2 * 10**9, 10000000))
        self.assertEqual(parsed.comment, ["engine: timer"])


class Unreadable(unittest.TestCase):
    def refused(self, data, pattern):
        with self.assertRaisesRegex(pprof_check.ProfileError, pattern):
            pprof_check.parse(data)

    def test_bytes_that_are_no_profile(self):
        self.refused(b"", "empty")
        self.refused(b"\x0a\x00", "empty")
        self.refused(gzip.compress(b""), "empty")
        self.refused(b"<html><body>404</body></html>", "text")
        self.refused(b'{"error": "busy"}', "text")
        self.refused(b"\x48\x80\x80", "cut off")
        self.refused(b"\x48" + b"\x80" * 10 + b"\x01", "longer than ten")
        self.refused(b"\x48" + b"\xff" * 9 + b"\x02", "fit 64 bits")
        self.refused(b"\x00\x00\x00\x00", "field number 0")
        self.refused(b"\x4b\x01\x02\x03", "wire type 3")
        self.refused(b"\x32\x7f\x61\x62", "cut off")

    def test_no_prefix_crashes(self):
        data = encode(good())
        for size in range(len(data)):
            try:
                pprof_check.validate(pprof_check.parse(data[:size]), "cpu")
            except pprof_check.ProfileError:
                pass

    def test_damaged_gzip(self):
        data = gzip.compress(encode(good()))
        self.refused(data[:-1], "cut off")
        self.refused(data[:-6] + b"\x00\x00" + data[-4:], "gzip: .*check")
        self.refused(data[:10] + b"\x07" + data[11:], "gzip: .*block type")
        self.refused(b"\x1f\x8b", "cut off")


class Wire(Checks):
    def rule(self, rule, data, also=()):
        self.assertEqual(self.rules(data), sorted({rule, *also}), rule)

    def test_gzip_must_end_with_its_member(self):
        data = gzip.compress(encode(good()))
        self.rule("gzip", data + b"\x00")
        self.rule("gzip", data + data)

    def test_body(self):
        self.rule("body", b"\x82\x01\x01a" + encode(good()), also=["unknown-field"])

    def test_varint(self):
        self.rule("varint", encode(good()).replace(number(12, 10000000), b"\x60\x80\xad\xe2\x84\x00"))
        self.rule("varint", encode(good()).replace(b"\x38\x01", b"\x38\x02", 1))       # has_functions = 2

    def test_unknown_field(self):
        self.rule("unknown-field", encode(good()) + chunk(16, b"x"))
        self.rule("unknown-field", encode(good()) + b"\x80\x01\x05")
        self.rule("unknown-field", encode(good()) + b"\x81\x01" + b"12345678")           # fixed64
        self.rule("unknown-field", encode(good()) + b"\x1d" + b"1234")                   # fixed32 where a message belongs
        self.rule("unknown-field", encode(good()) + b"\x18\x01")                         # varint where a message belongs
        self.rule("unknown-field", encode(good()) + chunk(14, b"cpu"))                   # text where an index belongs

    def test_zero_field(self):
        self.rule("zero-field", encode(good()) + b"\x38\x00")
        self.rule("zero-field", encode(good()) + chunk(4, b"\x08\x06\x10\x00" + chunk(4, number(1, 6))))

    def test_packed(self):
        data = encode(good())
        self.rule("packed", data.replace(packed(13, [data_index(data)]), number(13, data_index(data))))
        self.rule("packed", data + chunk(13, b""))

    def test_repeated_field(self):
        self.rule("repeated-field", encode(good()) + number(12, 5))
        self.rule("repeated-field", encode(good()) + number(9, NOW * 10**9))


def data_index(data):
    """Index of the one comment in the encoded good profile."""
    return pprof_check.parse(data).string_table.index("engine: timer")


class Strings(Checks):
    def test_string_zero(self):
        self.assertIn("string-zero", self.rules(encode(dict(good(), strings=[]))))
        encoder = Encoder()
        encoder.strings = [b"zero"]          # every index moves by one, absent texts read "zero"
        self.assertIn("string-zero", self.rules(encoder.profile(good())))
        self.assertNotIn("string-zero", self.rules(encode(dict(good(), strings=[b""]))))

    def test_string_index(self):
        self.bad("string-index", lambda p: p["functions"][0].update(file=999))
        self.bad("string-index", lambda p: p.update(doc_url=999))
        self.bad("string-index", lambda p: p.update(comments=["fine", 999]), also=["comment"])

    def test_utf8(self):
        self.bad("utf8", lambda p: p["functions"][0].update(name=b"ma\xffin"))
        self.bad("utf8", lambda p: p["functions"][0].update(name=b"cut \xe2\x82"))
        self.bad("utf8", lambda p: p["functions"][0].update(name=b"surrogate \xed\xa0\x80"))
        self.assertEqual(check(encode({**good(), "comments": ["gr\u00fc\u00dfe \U0001f600"]})), [])


class Types(Checks):
    def test_sample_type(self):
        self.bad("sample-type", lambda p: p.update(types=[], samples=[], mappings=[], locations=[], functions=[]))
        self.bad("sample-type", lambda p: p.update(types=[("samples", "count"), ("cpu", "")]))
        self.bad("sample-type", lambda p: p.update(types=[("", "count"), ("cpu", "nanoseconds")]))
        self.bad("sample-type", lambda p: p.update(types=[("cpu", "nanoseconds")] * 2))

    def test_sample_type_dash(self):
        self.bad("sample-type-dash", lambda p: p.update(types=[("samples", "count"), ("cpu-time", "nanoseconds")]))

    def test_period_type(self):
        self.bad("period-type", lambda p: p.pop("period_type"))
        self.bad("period-type", lambda p: p.update(period_type=("cpu", "")))

    def test_default_type(self):
        self.bad("default-type", lambda p: p.update(default="heap"))
        profile = good()
        profile["default"] = "samples"
        self.assertEqual(check(encode(profile)), [])

    def test_kind(self):
        self.bad("kind", lambda p: p["types"].reverse(), "cpu")
        self.bad("kind", lambda p: p.update(types=[("samples", "count"), ("cpu", "microseconds")]), "cpu")
        self.bad("kind", lambda p: p.update(period_type=("cpu", "count")), "cpu")
        self.bad("kind", lambda p: p.update(default="cpu"), "cpu")
        self.bad("kind", lambda p: p.pop("period"), "cpu")
        self.bad("kind", lambda p: p.update(period=-1), "heap", "heap")
        self.bad("kind", lambda p: p["samples"][0].update(values=[-1, -10000000]), "cpu")
        self.bad("kind", lambda p: p["types"].reverse(), "heap", "heap")
        self.bad("kind", lambda p: p.update(default="inuse_space"), "heap", "heap")
        self.bad("kind", lambda p: None, "allocs", "heap")
        self.bad("kind", lambda p: None, "heap", "allocs")
        self.bad("kind", lambda p: None, "heap", "mutex")
        self.bad("kind", lambda p: None, "cpu", "heap", also=["duration"])
        self.assertRaises(ValueError, check, encode(good()), "wall")


class Ids(Checks):
    def test_mapping_id(self):
        self.bad("mapping-id", lambda p: p["mappings"][2].update(id=4))
        self.bad("mapping-id", lambda p: p["mappings"][2].update(id=0))
        self.bad("mapping-id", lambda p: p["mappings"].insert(0, p["mappings"].pop(2)))

    def test_location_id(self):
        self.bad("location-id", lambda p: p["locations"].append({"id": 7, "lines": [(6, 0)]}))
        self.bad("location-id", lambda p: p["locations"].append({"id": 0, "lines": [(6, 0)]}))
        self.bad("location-id", lambda p: p["locations"].append({"id": 5, "lines": [(6, 0)]}))
        self.bad("location-id", lambda p: p["locations"].insert(0, p["locations"].pop(4)))

    def test_function_id(self):
        self.bad("function-id", lambda p: p["functions"].append({"id": 8, "name": "f"}))
        self.bad("function-id", lambda p: p["functions"].append({"id": 0, "name": "f"}))
        self.bad("function-id", lambda p: p["functions"].reverse())

    def test_reference(self):
        self.bad("reference", lambda p: p["samples"][0].update(locations=[3, 2, 6]))
        self.bad("reference", lambda p: p["samples"][0].update(locations=[3, 0, 1]))
        self.bad("reference", lambda p: p["locations"][4].update(lines=[(7, 0)]))
        self.bad("reference", lambda p: p["locations"][4].update(lines=[(0, 0)]))
        self.bad("reference", lambda p: p["locations"][4].update(mapping=4))


class Samples(Checks):
    def test_value_count(self):
        self.bad("value-count", lambda p: p["samples"][0].update(values=[1]))
        self.bad("value-count", lambda p: p["samples"][0].update(values=[]))
        self.bad("value-count", lambda p: p["samples"][0].update(values=[1, 2, 3]))

    def test_depth(self):
        self.bad("depth", lambda p: p["samples"][0].update(locations=[1] * 1001))
        profile = good()
        profile["samples"][0]["locations"] = [1] * 1000
        self.assertEqual(check(encode(profile)), [])

    def test_label(self):
        def label(**fields):
            return lambda p: p["samples"][0].update(labels=[fields])
        self.bad("label", label(key="", str="a"))
        self.bad("label", label(key="k"))
        self.bad("label", label(key="k", str="a", num=1))
        self.bad("label", label(key="k", str="a", num_unit="bytes"))

    def test_label_count(self):
        labels = [{"key": "k%d" % i, "num": 1} for i in range(101)]
        self.bad("label-count", lambda p: p["samples"][0].update(labels=labels))
        self.assertEqual(check(encode({**good(), "samples": [{"locations": [3, 4], "values": [1, 1], "labels": labels[:100]}]})), [])

    def test_label_mix(self):
        self.bad("label-mix", lambda p: p["samples"][0].update(labels=[{"key": "tenant", "num": 1}]))

    def test_merged(self):
        self.bad("merged", lambda p: p["samples"].append(dict(p["samples"][0])))
        two = [{"key": "a", "str": "1"}, {"key": "b", "str": "2"}]
        self.bad("merged", lambda p: p["samples"].extend([{"locations": [1], "values": [1, 1], "labels": two},
                                                         {"locations": [1], "values": [1, 1], "labels": two[::-1]}]))

    def test_merged_looks_through_equal_locations_and_functions(self):
        def twice(p):
            p["functions"].append(dict(p["functions"][0], id=7))
            p["locations"].append(dict(p["locations"][0], id=6, lines=[(7, 12)]))
            p["samples"].append({"locations": [3, 2, 6], "values": [1, 1]})
        self.bad("merged", twice)

    def test_other_labels_address_or_order_are_not_equal(self):
        profile = good()
        profile["samples"].append({"locations": [1, 2, 3], "values": [1, 1]})
        profile["samples"].append({"locations": [3, 2, 1], "values": [1, 1], "labels": [{"key": "tenant", "str": "b"}]})
        profile["locations"].append(dict(profile["locations"][0], id=6, address=0x400011))
        profile["samples"].append({"locations": [3, 2, 6], "values": [1, 1]})
        self.assertEqual(check(encode(profile)), [])


class Places(Checks):
    def test_location_line(self):
        self.bad("location-line", lambda p: p["locations"][4].update(lines=[]))

    def test_line_number(self):
        self.bad("line-number", lambda p: p["locations"][0].update(lines=[(1, -1)]))
        self.bad("line-number", lambda p: p["locations"][0].update(lines=[(1, 1, -1)]))
        self.bad("line-number", lambda p: p["functions"][0].update(start_line=-1))

    def test_function_name(self):
        self.bad("function-name", lambda p: p["functions"][5].update(name=""))

    def test_mangled_name(self):
        self.bad("mangled-name", lambda p: p["functions"][1].update(name="_ZN2ns4burnEi"))
        self.bad("mangled-name", lambda p: p["functions"][1].update(name="_ZN2ns4burnEi", system_name=""))
        self.bad("mangled-name", lambda p: p["functions"][3].update(name="_ZL4spinv.part.0", system_name="_ZL4spinv.part.0"))

    def test_a_name_nobody_can_demangle_may_stay(self):
        for name in ("_Zebra", "_Z", "_ZN2ns", "_Z$"):
            profile = good()
            profile["functions"][1].update(name=name, system_name=name)
            self.assertEqual(check(encode(profile)), [], name)

    def test_mangled_name_without_libstdcxx(self):
        demangler, pprof_check.DEMANGLER = pprof_check.DEMANGLER, None
        try:
            self.test_mangled_name()
            for name in ("_Z3foov", "_ZSt4sortv", "_ZTV3foo", "_ZGVZ1fvE1x", "_ZNSt6vectorIiE4pushEv", "_ZplRK1AS1_"):
                self.assertTrue(pprof_check.is_demanglable(name), name)
            for name in ("_Z", "_Z$", "main", "Z3foov"):
                self.assertFalse(pprof_check.is_demanglable(name), name)
        finally:
            pprof_check.DEMANGLER = demangler

    def test_stripped_name(self):
        self.bad("stripped-name", lambda p: p["functions"][1].update(system_name="ns::burn(int)"))
        self.bad("stripped-name", lambda p: p["functions"][2].update(system_name="ns::work<int>"))


class Mappings(Checks):
    def test_mapping_range(self):
        self.bad("mapping-range", lambda p: p["mappings"][2].update(limit=0))
        self.bad("mapping-range", lambda p: p["mappings"][2].update(limit=p["mappings"][2]["start"]))

    def test_mapping_file(self):
        self.bad("mapping-file", lambda p: p["mappings"][0].update(file=""))
        self.bad("mapping-file", lambda p: p["mappings"][1].update(file="/lib/libfoo.so (deleted)"))

    def test_address(self):
        self.bad("address", lambda p: p["locations"][0].update(address=0x3fffff))
        self.bad("address", lambda p: p["locations"][0].update(address=0x500000))
        self.bad("address", lambda p: p["locations"][4].update(address=0x1234))

    def test_build_id(self):
        for text in ("00FF", "00fg", "0x00ff", "00f", "00-ff"):
            self.bad("build-id", lambda p: p["mappings"][0].update(build_id=text))

    def test_has_functions(self):
        self.bad("has-functions", lambda p: p["mappings"][0].pop("has_functions"))
        self.bad("has-functions", lambda p: p["mappings"][1].update(has_functions=1))
        for name in ("0x7f0012", "libfoo.so.1+0x12", "0x12 [libfoo.so]", "[libfoo.so]", "??", "[vdso]+0x5"):
            self.bad("has-functions", lambda p: p["functions"][1].update(name=name))

    def test_real_names_are_not_taken_for_synthetic(self):
        for name in ("operator+", "f0x12", "main", "operator new[]", "a::b[abi:cxx11]", "lambda#1"):
            self.assertFalse(pprof_check.is_synthetic(name), name)

    def test_has_functions_looks_at_used_locations_only(self):
        profile = good()
        profile["locations"].append({"id": 6, "mapping": 1, "address": 0x400040, "lines": [(5, 0)]})
        self.assertEqual(check(encode(profile)), [])

    def test_has_filenames(self):
        self.bad("has-filenames", lambda p: p["mappings"][1].update(has_filenames=1))
        self.bad("has-filenames", lambda p: p["mappings"][2].update(has_filenames=1))

    def test_has_line_numbers(self):
        self.bad("has-line-numbers", lambda p: p["mappings"][1].update(has_line_numbers=1))

    def test_has_inline_frames(self):
        self.bad("has-inline-frames", lambda p: p["mappings"][1].update(has_inline_frames=1))


class Rest(Checks):
    def test_time(self):
        self.bad("time", lambda p: p.pop("time"))
        self.bad("time", lambda p: p.update(time=-5))
        self.bad("time", lambda p: p.update(time=NOW))                       # seconds for nanoseconds
        self.bad("time", lambda p: p.update(time=(NOW + 601) * 10**9))
        self.assertEqual(check(encode(good()), max_age=60), [])
        old = dict(good(), time=(NOW - 3601) * 10**9)
        self.assertEqual(check(encode(old)), [])
        self.assertEqual(self.rules(encode(old), max_age=3600), ["time"])

    def test_duration(self):
        self.bad("duration", lambda p: p.pop("duration"), "cpu")
        self.bad("duration", lambda p: p.pop("duration"))
        self.bad("duration", lambda p: p.update(duration=-1), base="heap")

    def test_comment(self):
        self.bad("comment", lambda p: p.update(comments=["", "a"]))
        self.bad("comment", lambda p: p.update(comments=["executableInfo=3;0;0"]))
        self.bad("comment", lambda p: p.update(comments=["executableInfo=3;0;0", "executableInfo=3;0", "executableInfo=3;0;0"]))
        profile = dict(good(), comments=["executableInfo=3;1000;2000", "executableInfo=2;0;400000", "note", "executableInfo=3;0;0"])
        self.assertEqual(check(encode(profile)), [])

    def test_regex(self):
        self.bad("regex", lambda p: p.update(drop_frames="("))
        self.bad("regex", lambda p: p.update(keep_frames="[a"))
        self.assertEqual(check(encode(dict(good(), drop_frames="malloc|free"))), [])

    def test_doc_url(self):
        self.bad("doc-url", lambda p: p.update(doc_url="see the manual"))
        self.assertEqual(check(encode(dict(good(), doc_url="https://example.org/x"))), [])

    def test_many_faults_of_one_rule_are_cut_short(self):
        profile = good()
        profile["samples"] = [{"locations": [i % 3 + 1] * (i + 1), "values": [1]} for i in range(40)]
        problems = [problem for problem in check(encode(profile)) if problem.startswith("value-count")]
        self.assertEqual(len(problems), 6)
        self.assertIn("35 more", problems[-1])

    def test_warnings(self):
        def warned(pattern, **change):
            parsed = pprof_check.parse(encode(dict(good(), **change)))
            self.assertRegex("\n".join(pprof_check.warnings(parsed)), pattern)
        many = [{"locations": [1] * (i % 100 + 1), "values": [1, 1], "labels": [{"key": "i", "num": i // 100 + 1}]} for i in range(16001)]
        warned("16001 samples", samples=many)
        warned("longer than 65535", comments=["x" * 65536])
        warned("bytes, Pyroscope", comments=["x" * (4 << 20)])
        warned("duplicates", strings=[b"", b"a", b"a"] + [b"s%d" % i for i in range(60)])
        warned("5 locations are in no sample", samples=[])
        warned("1 functions are in no location", functions=GOOD["functions"] + [{"id": 7, "name": "f"}])
        warned("nothing but zeros", samples=[{"locations": [1], "values": [0, 0]}])
        self.assertEqual(check(encode(dict(good(), samples=many + GOOD["samples"][:1] + GOOD["samples"][2:3])), "cpu"), [])


class Questions(unittest.TestCase):
    def setUp(self):
        self.profile = pprof_check.parse(encode(good()))

    def test_total(self):
        self.assertEqual(pprof_check.total(self.profile, "samples"), 8)
        self.assertEqual(pprof_check.total(self.profile, "cpu"), 70000000)
        self.assertEqual(pprof_check.total(self.profile), 70000000)
        self.assertRaises(ValueError, pprof_check.total, self.profile, "heap")

    def test_the_default_column_is_what_pprof_shows(self):
        self.assertEqual(pprof_check.total(pprof_check.parse(encode(good("heap")))), 5 * 4)
        self.assertEqual(pprof_check.total(pprof_check.parse(encode(good("allocs")))), 5 * 2)

    def test_by_leaf(self):
        self.assertEqual(pprof_check.by_leaf(self.profile, "samples"),
                         {"spin": 4, "libfoo.so.1+0x12": 2, "ns::burn(int)": 1, "[thread exit]": 1})

    def test_by_function_cum_counts_recursion_and_inlined_callers_once(self):
        self.assertEqual(pprof_check.by_function_cum(self.profile, "samples"),
                         {"spin": 4, "ns::work<int>": 4, "ns::burn(int)": 5, "main": 7, "libfoo.so.1+0x12": 2, "[thread exit]": 1})

    def test_find(self):
        self.assertEqual(pprof_check.find(self.profile, r"^ns::", "samples"), 5)
        self.assertEqual(pprof_check.find(self.profile, r"libfoo|spin", "cpu"), 60000000)
        self.assertEqual(pprof_check.find(self.profile, r"nowhere", "cpu"), 0)


class CommandLine(unittest.TestCase):
    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = pprof_check.main(list(arguments))
        return code, out.getvalue(), err.getvalue()

    def test_exit_codes_and_output(self):
        with tempfile.TemporaryDirectory() as folder:
            def path(name, data):
                with open(os.path.join(folder, name), "wb") as file:
                    file.write(data)
                return file.name
            fine = path("fine", gzip.compress(encode(dict(good(), time=int(time.time()) * 10**9))))
            heap = path("heap", encode(good("heap")))
            text = path("text", b"<html>")
            zero = path("zero", encode(dict(good(), samples=[{"locations": [3, 4], "values": [0, 0]}])))
            self.assertEqual(self.run_main(fine), (0, "", ""))
            self.assertEqual(self.run_main("--kind", "cpu", fine), (0, "", ""))
            self.assertEqual(self.run_main("--kind", "heap", heap), (0, "", ""))
            code, out, err = self.run_main("--kind", "cpu", fine, heap)
            self.assertEqual((code, err), (1, ""))
            self.assertTrue(all(line.startswith(heap + ": ") for line in out.splitlines()))
            self.assertEqual(self.run_main(text)[0], 1)
            self.assertEqual(self.run_main(os.path.join(folder, "missing"))[0], 1)
            code, out, err = self.run_main(zero)
            self.assertEqual((code, out), (0, ""))
            self.assertIn("warning", err)


class Zzz(unittest.TestCase):
    """Runs last: unittest sorts classes by name within a module."""

    def test_every_rule_has_fired(self):
        if not FIRED:
            self.skipTest("the other tests did not run")
        self.assertEqual(sorted(set(pprof_check.RULES) - FIRED), [])

    def test_every_rule_is_used_in_the_source(self):
        with open(pprof_check.__file__, encoding="ascii") as file:
            source = file.read()
        for rule in pprof_check.RULES:
            uses = len(re.findall('"%s"' % re.escape(rule), source))
            self.assertTrue(uses >= 2 or rule.endswith("-id"), rule)


if __name__ == "__main__":
    unittest.main()
