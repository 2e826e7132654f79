"""What the test suites share: tools, compilers with a cache of objects, programs run, servers, go tool pprof.

The suites are run from tests/, as `python3 -m unittest e2e.test_heap`. Programs are built into build/by_hand of
the checkout or $PROF_BUILD_DIR, objects into build/objects, under a key of all that they are made from.
PROF_TEST_TREE chooses the header: include (default) or single_include; PROF_COMPILERS the compilers;
PROF_LONG=1 is `tools/test --long`. Nothing is skipped: a missing tool is an error.
"""

import concurrent.futures
import fcntl
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / os.environ.get("PROF_TEST_TREE", "include")
BUILD = pathlib.Path(os.environ.get("PROF_BUILD_DIR", ROOT / "build" / "by_hand")).resolve()
OBJECTS = ROOT / "build" / "objects"
PROGRAMS = ROOT / "tests" / "e2e" / "programs"
COMPILERS = os.environ.get("PROF_COMPILERS", "g++ clang++").split()
LONG = bool(os.environ.get("PROF_LONG"))
# What a careful project compiles with.
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow", "-Wold-style-cast",
            "-Wundef", "-Werror")
LINKERS = re.compile(r"-shared|-static|-Wl,|-fuse-ld=")  # flags of no interest to a compilation


# ---- tools ----


def tool(name):
    """The path of a tool that a test needs; an error, never a skip, when it is absent."""
    path = shutil.which(str(name))
    if path is None:
        raise RuntimeError(f"{name} is needed by this test and is not installed; run tools/test")
    return path


def command(name, *arguments, timeout=1800, **options):
    """Runs a tool to its end; its standard output. What a failing one said is in the error."""
    words = [tool(name), *map(str, arguments)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", timeout=timeout, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout[-3000:]}\n"
                           f"{done.stderr[-4000:]}")
    return done.stdout


def in_parallel(function, items):
    """function(item) for all items on all processors; the answers in order."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(function, items))


def fresh_directory(name):
    """An empty directory under BUILD."""
    path = BUILD / name
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


# ---- compiling ----


@functools.lru_cache(None)
def digest_of_folder(folder):
    """Changes with any source file below the folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".hpp", ".h", ".cpp", ".c", ".s")):
        digest.update(f"\0{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(None)
def version_of(compiler):
    return command(compiler, "--version")


def included_folders(flags):
    """The folders that -I names, in either spelling."""
    words = iter(map(str, flags))
    return [pathlib.Path(next(words) if word == "-I" else word[2:]) for word in words if word.startswith("-I")]


def object_of(source, compiler="g++", flags=(), std="c++17", optimize="-O1"):
    """The object of one source file, made once for all suites; any change in tests/, in prof or in a folder that
    -I names makes another. What of the flags is the linker's is left out."""
    words = [f"-std={std}", optimize, *(str(flag) for flag in flags if not LINKERS.match(str(flag))), "-I", str(TREE),
             "-pthread", "-c", str(source)]
    folders = [ROOT / "tests", *included_folders(words)]
    key = "\0".join([version_of(compiler), pathlib.Path(source).read_text(), *words, *map(digest_of_folder, folders)])
    output = OBJECTS / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.o"
    OBJECTS.mkdir(parents=True, exist_ok=True)
    with open(output.with_suffix(".lock"), "w") as lock:  # another test may be making it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            command(compiler, *words, "-o", output.with_suffix(".new"))
            output.with_suffix(".new").rename(output)
    return output


def whole(compiler="g++", flags=(), std="c++17", optimize="-O1"):
    """An object that includes all of prof, for programs that include api.hpp."""
    return object_of(PROGRAMS / "whole.cpp", compiler, flags, std, optimize)


def build(sources, name, compiler="g++", flags=(), std="c++17", optimize="-O1", libraries=(), with_whole=False):
    """Compiles and links; returns the program's path. Sources are files of PROGRAMS or paths, also of objects.

    -O2, which takes twice as long as -O1, and -g are for the tests that are about them. `with_whole`: the sources
    include api.hpp only, and an object with all of prof is linked to them.
    """
    output = BUILD / name
    output.parent.mkdir(parents=True, exist_ok=True)
    paths = [PROGRAMS / source for source in sources]
    objects = [path if path.suffix in (".o", ".so", ".a", ".s") else object_of(path, compiler, flags, std, optimize)
               for path in paths]
    if with_whole:
        objects.append(whole(compiler, flags, std, optimize))
    command(compiler, optimize, *flags, *objects, "-o", output, "-pthread", *libraries)
    return output


# ---- running ----


def run(program, *arguments, timeout=60, env=None, check=True, **options):
    """Runs to the end; returns CompletedProcess with text output."""
    done = subprocess.run([str(program), *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{program} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done


class Server:
    """A program that serves on a port the kernel picks and prints `listening on ADDRESS`."""

    def __init__(self, program, *arguments, env=None):
        self.process = subprocess.Popen([str(program), "127.0.0.1:0", *map(str, arguments)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True,
                                        env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        found = re.search(r"listening on (\S+)", line)
        if not found:
            raise RuntimeError(f"no address in {line!r}")
        self.address = found.group(1)

    def url(self, path):
        return f"http://{self.address}/debug/pprof/{path}"

    def get(self, path, timeout=30):
        with urllib.request.urlopen(self.url(path), timeout=timeout) as answer:
            return answer.read()

    def say(self, word):
        """Gives the program a line and waits for its `done`; returns what it printed before that."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        printed = []
        for line in self.process.stdout:
            if line.strip() == "done " + word:
                return printed
            printed.append(line.rstrip("\n"))
        raise RuntimeError(f"the server ended after {word!r}: {printed}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def pprof(*arguments, timeout=120):
    """go tool pprof; its standard output."""
    environment = {**os.environ, "PPROF_TMPDIR": str(BUILD / "pprof")}
    done = subprocess.run([tool("go"), "tool", "pprof", *map(str, arguments)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout,
                          env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"go tool pprof {arguments}: {done.stderr}")
    return done.stdout
