#!/usr/bin/env python3
"""Measures prof beside its peers, in one run, and says which targets are met.

    tests/bench/run.py [encode] [compile] [unwind] [waits] [names] [get]     all by default; exit 1 when a target is missed

encode   10,350 stacks of 20 frames to pprof bytes, and their compression, beside Google's protobuf with
         zlib level 1 and beside Go's runtime/pprof. Needs libprotobuf-dev, protobuf-compiler,
         zlib1g-dev, golang-go.
compile  instructions of g++ -O2 (callgrind on cc1plus, some minutes) for a main that includes a header and uses
         it, and the text it makes, beside doctest's implementation. Needs valgrind, doctest-dev.
unwind   a walk, hot, with read probes, uncached and with cold caches, also in a signal handler, beside
         libunwind's unw_backtrace, glibc's backtrace() and a frame-pointer walk; a handler's sample; tables of
         libc, libstdc++ and libLLVM-14. Needs libunwind-dev, libllvm14.
waits    a lock that nobody else wants, and one that four threads want, beside a hook that only jumps to the next
         definition, and that one beside itself; the dump of 1,000 sleeping threads beside a list from /proc.
names    1,000 addresses of a program with 25 MB of debug information, named in a fresh process, cold and warm, beside
         libbacktrace in the same program, llvm-symbolizer and addr2line. Needs llvm; minutes to build.
get      GETs of the heap profile over a raw socket, the first of a process and the later ones, beside Go's net/http/pprof
         with as many live objects. Needs golang-go.

The targets in milliseconds and seconds were measured beside these peers on one machine; here they are
ratios to the peer in the same run, of interleaved rounds: of hot loops the best, else the median, so that
a slow or busy machine does not change the verdict. Sizes are absolute.
"""

import concurrent.futures
import os
import pathlib
import re
import shlex
import socket
import statistics
import subprocess
import sys
import time

import encode_go
import names_corpus

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support.harness import ROOT, command, object_of, tool, whole  # noqa: E402

BUILD = pathlib.Path(os.environ.get("PROF_BUILD_DIR", ROOT / "build" / "bench"))
ROUNDS = 7


class Verdicts:
    """Figures beside their targets."""

    def __init__(self):
        self.missed = 0

    def add(self, what, value, target, unit=""):
        met = value <= target
        self.missed += not met
        print(f"  {what:<56} {value:>10.3f}{unit}  target {target:.3f}{unit}  "
              f"{'met' if met else 'MISSED'}")


# ---- encode ----


def figures(program, *arguments):
    return {name: float(value) for name, value in
            re.findall(r"(\w+)=([\d.]+)", command(program, *(arguments or [ROUNDS])))}


def build_encoders():
    compiler = [tool("g++"), "-std=c++17", "-O2", "-I", ROOT / "include", "-I", HERE, "-I", BUILD]
    command(*compiler, HERE / "encode_prof.cpp", "-o", BUILD / "encode_prof", "-lz")
    command(tool("protoc"), f"-I{HERE}", f"--cpp_out={BUILD}",
            HERE / "profile.proto")
    command(*compiler, HERE / "encode_protobuf.cpp", BUILD / "profile.pb.cc", "-o",
            BUILD / "encode_protobuf", "-lprotobuf", "-lz", "-pthread")
    go = BUILD / "encode_go"
    go.mkdir(exist_ok=True)
    (go / "main.go").write_text(encode_go.program())
    (go / "go.mod").write_text("module encode\n\ngo 1.18\n")
    command(tool("go"), "build", "-o", BUILD / "encode_go_program", ".", cwd=go)


def encode(verdicts):
    build_encoders()
    rows = {"prof": [], "protobuf": [], "go": []}
    for _ in range(3):
        rows["prof"].append(figures(BUILD / "encode_prof"))
        rows["protobuf"].append(figures(BUILD / "encode_protobuf"))
        rows["go"].append(figures(BUILD / "encode_go_program"))
    for name, runs in rows.items():
        for run in runs:
            print(f"  {name:<9}" + "".join(f" {key}={value:g}" for key, value in run.items()))

    def ratio(key, peer, peer_key):
        return statistics.median(ours[key] / theirs[peer_key]
                                 for ours, theirs in zip(rows["prof"], rows[peer]))

    verdicts.add("encode / protobuf C++ build and serialize (9 / 9 ms)",
                 ratio("encode_ms", "protobuf", "encode_ms"), 9 / 9)
    verdicts.add("gzip / zlib level 1, same program (11 / 8 ms)", ratio("gzip_ms", "prof", "zlib1_ms"),
                 11 / 8)
    verdicts.add("encode and gzip / Go's WriteHeapProfile (20 / 65 ms)",
                 statistics.median((ours["encode_ms"] + ours["gzip_ms"]) / go["all_ms"]
                                   for ours, go in zip(rows["prof"], rows["go"])), 20 / 65)
    verdicts.add("compressed size", rows["prof"][0]["gz_bytes"] / 1000, 275, " KB")


# ---- compile ----

# What each is: a main that uses it.
SOURCES = {
    "prof default": "#include <prof/prof.hpp>\n"
                    'int main() { return prof::write_heap_profile("h") ? 0 : 1; }\n',
    "prof all on": "#define PROF_ENABLE_HTTP\n#include <prof/prof.hpp>\n"
                   'int main() { return prof::http::serve("127.0.0.1:0") ? 0 : 1; }\n',
    "api": '#include <prof/api.hpp>\nint main() { return prof::write_heap_profile("h") ? 0 : 1; }\n',
    "doctest": "#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN\n#include <doctest/doctest.h>\n",
}


def compiler_of(source):
    """The compiler proper, without driver and assembler, as g++ calls it."""
    said = subprocess.run([tool("g++"), "-###", "-std=c++17", "-O2", "-I", ROOT / "single_include", "-S", source,
                           "-o", os.devnull], stderr=subprocess.PIPE, text=True, check=True).stderr
    return shlex.split(next(line for line in said.splitlines() if "cc1plus" in line))


def instructions(name):
    """Thousands of millions that the compiler executes; its CPU time varies by a fifth from run to run."""
    source = BUILD / (re.sub(r"\W+", "_", name) + ".cpp")
    source.write_text(SOURCES[name])
    said = subprocess.run([tool("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null",
                           *compiler_of(source)], stderr=subprocess.PIPE, text=True, check=True).stderr
    return int(re.search(r"Collected : (\d+)", said)[1]) / 1e9


def text_kilobytes(name):
    source = BUILD / (re.sub(r"\W+", "_", name) + ".cpp")
    command(tool("g++"), "-std=c++17", "-O2", "-I", ROOT / "single_include", "-c", source, "-o",
            source.with_suffix(".o"))
    return int(command(tool("size"), source.with_suffix(".o")).splitlines()[1].split()[0]) / 1000


def compile_cost(verdicts):
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        cost = dict(zip(SOURCES, pool.map(instructions, SOURCES)))
    text = {name: text_kilobytes(name) for name in SOURCES}
    for name in SOURCES:
        print(f"  {name:<20} {cost[name]:6.2f} G instructions  {text[name]:7.1f} KB text")
    for name, target, size in (("prof default", 1.5, 250), ("prof all on", 1.65, 400), ("api", 0.06, 4)):
        verdicts.add(f"{name} / doctest", cost[name] / cost["doctest"], target)
        verdicts.add(f"{name}: text", text[name], size, " KB")


# ---- unwind ----

LLVM = "/usr/lib/x86_64-linux-gnu/libLLVM-14.so.1"
# What the peers took where the targets were set.
LAB_UNW = 7.75       # ns per frame, unw_backtrace, hot
LAB_UNW_COLD = 9     # us per 70 frames
LAB_BACKTRACE = 110  # ns per frame


def build_unwinders():
    if not os.path.exists(LLVM):
        sys.exit("run.py: libLLVM-14 is missing; apt-get install libllvm14")
    # libgcc_s first: libunwind's _Unwind_* would take its place.
    for name, flags in (("unwind", []), ("unwind_fp", ["-fno-omit-frame-pointer"])):
        command(tool("g++"), "-std=c++17", "-O2", *flags, "-I", ROOT / "single_include", HERE / "unwind.cpp", "-o",
                BUILD / name, "-pthread", "-Wl,--no-as-needed", "-lgcc_s", "-Wl,--as-needed", "-lunwind", "-ldl")


def check_frames(rows):
    """A walk that ends early costs less: each must see the frames that libunwind sees, but for its own."""
    for kind, row in rows:
        peers = [int(other["frames"]) for what, other in rows if (what, other.get("depth")) == (kind, row.get("depth"))
                 and other["way"] == "unw_backtrace"]
        if kind == "sample":
            peers = [30]
        frames = int(row["frames"])
        if not peers or not 0 <= peers[0] - frames <= 3 or kind in ("cold", "handler") and frames < 70:
            sys.exit(f"run.py: {kind} {row} walked {frames} frames, not {peers}")


def unwind_figures(program):
    """{("hot", way, depth): ns per frame, ("cold" or "handler", way): us, ("table", file): (ms, bytes),
    ("sample",): us}"""
    found, walks = {}, []
    for line in command(program, LLVM).splitlines():
        kind, *words = line.split()
        row = dict(word.split("=") for word in words)
        if "frames" in row and row.get("way") not in ("frame_pointers", "prof_uncached"):
            walks.append((kind, {"way": "", **row}))
        if kind == "hot":
            found[kind, row["way"], int(row["depth"])] = float(row["ns_per_frame"])
        elif kind in ("cold", "handler"):
            found[kind, row["way"]] = float(row["us"])
        elif kind == "table":
            found[kind, row["file"]] = (float(row["ms"]), int(row["bytes"]))
        else:
            found[kind,] = float(row["us"])
    check_frames(walks)
    return found


def unwind(verdicts):
    build_unwinders()
    runs = [unwind_figures(BUILD / "unwind") for _ in range(5)]
    with_frame_pointers = unwind_figures(BUILD / "unwind_fp")

    def best(*key):
        return min(run[key] for run in runs)

    def middle(*key):  # what caches hold is never the same twice
        return statistics.median(run[key] for run in runs)

    for way in ("prof", "prof_probed", "prof_uncached", "unw_backtrace", "backtrace"):
        print(f"  {way:<16}" + "".join(f" {depth}: {best('hot', way, depth):6.2f}" for depth in (10, 32, 75, 128))
              + " ns per frame")
    print(f"  frame_pointers   128: {with_frame_pointers['hot', 'frame_pointers', 128]:6.2f} ns per frame")
    peer, backtrace = best("hot", "unw_backtrace", 128), best("hot", "backtrace", 128)
    for way, target in (("prof", 10), ("prof_probed", 15), ("prof_uncached", 50)):
        verdicts.add(f"{way}, hot / unw_backtrace ({target} / {LAB_UNW} ns)", best("hot", way, 128) / peer,
                     target / LAB_UNW)
    # The target was measured without probes. A probe with cold caches is 1 to 2 us for the way into the
    # kernel, where a walk's signal has just been.
    for way, kind, where in (("prof", "cold", "cold"), ("prof_probed", "cold", "cold"),
                             ("prof_probed", "handler", "cold, in a handler")):
        ours, theirs = middle(kind, way), middle(kind, "unw_backtrace")
        print(f"  {way}, {where}: {ours:.2f} us per 70 frames, unw_backtrace {theirs:.2f}")
        verdicts.add(f"{way}, {where} / unw_backtrace (8 / {LAB_UNW_COLD} us)", ours / theirs, 8 / LAB_UNW_COLD)
    libraries = min(run["table", "libc.so.6"][0] + next(
        value[0] for key, value in run.items() if key[0] == "table" and key[1].startswith("libstdc++")) for run in runs)
    llvm = [run["table", os.path.basename(LLVM)] for run in runs]
    print(f"  tables of libc and libstdc++: {libraries:.2f} ms, of libLLVM-14: {min(ms for ms, _ in llvm):.1f} ms; "
          f"sample of 30 frames: {best('sample'):.2f} us; backtrace(): {backtrace:.0f} ns per frame")
    verdicts.add("tables of libc and libstdc++ / backtrace() (3 ms / 110 ns)", libraries * 1e6 / backtrace,
                 3e6 / LAB_BACKTRACE)
    verdicts.add("table of libLLVM-14 / backtrace() (60 ms / 110 ns)", min(ms for ms, _ in llvm) * 1e6 / backtrace,
                 60e6 / LAB_BACKTRACE)
    verdicts.add("table of libLLVM-14", llvm[0][1] / 1e6, 6, " MB")
    verdicts.add("sample of 30 frames / backtrace() (1.5 us / 110 ns)", best("sample") * 1000 / backtrace,
                 1500 / LAB_BACKTRACE)


# ---- waits ----

WAIT_ROUNDS = 21
# Program, arguments: the peers, then what is measured beside them.
LOCKS = {
    "one": ("waits_forward", "pair", 1, 0, 0), "one off": ("waits_prof", "pair", 1, 0, 0),
    "one on": ("waits_prof", "pair", 1, 1, 1),
    "two": ("waits_forward", "pair", 2, 0, 0), "two on": ("waits_prof", "pair", 2, 1, 1),
    "four": ("waits_forward", "contended", 0, 0), "four again": ("waits_forward", "contended", 0, 0),
    "four on": ("waits_prof", "contended", 1, 0),
}


def build_waits():
    waits = object_of(HERE / "waits.cpp", optimize="-O2")
    forward = object_of(HERE / "forward.cpp", optimize="-O2")
    for name, other in (("waits_forward", forward), ("waits_prof", whole(optimize="-O2"))):
        command(tool("g++"), waits, other, "-o", BUILD / name, "-pthread", "-ldl")


def waits(verdicts):
    build_waits()
    rounds = [{name: next(iter(figures(BUILD / program, *arguments).values()))
               for name, (program, *arguments) in LOCKS.items()} for _ in range(WAIT_ROUNDS)]

    def ratio(ours, peer):
        return statistics.median(one[ours] / one[peer] for one in rounds)

    for name in LOCKS:
        print(f"  {name:<11} {statistics.median(one[name] for one in rounds):8.2f} ns")
    verdicts.add("a pair, off / a hook that only jumps", ratio("one off", "one"), 1.03)
    verdicts.add("a pair, on / the same, one thread in the process", ratio("one on", "one"), 1.30)
    verdicts.add("a pair, on / the same, two threads in the process", ratio("two on", "two"), 1.20)
    print(f"  a pair that four threads want: the hook that only jumps beside itself {ratio('four again', 'four'):.3f}")
    verdicts.add("a pair that four threads want, fraction 1 / the same", ratio("four on", "four"), 1.20)
    dump = figures(BUILD / "waits_prof", "sleepers", 1000, BUILD)
    print(f"  1,000 sleeping threads listed from /proc alone: {dump['listing_ms']:.1f} ms")
    verdicts.add("1,000 sleeping threads, threads?debug=2", dump["dump_ms"], 250, " ms")


# ---- names ----

# What libbacktrace took for this where the targets were set, in ms.
LAB_LIBBACKTRACE = 440
NAME_ROUNDS = 7


def build_names():
    """The corpus with prof, and the same with libbacktrace; and a file of addresses in it."""
    folder = BUILD / "names"
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for name, text in names_corpus.sources().items():
        source, made = folder / name, (folder / name).with_suffix(".o")
        if not made.exists() or source.read_text() != text:
            source.write_text(text)
            command(tool("g++"), "-std=c++17", "-O2", "-g", "-c", source, "-o", made)
        objects.append(made)
    prof = object_of(HERE / "names.cpp", optimize="-O2")
    command(tool("g++"), *objects, prof, "-o", BUILD / "names_prof", "-pthread", "-ldl")
    peer = object_of(HERE / "names_backtrace.cpp", optimize="-O2")
    command(tool("g++"), *objects, peer, "-o", BUILD / "names_libbacktrace", "-lbacktrace")
    for program in ("names_prof", "names_libbacktrace"):
        sections = command(tool("readelf"), "-SW", BUILD / program)
        begin, size = (int(word, 16) for word in re.search(r"\.text +PROGBITS +(\w+) \w+ (\w+)", sections).groups())
        # The corpus comes first in .text; what follows differs in the two programs.
        (BUILD / f"{program}.txt").write_text("".join(f"{at:#x}\n" for at in names_corpus.addresses(begin, size * 9 // 10)))
    size = (BUILD / "names_prof").stat().st_size
    info = int(re.search(r"\.debug_info +PROGBITS +\w+ \w+ (\w+)", command(tool("readelf"), "-SW", BUILD / "names_prof")).group(1), 16)
    print(f"  a program of {size / 1e6:.0f} MB, {info / 1e6:.1f} MB of .debug_info")


def seconds_of(*words):
    begun = time.monotonic()
    command(*words)
    return (time.monotonic() - begun) * 1e3


def names(verdicts):
    build_names()
    program, addresses = BUILD / "names_prof", BUILD / "names_prof.txt"
    rounds = []
    for _ in range(NAME_ROUNDS):
        one = {detail: figures(program, addresses, detail) for detail in ("functions", "lines", "inlines")}
        one["libbacktrace"] = figures(BUILD / "names_libbacktrace", BUILD / "names_libbacktrace.txt")
        words = addresses.read_text().split()
        one["llvm-symbolizer"] = {"cold_ms": seconds_of("llvm-symbolizer", f"--obj={program}", "-i", *words)}
        one["addr2line"] = {"cold_ms": seconds_of("addr2line", "-ifC", "-e", program, *words)}
        rounds.append(one)

    def median(who, figure):
        return statistics.median(one[who][figure] for one in rounds)

    for who in rounds[0]:
        print(f"  {who:<16}" + "".join(f" {name} {median(who, name):.1f}" for name in rounds[0][who]))
    libbacktrace = median("libbacktrace", "cold_ms")
    for detail, target, warm in (("functions", 5, 2), ("inlines", 400, 2)):
        verdicts.add(f"{detail}, cold / libbacktrace", median(detail, "cold_ms") / libbacktrace, target / LAB_LIBBACKTRACE)
        verdicts.add(f"{detail}, warm / libbacktrace", median(detail, "warm_ms") / libbacktrace, warm / LAB_LIBBACKTRACE)
    for who in ("llvm-symbolizer", "addr2line"):
        verdicts.add(f"inlines, cold / {who}", median("inlines", "cold_ms") / median(who, "cold_ms"), 1)
    verdicts.add("inlines, memory at most", median("inlines", "extra_kb") / 1024, 60, " MB")
    verdicts.add("inlines, memory afterwards", median("inlines", "left_kb") / 1024, 8, " MB")


# ---- get ----

GET_PROCESSES = 30
GETS = 300
GO_HEAP = 1.03  # ms of Go's later GETs where the targets of the first ones, in ms, were set


def get_ms(address, path):
    """How long one GET takes, connection and all, in ms."""
    host, port = address.rsplit(":", 1)
    begun = time.monotonic()
    with socket.create_connection((host, int(port))) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(1 << 16), b""))
    took = (time.monotonic() - begun) * 1e3
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit(f"run.py: {path} was answered by {answer[:200]}")
    return took


def gets_of(program, path, count):
    """The first GET of a fresh process, and `count` later ones."""
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        address = server.stdout.readline().strip()
        times = [get_ms(address, path) for _ in range(count + 1)]
        server.stdin.close()
    return times[0], times[1:]


def get(verdicts):
    program = BUILD / "get_prof"
    command(tool("g++"), object_of(HERE / "get.cpp", flags=["-g"], optimize="-O2"), "-o", program, "-pthread", "-ldl")
    peer = BUILD / "get_go"
    command(tool("go"), "build", "-o", peer, HERE / "get.go", env={**os.environ, "GO111MODULE": "off"})
    heap = "/debug/pprof/heap"
    first = {detail: [] for detail in ("functions", "inlines")}
    for _ in range(GET_PROCESSES):
        for detail, times in first.items():
            times.append(gets_of(program, f"{heap}?symbolize={detail}", 0)[0])
    later, go = [], []
    for _ in range(3):  # in turns
        later += gets_of(program, heap, GETS // 3)[1]
        go += gets_of(peer, heap, GETS // 3)[1]
    gos = statistics.median(go)
    print(f"  later GETs: {statistics.median(later):.2f} ms, Go {gos:.2f} ms")
    for detail, target in (("functions", 5), ("inlines", 25)):
        print(f"  first GET, {detail}: {statistics.median(first[detail]):.2f} ms")
        verdicts.add(f"first GET, {detail} / Go's later ones", statistics.median(first[detail]) / gos, target / GO_HEAP)
    verdicts.add("later GETs / Go's", statistics.median(later) / gos, 0.5)


def main():
    known = {"encode": encode, "compile": compile_cost, "unwind": unwind, "waits": waits, "names": names,
             "get": get}
    wanted = sys.argv[1:] or list(known)
    if not set(wanted) <= set(known):
        sys.exit(__doc__)
    BUILD.mkdir(parents=True, exist_ok=True)
    verdicts = Verdicts()
    for name in wanted:
        print(f"{name}:")
        known[name](verdicts)
    print(f"{verdicts.missed} targets missed")
    return 1 if verdicts.missed else 0


if __name__ == "__main__":
    sys.exit(main())
