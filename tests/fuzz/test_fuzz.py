#!/usr/bin/env python3
"""The property of every fuzz target holds for its corpus, and a search finds no input against it.

    cd tests && python3 -m unittest fuzz.test_fuzz      PROF_LONG=1: ten minutes of search per target, not 5 s

<target>_fuzz.cpp is built twice, both times with the address and undefined-behaviour sanitizers:
with g++ and replay_main.cpp, which runs the files of corpus/<target>.zip, and with clang++ and
libFuzzer (Debian's libclang-rt-dev), which begins its search there. tools/test replays only, and
tools/test --long searches. What libFuzzer finds is left in build/fuzz as <target>-crash-...; once
mended, that file belongs into the corpus, under a name that says what it was:
    zip -j tests/fuzz/corpus/gzip.zip empty_block

To search longer and keep what is new (the tests have unpacked the corpus):
    build/fuzz/gzip_search -max_total_time=300 found build/fuzz/corpus/gzip
    build/fuzz/gzip_search -merge=1 kept build/fuzz/corpus/gzip found
    rm tests/fuzz/corpus/gzip.zip && zip -j tests/fuzz/corpus/gzip.zip kept/*
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import zipfile
from typing import Callable, Dict, List, NamedTuple

from support import harness
from support.harness import BUILD, LONG

HERE = pathlib.Path(__file__).resolve().parent
TARGETS = sorted(file.name[: -len("_fuzz.cpp")] for file in HERE.glob("*_fuzz.cpp"))
SEARCH_SECONDS = 600 if LONG else 5
WORKERS = max(2, os.cpu_count() or 2)

FLAGS = [*(["-g"] if LONG else []), "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
# Watching each comparison makes gzip four times as slow, and no comparison there is with a constant
# that the input could hold.
SEARCH_FLAGS = {"gzip": ["-fno-sanitize-coverage=trace-cmp"]}

# They read what the address sanitizer has marked, as a walk over garbage does; a fault needs no sanitizer.
READ_ANYTHING = ("walk",)

CORPUS_FILES = 60  # per target
CORPUS_BYTES = 200 * 1000  # all of them


class Done(NamedTuple):
    code: int
    words: str


def run(*command) -> Done:
    environment = {**os.environ, "LC_ALL": "C", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=environment, cwd=BUILD)
    return Done(done.returncode, done.stdout.decode("utf-8", "replace"))


def build(compiler: str, name: str, sources: List[str], flags: List[str]) -> pathlib.Path:
    try:
        return harness.build([HERE / source for source in sources], name, compiler, [*FLAGS, *flags])
    except RuntimeError as refused:
        if "libclang_rt." in str(refused):
            raise RuntimeError("clang's libFuzzer and sanitizers are missing: apt-get install libclang-rt-dev") from refused
        raise


def unpack_corpus(target: str) -> None:
    folder = BUILD / "corpus" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(HERE / "corpus" / f"{target}.zip") as pack:
        pack.extractall(folder)


def setUpModule():
    for target in TARGETS:
        unpack_corpus(target)


def corpus(target: str) -> List[pathlib.Path]:
    return sorted(file for file in (BUILD / "corpus" / target).glob("*") if file.is_file())


def sanitizers(target: str) -> str:
    return "undefined" if target in READ_ANYTHING else "address,undefined"


def replay(target: str) -> Done:
    program = build("g++", f"{target}_replay", [f"{target}_fuzz.cpp", "replay_main.cpp"],
                    [f"-fsanitize={sanitizers(target)}"])
    return run(program, *corpus(target))


def search(target: str) -> Done:
    program = build("clang++", f"{target}_search", [f"{target}_fuzz.cpp"],
                    [f"-fsanitize=fuzzer,{sanitizers(target)}", *SEARCH_FLAGS.get(target, [])])
    with tempfile.TemporaryDirectory(dir=BUILD) as found:
        return run(program, "-seed=1", f"-max_total_time={SEARCH_SECONDS}", "-timeout=60",
                   f"-artifact_prefix={BUILD}/{target}-", found, BUILD / "corpus" / target)


def for_all_targets(work: Callable[[str], Done]) -> Dict[str, concurrent.futures.Future]:
    """Does the work for some targets at a time; the answers, complete, by target."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        return {target: pool.submit(work, target) for target in TARGETS}


def what_broke(words: str) -> str:
    """From the first complaint on; what libFuzzer says before can be very long."""
    first = re.search(r"^.*(this must hold|runtime error|ERROR: ).*", words, re.M)
    return words[first.start() if first else -3000 :][:6000]


def one_test_per_target(case: type) -> type:
    for target in TARGETS:
        setattr(case, f"test_{target}", lambda self, target=target: self.check(target))
    return case


@one_test_per_target
class Replay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.done = for_all_targets(replay)

    def check(self, target):
        code, words = self.done[target].result()
        if code != 0:
            files = [line for line in words.splitlines() if line.startswith(str(BUILD / "corpus"))]
            self.fail(f"{files[-1] if files else target} broke it:\n{what_broke(words)}")
        self.assertIn(f"\n{len(corpus(target))} inputs\n", words)


@one_test_per_target
class Search(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.done = for_all_targets(search)

    def check(self, target):
        code, words = self.done[target].result()
        found = re.search(r"Test unit written to (\S+)", words)
        if code != 0:
            self.fail(f"mend it, then keep {found[1] if found else 'the input'} as "
                      f"<what it was> in tests/fuzz/corpus/{target}.zip:\n{what_broke(words)}")
        runs = re.search(r"^Done (\d+) runs in ", words, re.M)
        self.assertIsNotNone(runs, words[-3000:])
        self.assertGreaterEqual(int(runs[1]), len(corpus(target)), "the corpus was not read")


class Corpus(unittest.TestCase):
    def test_every_target_has_one_and_it_is_small(self):
        packs = sorted(pack.name for pack in (HERE / "corpus").iterdir())
        self.assertEqual(packs, [f"{target}.zip" for target in TARGETS])
        self.assertGreater(len(TARGETS), 0)
        for target in TARGETS:
            with self.subTest(target=target):
                self.assertIn(len(corpus(target)), range(1, CORPUS_FILES + 1))
        bytes_in_all = sum(file.stat().st_size for target in TARGETS for file in corpus(target))
        self.assertLess(bytes_in_all, CORPUS_BYTES)


if __name__ == "__main__":
    unittest.main()
