#!/usr/bin/env python3
"""Measures prof beside its peers, in one run, and says which targets are met.

    tests/bench/run.py [encode] [compile]      both by default; exit 1 when a target is missed

encode   10,350 stacks of 20 frames to pprof bytes, and their compression, beside Google's protobuf with
         zlib level 1 and beside Go's runtime/pprof. Needs libprotobuf-dev, protobuf-compiler,
         zlib1g-dev, golang-go.
compile  CPU seconds of g++ -O2 for an empty main that includes a header, and the text it makes, beside
         doctest, nlohmann-json and cpp-httplib; also of a main that writes a profile or serves. Needs doctest-dev, nlohmann-json3-dev, libcpp-httplib-dev.

The targets in milliseconds and seconds were measured beside these peers on one machine; here they are
ratios to the peer in the same run, medians of interleaved rounds, so that a slow or busy machine does not
change the verdict. Sizes are absolute.
"""

import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys

import encode_go

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = pathlib.Path(os.environ.get("PROF_BUILD_DIR", ROOT / "build" / "bench"))
ROUNDS = 7


def tool(name, package):
    path = shutil.which(name)
    if path is None:
        sys.exit(f"run.py: {name} is missing; apt-get install {package}")
    return path


def command(*words, cwd=None):
    done = subprocess.run([str(word) for word in words], cwd=cwd, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"run.py: {' '.join(map(str, words))} ended with {done.returncode}\n{done.stdout}")
    return done.stdout


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


def figures(program):
    return {name: float(value) for name, value in
            re.findall(r"(\w+)=([\d.]+)", command(program, ROUNDS))}


def build_encoders():
    compiler = [tool("g++", "g++"), "-std=c++17", "-O2", "-I", ROOT / "include", "-I", HERE, "-I", BUILD]
    command(*compiler, HERE / "encode_prof.cpp", "-o", BUILD / "encode_prof", "-lz")
    command(tool("protoc", "protobuf-compiler"), f"-I{HERE}", f"--cpp_out={BUILD}",
            HERE / "profile.proto")
    command(*compiler, HERE / "encode_protobuf.cpp", BUILD / "profile.pb.cc", "-o",
            BUILD / "encode_protobuf", "-lprotobuf", "-lz", "-pthread")
    go = BUILD / "encode_go"
    go.mkdir(exist_ok=True)
    (go / "main.go").write_text(encode_go.program())
    (go / "go.mod").write_text("module encode\n\ngo 1.18\n")
    command(tool("go", "golang-go"), "build", "-o", BUILD / "encode_go_program", ".", cwd=go)


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

EMPTY = "int main() {}\n"
SOURCES = {
    "empty": EMPTY,
    "prof default": "#include <prof/prof.hpp>\n" + EMPTY,
    "prof all on": "#define PROF_ENABLE_HTTP\n#include <prof/prof.hpp>\n" + EMPTY,
    "prof default, used": "#include <prof/prof.hpp>\n"
                          'int main() { return prof::write_heap_profile("h") ? 0 : 1; }\n',
    "prof all on, used": "#define PROF_ENABLE_HTTP\n#include <prof/prof.hpp>\n"
                         'int main() { return prof::http::serve("127.0.0.1:0") ? 0 : 1; }\n',
    "annotate": "#include <prof/annotate.hpp>\n" + EMPTY,
    "doctest": "#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN\n#include <doctest/doctest.h>\n",
    "nlohmann-json, used": "#include <nlohmann/json.hpp>\nint main(int, char** v) "
                           '{ return nlohmann::json::parse(v[0])["a"].get<int>(); }\n',
    "cpp-httplib": "#include <httplib.h>\nint main() { httplib::Server s; s.listen(\"x\", 1); }\n",
}


def cpu_seconds(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def compile_once(name, text):
    source = BUILD / (re.sub(r"\W+", "_", name) + ".cpp")
    source.write_text(text)
    seconds = cpu_seconds([tool("g++", "g++"), "-std=c++17", "-O2", "-I", ROOT / "single_include", "-c",
                           source, "-o", source.with_suffix(".o")])
    size = command(tool("size", "binutils"), source.with_suffix(".o")).splitlines()[1].split()
    return seconds, int(size[0]) / 1000


def compile_cost(verdicts):
    seconds = {name: [] for name in SOURCES}
    text = {}
    for _ in range(5):
        for name, source in SOURCES.items():
            took, text[name] = compile_once(name, source)
            seconds[name].append(took)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    for name in SOURCES:
        print(f"  {name:<20} {median[name]:6.2f} s CPU  {text[name]:7.1f} KB text")
    # doctest took 4.6 s where the targets were set.
    for name, target, size in (("prof default", 2, 250), ("prof default, used", 2, 250),
                               ("prof all on", 3, 400), ("prof all on, used", 3, 400),
                               ("annotate", 0.3, 1)):
        own = median[name] - (median["empty"] if name == "annotate" else 0)
        verdicts.add(f"{name} / doctest ({target} / 4.6 s)", own / median["doctest"], target / 4.6)
        verdicts.add(f"{name}: text", text[name], size, " KB")


def main():
    wanted = sys.argv[1:] or ["encode", "compile"]
    known = {"encode": encode, "compile": compile_cost}
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
