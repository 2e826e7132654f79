"""What the end-to-end tests share: building small programs against prof and running them.

Programs are built into build/e2e of the checkout (or $PROF_BUILD_DIR). PROF_TEST_TREE chooses the
header: include (default) or single_include. Nothing is skipped: a missing tool is an error.
"""

import fcntl
import functools
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / os.environ.get("PROF_TEST_TREE", "include")
BUILD = pathlib.Path(os.environ.get("PROF_BUILD_DIR", ROOT / "build" / "e2e"))
WHOLES = ROOT / "build" / "whole"
PROGRAMS = ROOT / "tests" / "e2e" / "programs"
COMPILERS = os.environ.get("PROF_COMPILERS", "g++ clang++").split()

sys.path.insert(0, str(ROOT / "tests" / "e2e"))


def tool(name):
    """The path of a tool that a test needs; an error, never a skip, when it is absent."""
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"{name} is needed by this test and is not installed; run tools/test")
    return path


def compile_to(output, command):
    done = subprocess.run([*command, "-o", str(output)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError("cannot build: " + " ".join(command) + "\n" + done.stdout[-6000:])
    return output


@functools.lru_cache(None)
def headers_digest():
    """Changes with any header of the tree."""
    digest = hashlib.sha256()
    for header in sorted(TREE.rglob("*.hpp")):
        digest.update(header.read_bytes())
    return digest.hexdigest()


def whole(compiler="g++", flags=(), std="c++17", optimize="-O1"):
    """An object that includes all of prof, for programs that include api.hpp: made once for all tests."""
    command = [tool(compiler), f"-std={std}", optimize, *flags, "-I", str(TREE), "-pthread", "-c",
               str(PROGRAMS / "whole.cpp")]
    key = hashlib.sha256("\0".join([*command, headers_digest()]).encode()).hexdigest()[:16]
    WHOLES.mkdir(parents=True, exist_ok=True)
    output = WHOLES / f"{key}.o"
    with open(WHOLES / f"{key}.lock", "w") as lock:  # another test may be making it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            compile_to(output.with_suffix(".new"), command).rename(output)
    return output


def build(sources, name, compiler="g++", flags=(), std="c++17", optimize="-O1", libraries=(), with_whole=False):
    """Compiles and links; returns the program's path. Sources are files of PROGRAMS or paths.

    -O2, which takes twice as long as -O1, and -g are for the tests that are about them. `with_whole`: the sources
    include api.hpp only, and an object with all of prof is linked to them.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    paths = [str(s if os.path.isabs(str(s)) else PROGRAMS / s) for s in sources]
    if with_whole:
        paths.append(str(whole(compiler, flags, std, optimize)))
    return compile_to(BUILD / name, [tool(compiler), f"-std={std}", optimize, *flags, "-I", str(TREE), *paths,
                                     "-pthread", *libraries])


def run(program, *arguments, timeout=60, env=None, check=True, **options):
    """Runs to the end; returns CompletedProcess with text output."""
    done = subprocess.run([str(program), *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=timeout,
                          env={**os.environ, **(env or {})}, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{program} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
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
