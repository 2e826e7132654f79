"""Many small compilations at once, of which some are to be refused; and which compilers there are.

PROF_COMPILERS_ALL names the compilers (default: every g++ and clang++ that is installed, g++ and
clang++ always), PROF_TEST_ROOT a directory with include/ and single_include/ to test instead of
this checkout's.
"""

import os
import pathlib
import re
import shutil
import subprocess
import zlib
from typing import NamedTuple

from support import harness, pprof_check

TREES = {name: pathlib.Path(os.environ.get("PROF_TEST_ROOT", harness.ROOT)).resolve() / name
         for name in ("include", "single_include")}
COMPILERS = ("g++", "clang++")
FACADES = ("prof", "api")

# What users write behind an include of prof.hpp with HTTP: all of the API, so that its code is made.
USE = """
bool use_prof(void* object);
bool use_prof(void* object) {
  prof::options limits;
  limits.max_depth = 64;
  prof::cpu_options options;
  options.hz = 250;
  prof::profile_request request;
  request.seconds = 1;
  request.format = prof::format::top;
  const prof::label_scope labels{{"tenant", "alice"}, {"stage", "parse"}};
  prof::record_alloc(object, 100);
  prof::record_free(object);
  static prof::mutex lock;
  static prof::shared_mutex shared;
  lock.lock();
  shared.lock_shared();
  if (shared.try_lock()) shared.unlock();
  shared.unlock_shared();
  lock.unlock();
  prof::record_contention(100);
  bool any = prof::set_mem_profile_rate(1) + prof::set_cpu_profile_rate(250) > 0;
  prof::for_each_profile([&any](const char*, bool available) { any = any || available; });
  const prof::status_report report = prof::status();
  any = any || (report.hook_count > 0 && report.hooks[0].state != nullptr);
  prof::cpu_session session;
  prof::result done = prof::configure(limits);
  if (done) done = session.start("cpu.pb.gz", options);
  if (done) done = prof::start_cpu_profile(stdout);
  if (done) done = prof::stop_cpu_profile();
  if (done) done = prof::write_profile("heap", prof::fd(1), request);
  if (done) done = prof::write_heap_profile({[](void*, const void*, std::size_t) { return true; },
                                             nullptr});
  if (done) done = prof::http::serve("localhost:0");
  prof::http::stop();
  return any && done && session.running() && prof::http::address() != nullptr &&
         prof::with_labels({{"a", "b"}}, [] { return true; });
}
"""


def number_of(name):
    return int((re.search(r"-(\d+)$", name) or [0, 0])[1])


def find_compilers():
    """g++, clang++ and every other version on the PATH; one name for each."""
    wanted = os.environ.get("PROF_COMPILERS_ALL", "").split()
    if wanted:
        return wanted
    others = [f"g++-{n}" for n in range(11, 17)] + [f"clang++-{n}" for n in range(13, 23)]
    names = {}
    for name in (*COMPILERS, *(name for name in others if shutil.which(name))):
        names.setdefault(os.path.realpath(harness.tool(name)), name)
    return list(names.values())


def is_clang(compiler):
    return "clang" in compiler


def newest_of_each(compilers):
    """g++, clang++ and the newest clang: what is run where every version would take too long."""
    newest = max(filter(is_clang, compilers), key=number_of, default="clang++")
    return list(dict.fromkeys([*COMPILERS, newest]))


class Job(NamedTuple):
    """One run of a compiler; the source comes through stdin unless the flags name files."""
    compiler: str
    source: str
    flags: tuple
    directory: pathlib.Path = harness.BUILD  # where it runs


class Outcome(NamedTuple):
    job: Job
    code: int
    words: str  # messages, for -E the output with them

    def explain(self):
        """What was refused: the first errors, the command, and where its source is to be found."""
        errors = re.findall(r"^.*(?:error|warning).*(?:\n .*)*", self.words, re.M)[:3]
        command = f"{self.job.compiler} {' '.join(map(str, self.job.flags))}"
        if self.job.source:
            path = harness.BUILD / f"refused_{zlib.crc32(repr(self.job).encode()):08x}.cpp"
            path.write_text(self.job.source)
            command += f" {path}"
        return "\n".join([*(errors or [self.words[:2000]]), command])


def include(*facades):
    return "".join(f"#include <prof/{facade}.hpp>\n" for facade in facades)


def compile_one(job):
    harness.BUILD.mkdir(parents=True, exist_ok=True)
    source = ("-x", "c++", "-") if job.source else ()
    command = [harness.tool(job.compiler), "-fdiagnostics-color=never", *map(str, job.flags), *source]
    done = subprocess.run(command, input=job.source, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT, cwd=job.directory,
                          env={**os.environ, "LC_ALL": "C"})
    return Outcome(job, done.returncode, done.stdout)


def compile_all(jobs):
    return harness.in_parallel(compile_one, jobs)


def must(compiler, *flags, directory=harness.BUILD):
    """Compiles or links files; an error when the compiler refuses."""
    outcome = compile_one(Job(compiler, "", flags, directory))
    if outcome.code != 0:
        raise RuntimeError(f"cannot build: {outcome.explain()}")


def heap_profile(path):
    """The profile in that file; an error unless it is a good heap profile."""
    profile = pprof_check.parse(path.read_bytes())
    problems = pprof_check.validate(profile, "heap")
    if problems:
        raise AssertionError(problems)
    return profile


def labels_of(profile, function):
    """{(key, value)} of the samples whose stack has that function."""
    return {(label.key, label.str) for sample in profile.sample for label in sample.label
            if label.str and any(function in name for name in profile.stack(sample))}


class AllCompile:
    """For a TestCase: every job must compile, and each one that does not is shown."""

    def expect_all_compile(self, jobs):
        for outcome in compile_all(jobs):
            if outcome.code != 0:
                with self.subTest(compiler=outcome.job.compiler, flags=outcome.job.flags[-3:]):
                    self.fail(outcome.explain())
