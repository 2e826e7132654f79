#!/usr/bin/env python3
"""Decodes a pprof profile (profile.proto, gzip or plain) and checks it against every consumer at once.

    pprof_check.py [--kind heap] FILE...      prints problems; exit 1 if there are any

    profile = parse(data)                     ProfileError if it cannot be read at all
    validate(profile, kind="cpu")             list of "rule: what is wrong"; empty is good
    warnings(profile)                         legal, but some consumer's default limit is passed
    total(profile, "cpu")                     sums over samples, by the name of a sample type; None means
    by_leaf(profile, "cpu")                   the column that pprof shows first
    by_function_cum(profile, "cpu")
    find(profile, "^ns::burn", "cpu")

The rules are the union of what google/pprof, Pyroscope, Parca, Alloy, speedscope and Perfetto need, plus
what this project promises about its own files (canonical protobuf, merged samples). RULES names them all.
Nothing here shares code with the encoder under test.
"""

import argparse
import collections
import ctypes
import dataclasses
import re
import sys
import time
import zlib

# ---- the rules ----------------------------------------------------------------------------------

RULES = {
    # container and wire format
    "gzip": "one gzip member with nothing behind it",
    "body": "first bytes a scraper takes for a profile, not for a page or JSON (Alloy)",
    "varint": "varints in their shortest form",
    "unknown-field": "only fields and wire types of profile.proto",
    "zero-field": "proto3: fields with value zero are left out",
    "packed": "repeated integers are packed, and left out when there are none",
    "repeated-field": "single fields occur once (pprof: concatenated profiles)",
    # strings
    "string-zero": "string_table[0] is empty",
    "string-index": "every string index is in range",
    "utf8": "all strings are valid UTF-8 (Pyroscope)",
    # types
    "sample-type": "at least one sample type, all different, with type and unit (pprof)",
    "sample-type-dash": "no '-' in a sample type name (Pyroscope)",
    "period-type": "period type present with type and unit (part of Pyroscope's profile id)",
    "default-type": "default_sample_type names one of the sample types",
    "kind": "types, units, order and period of the kind of profile asked for",
    # ids
    "mapping-id": "mapping ids are 1..N in order (Parca)",
    "location-id": "location ids are 1..N in order (Parca)",
    "function-id": "function ids are 1..N in order (Parca)",
    "reference": "every referred mapping, location and function exists",
    # samples
    "value-count": "as many values as sample types (pprof)",
    "depth": "at most 1000 frames (Pyroscope truncates)",
    "label": "labels have a key and either a string or a number (pprof)",
    "label-count": "at most 100 labels on a sample (Pyroscope)",
    "label-mix": "a label key is either always a string or always a number (pprof)",
    "merged": "samples with equal stack and labels are one sample",
    # locations and functions
    "location-line": "every location has a line, so that speedscope shows it",
    "line-number": "line, column and start line are not negative",
    "function-name": "every function has a name",
    "mangled-name": "demangled text in name, mangled name in system_name",
    "stripped-name": "a C++ name differs from system_name, or pprof cuts its arguments off",
    # mappings
    "mapping-range": "a mapping starts below its limit",
    "mapping-file": "the first mapping is a file, and no file is called (deleted)",
    "address": "an address lies inside the mapping of its location",
    "build-id": "build ids are lower-case hex",
    "has-functions": "set exactly where every location in use has a real name",
    "has-filenames": "set only where lines carry file names",
    "has-line-numbers": "set only where lines carry numbers",
    "has-inline-frames": "set only where a location has several lines",
    # the rest
    "time": "time_nanos is set and sane",
    "duration": "duration_nanos is never negative, and is set in CPU profiles",
    "comment": "comments are not empty; Parca's executableInfo comments match the mappings",
    "regex": "drop_frames and keep_frames are regular expressions",
    "doc-url": "doc_url is an http or https address",
}

CPU_TYPES = [("samples", "count"), ("cpu", "nanoseconds")]
HEAP_TYPES = [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")]
LOCK_TYPES = [("contentions", "count"), ("delay", "nanoseconds")]


@dataclasses.dataclass(frozen=True)
class Kind:
    sample_types: list
    period_type: tuple
    default_sample_type: str = ""
    needs_period: bool = False
    needs_duration: bool = False


# Go's shapes; the last type is the one that pprof shows when there is no default.
KINDS = {
    "cpu": Kind(CPU_TYPES, ("cpu", "nanoseconds"), needs_period=True, needs_duration=True),
    "heap": Kind(HEAP_TYPES, ("space", "bytes")),
    "allocs": Kind(HEAP_TYPES, ("space", "bytes"), default_sample_type="alloc_space"),
    "mutex": Kind(LOCK_TYPES, ("contentions", "count"), needs_period=True),
    "block": Kind(LOCK_TYPES, ("contentions", "count"), needs_period=True),
    "goroutine": Kind([("goroutine", "count")], ("goroutine", "count"), needs_period=True),
    "threadcreate": Kind([("threadcreate", "count")], ("threadcreate", "count"), needs_period=True),
}

MAX_DEPTH = 1000          # frames; Pyroscope's default
MAX_LABELS = 100          # per sample; Pyroscope's default
MAX_SAMPLES = 16000       # Pyroscope's default
MAX_BYTES = 4 << 20       # uncompressed; Pyroscope's default
MAX_SYMBOL = 65535        # bytes; Pyroscope keeps the tail
EARLIEST = 1577836800     # seconds; 2020-01-01, before this project
FUTURE = 600              # seconds; Pyroscope accepts now + 10 minutes


# ---- what a profile is --------------------------------------------------------------------------

class ProfileError(ValueError):
    """The bytes are not a readable profile."""


@dataclasses.dataclass
class ValueType:
    type: str = ""
    unit: str = ""


@dataclasses.dataclass
class Label:
    key: str = ""
    str: str = ""
    num: int = 0
    num_unit: str = ""


@dataclasses.dataclass
class Sample:
    location_id: list = dataclasses.field(default_factory=list)
    value: list = dataclasses.field(default_factory=list)
    label: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Mapping:
    id: int = 0
    memory_start: int = 0
    memory_limit: int = 0
    file_offset: int = 0
    filename: str = ""
    build_id: str = ""
    has_functions: bool = False
    has_filenames: bool = False
    has_line_numbers: bool = False
    has_inline_frames: bool = False


@dataclasses.dataclass
class Line:
    function_id: int = 0
    line: int = 0
    column: int = 0


@dataclasses.dataclass
class Location:
    id: int = 0
    mapping_id: int = 0
    address: int = 0
    line: list = dataclasses.field(default_factory=list)
    is_folded: bool = False


@dataclasses.dataclass
class Function:
    id: int = 0
    name: str = ""
    system_name: str = ""
    filename: str = ""
    start_line: int = 0


@dataclasses.dataclass
class Profile:
    sample_type: list = dataclasses.field(default_factory=list)
    sample: list = dataclasses.field(default_factory=list)
    mapping: list = dataclasses.field(default_factory=list)
    location: list = dataclasses.field(default_factory=list)
    function: list = dataclasses.field(default_factory=list)
    string_table: list = dataclasses.field(default_factory=list)
    drop_frames: str = ""
    keep_frames: str = ""
    time_nanos: int = 0
    duration_nanos: int = 0
    period_type: ValueType = dataclasses.field(default_factory=ValueType)
    period: int = 0
    comment: list = dataclasses.field(default_factory=list)
    default_sample_type: str = ""
    doc_url: str = ""
    # not in the proto
    problems: list = dataclasses.field(default_factory=list)   # found while decoding
    compressed: bool = False
    size: int = 0                                              # bytes, uncompressed

    def function_by_id(self, id):
        return self.function[id - 1] if 1 <= id <= len(self.function) else None

    def location_by_id(self, id):
        return self.location[id - 1] if 1 <= id <= len(self.location) else None

    def stack(self, sample):
        """Function names, leaf first, inlined ones before their caller."""
        names = []
        for id in sample.location_id:
            location = self.location_by_id(id)
            for line in location.line if location else []:
                function = self.function_by_id(line.function_id)
                names.append(function.name if function else "?")
        return names


# ---- decoding -----------------------------------------------------------------------------------

# field number -> (name, what it is); a trailing '*' means repeated. "text" is an index into the table.
SCHEMAS = {
    Profile: {1: ("sample_type", ValueType, "*"), 2: ("sample", Sample, "*"), 3: ("mapping", Mapping, "*"),
              4: ("location", Location, "*"), 5: ("function", Function, "*"), 6: ("string_table", "bytes", "*"),
              7: ("drop_frames", "text", ""), 8: ("keep_frames", "text", ""), 9: ("time_nanos", "int", ""),
              10: ("duration_nanos", "int", ""), 11: ("period_type", ValueType, ""), 12: ("period", "int", ""),
              13: ("comment", "text", "*"), 14: ("default_sample_type", "text", ""), 15: ("doc_url", "text", "")},
    ValueType: {1: ("type", "text", ""), 2: ("unit", "text", "")},
    Sample: {1: ("location_id", "uint", "*"), 2: ("value", "int", "*"), 3: ("label", Label, "*")},
    Label: {1: ("key", "text", ""), 2: ("str", "text", ""), 3: ("num", "int", ""), 4: ("num_unit", "text", "")},
    Mapping: {1: ("id", "uint", ""), 2: ("memory_start", "uint", ""), 3: ("memory_limit", "uint", ""),
              4: ("file_offset", "uint", ""), 5: ("filename", "text", ""), 6: ("build_id", "text", ""),
              7: ("has_functions", "bool", ""), 8: ("has_filenames", "bool", ""), 9: ("has_line_numbers", "bool", ""),
              10: ("has_inline_frames", "bool", "")},
    Location: {1: ("id", "uint", ""), 2: ("mapping_id", "uint", ""), 3: ("address", "uint", ""), 4: ("line", Line, "*"),
               5: ("is_folded", "bool", "")},
    Line: {1: ("function_id", "uint", ""), 2: ("line", "int", ""), 3: ("column", "int", "")},
    Function: {1: ("id", "uint", ""), 2: ("name", "text", ""), 3: ("system_name", "text", ""), 4: ("filename", "text", ""),
               5: ("start_line", "int", "")},
}

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Problems(list):
    """Collects "rule: text", the first few of each rule, so that one fault does not hide the others."""

    LIMIT = 5

    def __init__(self):
        super().__init__()
        self.counts = collections.Counter()

    def add(self, rule, text):
        assert rule in RULES, rule
        self.counts[rule] += 1
        if self.counts[rule] <= self.LIMIT:
            self.append("%s: %s" % (rule, text))


class Decoder:
    def __init__(self, data):
        self.data = data
        self.problems = Problems()

    def varint(self, at, end):
        value, shift, start = 0, 0, at
        while True:
            if at >= end:
                raise ProfileError("varint at byte %d is cut off" % start)
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 70:
                raise ProfileError("varint at byte %d is longer than ten bytes" % start)
        if value >= 1 << 64:
            raise ProfileError("varint at byte %d does not fit 64 bits" % start)
        if byte == 0 and at - start > 1:
            self.problems.add("varint", "the one at byte %d is padded" % start)
        return value, at

    def fields(self, at, end):
        """Yields (number, wire type, value or (begin, end), position)."""
        while at < end:
            start = at
            tag, at = self.varint(at, end)
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise ProfileError("field number 0 at byte %d" % start)
            if wire == VARINT:
                value, at = self.varint(at, end)
            elif wire in (FIXED64, FIXED32):
                value, at = None, at + (8 if wire == FIXED64 else 4)
            elif wire == BYTES:
                size, at = self.varint(at, end)
                value, at = (at, at + size), at + size
            else:
                raise ProfileError("wire type %d at byte %d" % (wire, start))
            if at > end:
                raise ProfileError("field %d at byte %d is cut off" % (number, start))
            yield number, wire, value, start

    def message(self, cls, at, end):
        result, seen, schema = cls(), set(), SCHEMAS[cls]
        for number, wire, value, start in self.fields(at, end):
            where = "%s field %d at byte %d" % (cls.__name__, number, start)
            if number not in schema:
                self.problems.add("unknown-field", where)
                continue
            name, what, many = schema[number]
            if many == "" and number in seen:
                self.problems.add("repeated-field", where)
            seen.add(number)
            is_number = isinstance(what, str) and what != "bytes"
            if wire != VARINT and not (wire == BYTES and (not is_number or many)):
                self.problems.add("unknown-field", where + " has wire type %d" % wire)
            elif not is_number:
                if wire == BYTES:
                    item = self.data[value[0]:value[1]] if what == "bytes" else self.message(what, *value)
                    if many:
                        getattr(result, name).append(item)
                    else:
                        setattr(result, name, item)
                else:
                    self.problems.add("unknown-field", where + " has wire type 0")
            elif many:
                getattr(result, name).extend(self.numbers(what, wire, value, where))
            else:
                if value == 0:
                    self.problems.add("zero-field", where)
                setattr(result, name, self.number(what, value, where))
        return result

    def numbers(self, what, wire, value, where):
        if wire == VARINT:
            self.problems.add("packed", where + " is not packed")
            return [self.number(what, value, where)]
        at, end = value
        if at == end:
            self.problems.add("packed", where + " is empty")
        result = []
        while at < end:
            item, at = self.varint(at, end)
            result.append(self.number(what, item, where))
        return result

    def number(self, what, value, where):
        if what == "int":
            return value - (1 << 64) if value >> 63 else value
        if what == "bool":
            if value > 1:
                self.problems.add("varint", where + " is a bool of value %d" % value)
            return value != 0
        return value


class Strings:
    """Turns indices into text, once the whole table is known."""

    def __init__(self, profile, problems):
        self.problems = problems
        self.table = [self.decoded(i, raw) for i, raw in enumerate(profile.string_table)]

    def decoded(self, index, raw):
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            self.problems.add("utf8", "string %d is %r" % (index, raw[:60]))
            return raw.decode("utf-8", "surrogateescape")

    def text(self, index, where):
        if index < len(self.table):
            return self.table[index]
        if index != 0:
            self.problems.add("string-index", "%s is %d of %d" % (where, index, len(self.table)))
        return ""

    def resolve(self, record):
        cls = type(record)
        for name, what, many in SCHEMAS[cls].values():
            value, where = getattr(record, name), "%s.%s" % (cls.__name__, name)
            if what == "text" and many:
                setattr(record, name, [self.text(index, where) for index in value])
            elif what == "text":
                setattr(record, name, self.text(value or 0, where))
            elif not isinstance(what, str):
                for item in value if many else [value]:
                    self.resolve(item)


def gunzip(data, problems):
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(data) + unpacker.flush()
    except zlib.error as error:
        raise ProfileError("gzip: %s" % error) from None
    if not unpacker.eof:
        raise ProfileError("gzip: cut off")
    if unpacker.unused_data:
        problems.add("gzip", "%d bytes behind the first member" % len(unpacker.unused_data))
    return plain


def check_body(plain, problems):
    """Alloy's guess by the first byte: a plausible tag of profile.proto, and neither HTML nor JSON."""
    if plain[:1] in (b"<", b"{", b"["):
        raise ProfileError("text, not a profile: %r" % plain[:40])
    number, wire = plain[0] >> 3, plain[0] & 7
    if wire not in (VARINT, BYTES) or not 1 <= number <= 15:
        problems.add("body", "begins with %r" % plain[:12])


def parse(data):
    """Decodes a profile; raises ProfileError when that is impossible. What is merely wrong is kept for validate()."""
    data = bytes(data)
    problems = Problems()
    compressed = data[:2] == b"\x1f\x8b"
    plain = gunzip(data, problems) if compressed else data
    if len(plain) <= 2:
        raise ProfileError("empty: %d bytes" % len(plain))
    check_body(plain, problems)
    decoder = Decoder(plain)
    decoder.problems = problems
    profile = decoder.message(Profile, 0, len(plain))
    strings = Strings(profile, problems)
    strings.resolve(profile)
    profile.string_table = strings.table
    profile.problems, profile.compressed, profile.size = problems, compressed, len(plain)
    return profile


# ---- validation ---------------------------------------------------------------------------------

# What a writer may call code that has no symbol: libfoo.so+0x12, 0x7f00, "0x12 [libfoo.so]", [kernel].
SYNTHETIC = re.compile(r"(?:.*\+)?0x[0-9a-fA-F]+(?: \[.*\])?|\[.*\]|\?+")


def is_synthetic(name):
    return name == "" or SYNTHETIC.fullmatch(name) is not None


def load_demangler():
    try:
        library, libc = ctypes.CDLL("libstdc++.so.6"), ctypes.CDLL(None)
        function = library.__cxa_demangle
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
    libc.free.argtypes = [ctypes.c_void_p]

    def demangle(name):
        status = ctypes.c_int(0)
        text = function(name.encode("utf-8", "surrogateescape"), None, None, ctypes.byref(status))
        libc.free(text)
        return status.value == 0
    return demangle


DEMANGLER = load_demangler()


def is_demanglable(name):
    """Whether an honest writer could have demangled this. Without libstdc++, a guess by the first letters."""
    if not name.startswith("_Z"):
        return False
    if DEMANGLER:
        return DEMANGLER(name)
    return re.match(r"_Z(?:L?[1-9][0-9]*[A-Za-z_]|N[KVr]*[0-9SLDTa-z]|S[a-z]|T[VTIShvc]|G[VR]|Z[N0-9]|[a-z][a-zA-Z])", name) is not None


class Checker:
    def __init__(self, profile, kind, max_age, now):
        self.profile = profile
        self.kind = kind
        self.max_age = max_age
        self.now = time.time() if now is None else now
        self.problems = Problems()
        self.problems.extend(profile.problems)
        self.problems.counts.update(getattr(profile.problems, "counts", {}))
        self.problem = self.problems.add

    def run(self):
        for check in (self.check_strings, self.check_types, self.check_kind, self.check_ids, self.check_references,
                      self.check_samples, self.check_merged, self.check_locations, self.check_functions, self.check_mappings,
                      self.check_flags, self.check_times, self.check_texts):
            check()
        for rule, count in sorted(self.problems.counts.items()):
            if count > Problems.LIMIT:
                self.problems.append("%s: ... and %d more" % (rule, count - Problems.LIMIT))
        return list(self.problems)

    def check_strings(self):
        table = self.profile.string_table
        if not table:
            self.problem("string-zero", "there is no string table")
        elif table[0] != "":
            self.problem("string-zero", "it is %r" % table[0])

    def check_types(self):
        types = [(t.type, t.unit) for t in self.profile.sample_type]
        if not types:
            self.problem("sample-type", "there is none")
        for pair in types:
            if "" in pair:
                self.problem("sample-type", "%s/%s lacks a part" % pair)
            if "-" in pair[0]:
                self.problem("sample-type-dash", pair[0])
        if len(set(types)) != len(types):
            self.problem("sample-type", "one occurs twice in %s" % types)
        period = self.profile.period_type
        if not period.type or not period.unit:
            self.problem("period-type", "it is %s/%s" % (period.type, period.unit))
        default = self.profile.default_sample_type
        if default and default not in [name for name, unit in types]:
            self.problem("default-type", "%r is none of %s" % (default, types))

    def check_kind(self):
        if self.kind is None:
            return
        wanted, profile = KINDS[self.kind], self.profile
        facts = [("sample types", [(t.type, t.unit) for t in profile.sample_type], wanted.sample_types),
                 ("period type", (profile.period_type.type, profile.period_type.unit), wanted.period_type),
                 ("default_sample_type", profile.default_sample_type, wanted.default_sample_type)]
        for what, is_, should_be in facts:
            if is_ != should_be:
                self.problem("kind", "%s of a %s profile: %s instead of %s" % (what, self.kind, is_, should_be))
        if profile.period < 0 or wanted.needs_period and profile.period == 0:
            self.problem("kind", "period of a %s profile is %d" % (self.kind, profile.period))
        if self.kind == "cpu" and any(value < 0 for sample in profile.sample for value in sample.value):
            self.problem("kind", "a cpu profile has negative values")

    def check_ids(self):
        for name in ("mapping", "location", "function"):
            for index, record in enumerate(getattr(self.profile, name)):
                if record.id != index + 1:
                    self.problem(name + "-id", "number %d of %s has id %d" % (index + 1, name, record.id))

    def check_references(self):
        mappings = {mapping.id for mapping in self.profile.mapping} - {0}
        locations = {location.id for location in self.profile.location} - {0}
        functions = {function.id for function in self.profile.function} - {0}
        for location in self.profile.location:
            if location.mapping_id and location.mapping_id not in mappings:
                self.problem("reference", "location %d is in unknown mapping %d" % (location.id, location.mapping_id))
            for line in location.line:
                if line.function_id not in functions:
                    self.problem("reference", "location %d is in unknown function %d" % (location.id, line.function_id))
        for index, sample in enumerate(self.profile.sample):
            for id in set(sample.location_id) - locations:
                self.problem("reference", "sample %d has unknown location %d" % (index, id))

    def check_samples(self):
        count, kinds = len(self.profile.sample_type), {}
        for index, sample in enumerate(self.profile.sample):
            if len(sample.value) != count:
                self.problem("value-count", "sample %d has %d values for %d types" % (index, len(sample.value), count))
            if len(sample.location_id) > MAX_DEPTH:
                self.problem("depth", "sample %d has %d frames" % (index, len(sample.location_id)))
            if len(sample.label) > MAX_LABELS:
                self.problem("label-count", "sample %d has %d labels" % (index, len(sample.label)))
            for label in sample.label:
                self.check_label(index, label, kinds)

    def check_label(self, index, label, kinds):
        if label.key == "":
            self.problem("label", "sample %d has one without a key" % index)
        is_text, is_number = label.str != "", label.num != 0 or label.num_unit != ""
        if is_text == is_number:
            self.problem("label", "sample %d: %r has %s" % (index, label.key, "both a string and a number" if is_text else "no value"))
        elif kinds.setdefault(label.key, is_text) != is_text:
            self.problem("label-mix", "%r is a string here and a number there" % label.key)

    def check_merged(self):
        """By content, so that a location or function written twice does not hide two equal stacks."""
        functions = {f.id: (f.name, f.system_name, f.filename, f.start_line) for f in self.profile.function}
        places = {}
        for location in self.profile.location:
            lines = tuple((functions.get(line.function_id), line.line, line.column) for line in location.line)
            places[location.id] = (location.mapping_id, location.address, lines, location.is_folded)
        numbers = {}
        numbered = {id: numbers.setdefault(place, len(numbers)) for id, place in places.items()}
        seen = {}
        for index, sample in enumerate(self.profile.sample):
            labels = tuple(sorted((l.key, l.str, l.num, l.num_unit) for l in sample.label))
            key = (tuple(numbered.get(id, -1) for id in sample.location_id), labels)
            if key in seen:
                self.problem("merged", "samples %d and %d are equal" % (seen[key], index))
            seen.setdefault(key, index)

    def check_locations(self):
        mappings = {mapping.id: mapping for mapping in self.profile.mapping if mapping.id}
        for location in self.profile.location:
            if not location.line:
                self.problem("location-line", "location %d has none" % location.id)
            for line in location.line:
                if line.line < 0 or line.column < 0:
                    self.problem("line-number", "location %d: %d:%d" % (location.id, line.line, line.column))
            mapping = mappings.get(location.mapping_id)
            if location.mapping_id == 0 and location.address != 0:
                self.problem("address", "location %d: 0x%x has no mapping" % (location.id, location.address))
            elif mapping and not mapping.memory_start <= location.address < mapping.memory_limit:
                self.problem("address", "location %d: 0x%x is not in %x-%x" %
                             (location.id, location.address, mapping.memory_start, mapping.memory_limit))

    def check_functions(self):
        for function in self.profile.function:
            name, system_name = function.name, function.system_name
            if name == "":
                self.problem("function-name", "function %d has none" % function.id)
            if function.start_line < 0:
                self.problem("line-number", "function %d starts in line %d" % (function.id, function.start_line))
            if is_demanglable(name):
                self.problem("mangled-name", "function %d: %s" % (function.id, name))
            elif system_name == name and "::" in name and re.search(r"[(<]", name):
                self.problem("stripped-name", "function %d: %s" % (function.id, name))

    def check_mappings(self):
        for mapping in self.profile.mapping:
            if mapping.memory_start >= mapping.memory_limit:
                self.problem("mapping-range", "mapping %d: %x-%x" % (mapping.id, mapping.memory_start, mapping.memory_limit))
            if mapping.filename.endswith(" (deleted)"):
                self.problem("mapping-file", "mapping %d: %r" % (mapping.id, mapping.filename))
            if mapping.build_id and not re.fullmatch("(?:[0-9a-f]{2})+", mapping.build_id):
                self.problem("build-id", "mapping %d: %r" % (mapping.id, mapping.build_id))
        if self.profile.mapping and self.profile.mapping[0].filename == "":
            self.problem("mapping-file", "the first mapping has no file name")

    def check_flags(self):
        profile = self.profile
        used = {id for sample in profile.sample for id in sample.location_id}
        functions = {function.id: function for function in profile.function}
        for mapping in profile.mapping:
            places = [l for l in profile.location if l.mapping_id == mapping.id and l.id in used]
            lines = [line for place in places for line in place.line]
            known = [functions[line.function_id] for line in lines if line.function_id in functions]
            real = all(place.line for place in places) and not any(is_synthetic(function.name) for function in known)
            if places and mapping.has_functions != real:
                self.problem("has-functions", "mapping %d (%s): %s, though %s" %
                             (mapping.id, mapping.filename, "set" if mapping.has_functions else "not set",
                              "all names are real" if real else "a name is missing or synthetic"))
            if mapping.has_filenames and not any(function.filename for function in known):
                self.problem("has-filenames", "mapping %d (%s) has none" % (mapping.id, mapping.filename))
            if mapping.has_line_numbers and not any(line.line > 0 for line in lines):
                self.problem("has-line-numbers", "mapping %d (%s) has none" % (mapping.id, mapping.filename))
            if mapping.has_inline_frames and not any(len(place.line) > 1 for place in places):
                self.problem("has-inline-frames", "mapping %d (%s) has none" % (mapping.id, mapping.filename))

    def check_times(self):
        seconds = self.profile.time_nanos / 1e9
        if not EARLIEST <= seconds <= self.now + FUTURE:
            self.problem("time", "time_nanos is %d" % self.profile.time_nanos)
        elif self.max_age is not None and seconds < self.now - self.max_age:
            self.problem("time", "the profile is %.0f s old" % (self.now - seconds))
        duration = self.profile.duration_nanos
        is_cpu = self.kind == "cpu" or [(t.type, t.unit) for t in self.profile.sample_type] == CPU_TYPES
        if duration < 0 or is_cpu and duration == 0:
            self.problem("duration", "duration_nanos is %d" % duration)

    def check_texts(self):
        profile = self.profile
        if "" in profile.comment:
            self.problem("comment", "one is empty")
        infos = [comment for comment in profile.comment if comment.startswith("executableInfo=")]
        if infos and len(infos) != len(profile.mapping):
            self.problem("comment", "%d executableInfo for %d mappings" % (len(infos), len(profile.mapping)))
        for info in infos:
            if not re.fullmatch("executableInfo=[0-9a-f]+;[0-9a-f]+;[0-9a-f]+", info):
                self.problem("comment", info)
        for name in ("drop_frames", "keep_frames"):
            try:
                re.compile(getattr(profile, name))
            except re.error as error:
                self.problem("regex", "%s: %s" % (name, error))
        if profile.doc_url and not re.match("https?://[^/]", profile.doc_url):
            self.problem("doc-url", profile.doc_url)


def validate(profile, kind=None, max_age=None, now=None):
    """All problems, as "rule: text". kind is a key of KINDS; max_age in seconds is Pyroscope's hour when pushing."""
    if kind is not None and kind not in KINDS:
        raise ValueError("kind %r is none of %s" % (kind, ", ".join(KINDS)))
    return Checker(profile, kind, max_age, now).run()


def warnings(profile):
    """Legal and readable, but a consumer's default limit is passed, or something is written for nobody."""
    result = []
    if len(profile.sample) > MAX_SAMPLES:
        result.append("%d samples, Pyroscope takes %d" % (len(profile.sample), MAX_SAMPLES))
    if profile.size > MAX_BYTES:
        result.append("%d bytes, Pyroscope takes %d" % (profile.size, MAX_BYTES))
    if any(len(text) > MAX_SYMBOL for text in profile.string_table):
        result.append("a string is longer than %d" % MAX_SYMBOL)
    if len(set(profile.string_table)) != len(profile.string_table):
        result.append("the string table has duplicates")
    unused = {l.id for l in profile.location} - {id for sample in profile.sample for id in sample.location_id}
    if unused:
        result.append("%d locations are in no sample" % len(unused))
    unused = {f.id for f in profile.function} - {line.function_id for l in profile.location for line in l.line}
    if unused:
        result.append("%d functions are in no location" % len(unused))
    if any(sample.value and not any(sample.value) for sample in profile.sample):
        result.append("there are samples with nothing but zeros")
    return result


# ---- questions that tests ask -------------------------------------------------------------------

def column(profile, type=None):
    """Index of a sample type by name; None means the one that pprof shows first."""
    names = [t.type for t in profile.sample_type]
    return names.index(type or profile.default_sample_type or names[-1])


def total(profile, type=None):
    index = column(profile, type)
    return sum(sample.value[index] for sample in profile.sample)


def by_leaf(profile, type=None):
    """Function name -> value of the samples that it is the innermost function of (pprof's flat)."""
    index, result = column(profile, type), collections.Counter()
    for sample in profile.sample:
        names = profile.stack(sample)
        if names:
            result[names[0]] += sample.value[index]
    return dict(result)


def by_function_cum(profile, type=None):
    """Function name -> value of the samples that it occurs in, recursion counted once (pprof's cum)."""
    index, result = column(profile, type), collections.Counter()
    for sample in profile.sample:
        for name in set(profile.stack(sample)):
            result[name] += sample.value[index]
    return dict(result)


def find(profile, regex, type=None):
    """Value of the samples with a matching function anywhere in their stack, each sample counted once."""
    index, pattern = column(profile, type), re.compile(regex)
    return sum(sample.value[index] for sample in profile.sample
               if any(pattern.search(name) for name in profile.stack(sample)))


def delays(profile, function, kind=None):
    """(contentions, nanoseconds) of samples whose stack has the function, and the label wait=kind."""
    count = total = 0
    for sample in profile.sample:
        labels = {label.key: label.str for label in sample.label}
        if function in profile.stack(sample) and (kind is None or labels.get("wait") == kind):
            count += sample.value[0]
            total += sample.value[1]
    return count, total


def main(arguments):
    parser = argparse.ArgumentParser(description="Checks pprof profiles against every consumer at once.")
    parser.add_argument("--kind", choices=sorted(KINDS))
    parser.add_argument("files", nargs="+", metavar="FILE")
    options = parser.parse_args(arguments)
    failed = False
    for name in options.files:
        try:
            with open(name, "rb") as file:
                profile = parse(file.read())
            problems, hints = validate(profile, options.kind), warnings(profile)
        except (OSError, ProfileError) as error:
            problems, hints = [str(error)], []
        failed = failed or bool(problems)
        for problem in problems:
            print("%s: %s" % (name, problem))
        for hint in hints:
            print("%s: warning: %s" % (name, hint), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
