"""Real hosts do the same with everything of prof on at rate 1 as without: python3 with threads, clang and lld in the
gate; redis-server, postgres and larger programs for clang and lld with PROF_LONG=1.

programs/everything.cpp is loaded into each by LD_PRELOAD, and into all processes that they start. What a host answers
and how it ends must be equal, and the profiles that each of its processes leaves valid and with the waits that it must
have had.
"""

import os
import pathlib
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from support import harness, pprof_check

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
KINDS = ("cpu", "heap", "mutex", "block", "goroutine", "threadcreate")


class Profiles:
    """What the processes of one run left behind: a profile of each kind from each."""

    def __init__(self, directory):
        self.all = {kind: [pprof_check.parse(path.read_bytes()) for path in sorted(directory.glob(f"{kind}.*"))]
                    for kind in KINDS}

    def problems(self):
        return [problem for kind, profiles in self.all.items() for profile in profiles
                for problem in pprof_check.validate(profile, kind)]

    def delays(self, kind, program):
        """[nanoseconds] waited or charged, for each process whose executable's name matches."""
        return [pprof_check.total(profile, "delay") for profile in self.all[kind]
                if re.search(program, profile.mapping[0].filename)]

    def waited(self, wait, program):
        """Nanoseconds of this kind of wait, of all these processes together."""
        return sum(sample.value[1] for profile in self.all["block"] if re.search(program, profile.mapping[0].filename)
                   for sample in profile.sample if wait in [label.str for label in sample.label if label.key == "wait"])


class Preloaded(unittest.TestCase):

    """A directory for each test, which any user may read, with the library in it."""

    # What workers of postgres say: each that comes to an error, or comes too late. Clients are told of errors too.
    COMES_AND_GOES = '"parallel worker"|ERROR:|STATEMENT:'

    @classmethod
    def setUpClass(cls):
        cls.library = harness.build([PROGRAMS / "everything.cpp"], "everything.so", with_whole=True,
                                    flags=["-shared", "-fPIC", *harness.WARNINGS])

    def setUp(self):
        directory = tempfile.TemporaryDirectory(prefix="prof_hosts_")
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.directory.chmod(0o755)
        shutil.copy(self.library, self.directory)
        self.files = self.empty("profiles")
        self.errors = self.directory / "errors"

    def empty(self, name):
        """A directory of this name with nothing in it, which any user may write to."""
        path = self.directory / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        path.chmod(0o777)
        return path

    def both(self, work):
        """work(environment) without and with everything on gives the same; the profiles of the latter run."""
        plain = work(dict(os.environ))
        self.assertEqual(list(self.files.iterdir()), [])
        library = self.directory / self.library.name
        self.assertEqual(work({**os.environ, "LD_PRELOAD": str(library), "PROF_HOST_FILES": str(self.files)}), plain)
        profiles = Profiles(self.files)
        self.assertEqual(profiles.problems(), [])
        return profiles

    def outcome(self, environment, *words, **options):
        """How it ends: status, output and errors."""
        done = subprocess.run([str(word) for word in words], env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=300, check=False, **options)
        return done.returncode, done.stdout, done.stderr

    def server(self, environment, is_ready, *words, **options):
        """Started, and ready; what it says of errors goes to a file."""
        with self.errors.open("w") as errors:
            server = subprocess.Popen([str(word) for word in words], env=environment, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=errors, **options)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        end = time.monotonic() + 60
        while not is_ready():
            self.assertIsNone(server.poll())
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        return server

    def end_of(self, server):
        """Its status, and the lines of its errors without numbers, in no order: processes write them."""
        status, lines = server.wait(60), self.errors.read_text().splitlines()
        return status, sorted(re.sub(r"\d+", "0", line) for line in lines if not re.search(self.COMES_AND_GOES, line))


class Python(Preloaded):
    def test_threads_and_children(self):
        profiles = self.both(lambda environment: self.outcome(environment, sys.executable, PROGRAMS / "threads.py"))
        self.assertEqual(len(profiles.delays("block", "python")), 5)  # four are started by it
        self.assertGreater(profiles.waited("semaphore", "python"), 0.15e9)  # three time-outs of 50 ms
        self.assertGreater(max(profiles.delays("mutex", "python")), 0)


class Clang(Preloaded):
    def compiled(self, environment, *words):
        """How clang++ ends, and what it writes, to a file of the same name in all runs."""
        output = self.directory / "out"
        output.unlink(missing_ok=True)
        said = self.outcome(environment, harness.tool("clang++"), *words, "-pthread", "-o", output)
        return said, output.read_bytes() if output.exists() else None

    def both_compile(self, *words):
        return self.both(lambda environment: self.compiled(environment, *words))

    def test_an_object(self):
        source = harness.PROGRAMS / ("whole.cpp" if harness.LONG else "waits.cpp")
        profiles = self.both_compile("-std=c++17", "-O1", "-g", "-I", harness.TREE, "-c", source)
        self.assertEqual(len(profiles.delays("block", "clang")), 1)

    def test_a_refused_source(self):
        wrong = self.directory / "wrong.cpp"
        wrong.write_text("int main() { return nothing_of_this_name; }\n")
        self.both_compile("-c", wrong)

    def check_linked(self, *words):
        """By four threads of lld at least, which must have waited for work."""
        profiles = self.both_compile("-fuse-ld=lld", "-Wl,--threads=4", *words)
        self.assertGreater(profiles.waited("cond", "lld"), 0)

    def test_a_program_linked_by_threads(self):
        self.check_linked(harness.object_of(harness.PROGRAMS / "waits.cpp", "clang++"), harness.whole("clang++"))

    def test_a_program_optimised_by_the_linker(self):
        flags = ["-flto=thin"]
        objects = [harness.object_of(harness.PROGRAMS / "waits.cpp", "clang++", flags)]
        objects += [harness.whole("clang++", flags)] if harness.LONG else []
        self.check_linked(*flags, "-O1", "-Wl,--thinlto-jobs=4", *objects)


if harness.LONG:
    class Redis(Preloaded):
        OPTIONS = ("--port 0 --save '' --appendonly yes --io-threads 2 --io-threads-do-reads yes "
                   "--enable-debug-command yes")

        def answers(self, environment):
            """To fixed commands, and after a benchmark of many clients; then its digest, also of what is on disk."""
            home = self.empty("redis")
            client = [harness.tool("redis-cli"), "-s", home / "socket"]
            server = self.server(environment, lambda: self.outcome(environment, *client, "PING")[0] == 0,
                                 harness.tool("redis-server"), "--dir", home, "--unixsocket", home / "socket",
                                 *shlex.split(self.OPTIONS))
            answers = [self.outcome(environment, *client, input=(PROGRAMS / "commands.redis").read_text())]
            status, _, errors = self.outcome(environment, harness.tool("redis-benchmark"), "-s", home / "socket",
                                             *"-n 10000 -c 20 -P 4 --csv -t set,get,incr,lpush,zadd,lrange_100".split())
            answers.append((status, errors))
            for command in ("GET counter:__rand_int__", "DBSIZE", "DEBUG DIGEST", "DEBUG LOADAOF", "DEBUG DIGEST",
                            "SHUTDOWN NOSAVE"):
                answers.append(self.outcome(environment, *client, *command.split()))
            return answers, self.end_of(server)

        def test_commands_and_a_benchmark(self):
            profiles = self.both(self.answers)
            server = "redis-server|redis-check"  # they are one file
            self.assertGreater(profiles.waited("cond", server), 0)
            self.assertGreater(profiles.waited("mutex", server), 0)
            self.assertGreater(max(profiles.delays("mutex", server)), 0)

    class Postgres(Preloaded):
        def setUp(self):
            super().setUp()
            nobody = pwd.getpwnam("nobody")  # postgres refuses to be root
            self.user = {} if os.getuid() else {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

        def tool(self, name):
            installed = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
            return installed[-1] if installed else harness.tool(name)

        def run_tool(self, environment, name, *words):
            return self.outcome(environment, self.tool(name), *words, **self.user, cwd=self.directory)

        def results(self, environment):
            """Of initdb, statements that several processes work at, and seeded transactions of four clients."""
            home = self.empty("postgres")
            where = ["-h", home, "-d", "postgres"]
            results = [self.run_tool(environment, "initdb", "-D", home / "data", "-A", "trust", "--locale=C")]
            server = self.server(environment, lambda: "ready to accept connections" in self.errors.read_text(),
                                 self.tool("postgres"), "-D", home / "data", "-k", home, "-c", "listen_addresses=",
                                 **self.user)
            results.append(self.run_tool(environment, "psql", *where, "-f", PROGRAMS / "statements.sql"))
            results.append(self.run_tool(environment, "pgbench", *where, "-i", "-q")[0])
            status, said, _ = self.run_tool(environment, "pgbench", *where, "--random-seed=7",
                                            *"-n -c 4 -j 2 -t 200".split())
            results.append((status, re.findall(r"^number of .*", said, re.MULTILINE)))
            sums = "SELECT sum(abalance), sum(bbalance), (SELECT sum(delta) FROM pgbench_history) "
            results.append(self.run_tool(environment, "psql", *where, "-c",
                                         sums + "FROM pgbench_accounts LEFT JOIN pgbench_branches ON aid = 1"))
            server.send_signal(signal.SIGINT)
            return results, self.end_of(server)

        def test_statements_and_transactions(self):
            profiles = self.both(self.results)
            self.assertGreater(profiles.waited("barrier", "pgbench"), 0)
            self.assertGreater(profiles.waited("semaphore", "postgres$"), 0)


if __name__ == "__main__":
    unittest.main()
