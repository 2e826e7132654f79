"""What the consumer tests share: copies of the checkout, installed trees, the user's program.

Everything is built in build/consume of the checkout. All ways begin from a copy of its files
without .git, because a user has an archive or a tag of them and not our working directory. Nothing
is skipped: a missing tool is an error.
"""

import functools
import gzip
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from support.harness import ROOT, tool

HERE = pathlib.Path(__file__).resolve().parent
BUILD = ROOT / "build" / "consume"

# What makes tools find other files, or do other things, than on a user's machine.
FOREIGN = re.compile(r"(GIT|CONAN|PKG_CONFIG)_.*|C(|PLUS_INCLUDE_)PATH|LIBRARY_PATH|DESTDIR"
                     r"|(C|CXX|CPP|LD)FLAGS|CMAKE_.*|prof_(ROOT|DIR)")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
ENVIRONMENT["LC_ALL"] = "C.UTF-8"
ENVIRONMENT["GIT_CONFIG_GLOBAL"] = os.devnull  # no hooks, no signing, no other addresses

TIME_LIMIT = 300  # seconds, for one command

def run(program, *arguments, where=None, **environment):
    """Runs to the end; its standard output. What a failing command printed is in the error."""
    command = [tool(program), *map(str, arguments)]
    words = shlex.join(command)
    try:
        done = subprocess.run(command, cwd=where, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=TIME_LIMIT,
                              env={**ENVIRONMENT, **{k: str(v) for k, v in environment.items()}})
    except subprocess.TimeoutExpired as late:
        raise RuntimeError(f"not done after {TIME_LIMIT} s: {words}\n"
                           f"{late.stdout}\n{late.stderr}") from None
    if done.returncode != 0:
        raise RuntimeError(f"ended with {done.returncode}: {words}\n"
                           f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
    return done.stdout


def empty(name):
    """The directory build/consume/NAME, without what an earlier run left in it."""
    place = BUILD / name
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    return place


def files(place, pattern="*"):
    """The files below a directory, relative to it."""
    return {str(path.relative_to(place)) for path in place.rglob(pattern) if not path.is_dir()}


def version():
    """The version as config.hpp has it, the one source of all others."""
    text = (ROOT / "include" / "prof" / "config.hpp").read_text(encoding="ascii")
    return ".".join(re.search(rf"^#define PROF_VERSION_{part} (\d+)$", text, re.MULTILINE)[1]
                    for part in ("MAJOR", "MINOR", "PATCH"))


# ---- prof as the user gets it ----


@functools.cache
def checkout():
    """A copy of the checkout's files."""

    def left_out(directory, names):
        built = {"build"} if pathlib.Path(directory) == ROOT else set()
        return (built | {".git", "__pycache__"}) & set(names)

    place = empty("prof") / "prof"
    shutil.copytree(ROOT, place, symlinks=True, ignore=left_out)
    return place


@functools.cache
def repository():
    """A git repository of the same files, with a tag; the address that git clones."""
    place = empty("repository") / "prof"
    shutil.copytree(checkout(), place, symlinks=True)
    run("git", "init", "--quiet", where=place)
    run("git", "add", "--all", "--force", where=place)
    run("git", "-c", "user.name=prof", "-c", "user.email=prof@localhost",
        "commit", "--quiet", "--message=prof", where=place)
    run("git", "tag", "v" + version(), where=place)
    return place.as_uri()


def moved(place):
    """Gives an installed tree another path, as a package does that is unpacked elsewhere."""
    (place / "installed").rename(place / "moved")
    return place / "moved"


@functools.cache
def installed_by_cmake():
    """A prefix with what `cmake --install` puts there, moved."""
    place = empty("installed_by_cmake")
    run("cmake", "-G", "Ninja", "-S", checkout(), "-B", place / "build")
    run("cmake", "--install", place / "build", "--prefix", place / "installed")
    return moved(place)


@functools.cache
def installed_by_meson():
    """A prefix with what `meson install` puts there, moved."""
    place = empty("installed_by_meson")
    run("meson", "setup", place / "build", checkout(), "--prefix", place / "installed")
    run("meson", "install", "-C", place / "build")
    return moved(place)


def pkg_config(prefix, *arguments):
    """What pkg-config says of the prof in a prefix, as words."""
    said = run("pkg-config", *arguments, "prof", PKG_CONFIG_PATH=prefix / "share" / "pkgconfig")
    return shlex.split(said)


def works(program):
    """Whether a program is there and starts."""
    try:
        run(program, "--version")
        return True
    except (RuntimeError, OSError):
        return False


@functools.cache
def conan_program():
    """Conan's client; not in Debian, so it comes from PyPI, once."""
    place = BUILD / "venv"
    program = place / "bin" / "conan"
    if not works(program):
        run(sys.executable, "-m", "venv", "--clear", place)
        run(place / "bin" / "python", "-m", "pip", "install", "--quiet", "conan>=2,<3")
    return program


def conan(*arguments):
    return run(conan_program(), *arguments, CONAN_HOME=BUILD / "conan_home")


# ---- the user's side ----


def user_project(name, template):
    """build/consume/NAME with the build files of a template and the sources of app/."""
    place = empty(name)
    shutil.copytree(HERE / template, place, dirs_exist_ok=True)
    shutil.copytree(HERE / "app", place, dirs_exist_ok=True)
    return place


def build_with_cmake(place, *arguments):
    """Configures and builds a user's project; returns its program."""
    run("cmake", "-G", "Ninja", "-S", place, "-B", place / "build", *arguments)
    run("cmake", "--build", place / "build")
    return place / "build" / "app"


def compile_by_hand(compiler, place, *flags):
    """Compiles the user's program by one command line; returns it."""
    sources = [HERE / "app" / "main.cpp", HERE / "app" / "worker.cpp"]
    run(compiler, "-std=c++17", *sources, "-o", place / "app", *flags)
    return place / "app"


def check_program(test, program):
    """The user's program works: what it prints, and the heap profile that it writes."""
    profile = program.parent / "heap.pb.gz"
    test.assertEqual(run(program, profile), f"ok {version()}\n")
    packed = profile.read_bytes()
    test.assertEqual(packed[:2], b"\x1f\x8b", "the magic number of gzip")
    # The labels that worker.cpp sets: both files speak with the same profiler.
    for word in (b"worker", b"keeping"):
        test.assertIn(word, gzip.decompress(packed))
