#!/usr/bin/env python3
"""Wrong uses and failing sinks: each a clear error or the documented no-op, nothing lost, no signal raised."""

import errno
import shutil
import unittest

from support import harness, pprof_check

# The order of prof::error.
CODES = ("none", "cpu_in_use", "session_in_use", "too_many_sessions", "unknown_profile", "profile_off", "not_in_version",
         "unsupported", "bad_argument", "open_failed", "write_failed", "out_of_memory", "signal_in_use", "timer_failed",
         "bad_address", "not_loopback", "address_in_use", "listen_failed", "server_running", "configured_late",
         "version_mismatch", "canceled")
OK = ("none", 0, "ok")


class Errors(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = harness.build(["errors.cpp"], "errors", with_whole=True)

    def run_case(self, name):
        """What the program printed: {what: (code, errno, message)} and {note: value}."""
        self.folder = harness.BUILD / f"errors-{name}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        done = harness.run(self.program, self.folder, name)
        self.assertEqual(done.stderr, "")
        outcomes, notes = {}, {}
        for line in done.stdout.splitlines():
            what, rest = line.split(": ", 1)
            parts = rest.split(" ", 2)
            if len(parts) == 3:
                outcomes[what] = (CODES[int(parts[0])], int(parts[1]), parts[2])
            else:
                notes[what] = rest
        return outcomes, notes

    def assert_ok(self, outcomes, *names):
        for name in names:
            self.assertEqual(outcomes[name], OK, name)

    def cpu_profile(self, name):
        profile = pprof_check.parse((self.folder / name).read_bytes())
        self.assertEqual(pprof_check.validate(profile, kind="cpu", max_age=600), [])
        return profile

    def test_second_start(self):
        outcomes, notes = self.run_case("second_start")
        self.assert_ok(outcomes, "stop without start", "start", "stop", "stop again", "start again", "stop that")
        for name in ("second start", "second start, same file"):
            self.assertEqual(outcomes[name], ("cpu_in_use", 0, "cpu profiling already in use"))
        self.assertEqual(notes["second file exists"], "0")
        profile = self.cpu_profile("first.pb.gz")
        for name in ("burn_first", "burn_second"):  # 0.3 s each; nothing of either is lost
            got = pprof_check.find(profile, rf"::{name}\(", "cpu")
            self.assertLessEqual(abs(got - 0.3e9), 0.03e9, name)
        self.cpu_profile("second.pb.gz")

    def test_sessions(self):
        outcomes, _ = self.run_case("sessions")
        self.assertNotIn("session", outcomes, "one of the first eight did not start")
        self.assert_ok(outcomes, "session stop without start", "session stop")
        self.assertEqual(outcomes["ninth session"][0], "too_many_sessions")
        self.assertEqual(outcomes["session twice"][0], "session_in_use")
        self.assertEqual(outcomes["10001 Hz"][0], "bad_argument")
        self.assertIn("10000", outcomes["10001 Hz"][2])
        self.assertEqual(outcomes["late configure"][0], "configured_late")

    def test_files(self):
        outcomes, _ = self.run_case("files")
        missing = self.folder / "no/such/directory"
        for name in ("cpu to unwritable path", "heap to unwritable path"):
            self.assertEqual(outcomes[name], ("open_failed", errno.ENOENT,
                                              f"cannot write to {missing}: No such file or directory; pass another path"))
        self.assertEqual(outcomes["heap to directory"][:2], ("open_failed", errno.EISDIR))
        full = ("write_failed", errno.ENOSPC, "writing the profile failed: No space left on device")
        for name in ("heap to full disk", "heap to full descriptor", "heap to full FILE", "status to full disk"):
            self.assertEqual(outcomes[name], full, name)
        self.assertEqual(outcomes["heap to full stream"][0], "write_failed")
        for name in ("heap to null FILE", "heap to null path", "heap to empty path", "heap to bad descriptor"):
            self.assertEqual(outcomes[name][0], "bad_argument", name)
        for name in ("heap to closed descriptor", "heap to read-only descriptor"):
            self.assertEqual(outcomes[name], ("write_failed", errno.EBADF, "writing the profile failed: Bad file descriptor"))
        self.assertEqual(outcomes["heap to callback that stops"][0], "write_failed")
        self.assertEqual(outcomes["unknown profile"],
                         ("unknown_profile", 0, 'unknown profile "heapp"; for_each_profile lists the names'))
        self.assertEqual(outcomes["profile of a later version"][0], "not_in_version")
        self.assertEqual(outcomes["null profile"][0], "unknown_profile")
        for name in ("heapp", "trace", "null"):
            self.assertFalse((self.folder / name).exists(), f"{name} was made for a profile that does not exist")
        self.assert_ok(outcomes, "cpu to full disk", "heap at last", "cpu at last")
        heap = pprof_check.parse((self.folder / "heap.pb.gz").read_bytes())
        self.assertEqual(pprof_check.validate(heap, kind="heap"), [])
        profile = self.cpu_profile("cpu.pb.gz")
        self.assertEqual(pprof_check.find(profile, "burn_first", "cpu"), 0, "what a failed stop took went on")
        self.assertLessEqual(abs(pprof_check.find(profile, "burn_second", "cpu") - 0.3e9), 0.03e9)

    def test_a_failed_stop_says_so(self):
        done = self.run_lines("files")
        at = done.index("cpu to full disk: 0 0 ok")
        self.assertEqual(done[at + 1], "its stop: 10 28 writing the profile failed: No space left on device")

    def run_lines(self, name):
        self.run_case(name)
        return harness.run(self.program, self.folder, name).stdout.splitlines()

    def test_pipes(self):
        outcomes, notes = self.run_case("pipes")
        for name in ("heap to closed pipe", "heap to closed pipe as FILE", "its stop", "heap with one pending"):
            self.assertEqual(outcomes[name], ("write_failed", errno.EPIPE, "writing the profile failed: Broken pipe"), name)
        self.assertEqual(notes, {"SIGPIPE pending": "0", "SIGPIPE blocked": "0", "SIGPIPE still pending": "1"})

    def test_ports(self):
        outcomes, notes = self.run_case("ports")
        self.assert_ok(outcomes, "serve", "serve again")
        self.assertEqual(outcomes["serve twice"], ("server_running", 0, "the profile server runs already; call"
                                                   " prof::http::stop() first"))
        self.assertEqual(notes, {"address": "1", "address after stop": "''"})
        for name in ("bad address", "null address", "port too high"):
            self.assertEqual(outcomes[name][0], "bad_address", name)
        self.assertIn("nonsense", outcomes["bad address"][2])
        self.assertEqual(outcomes["not loopback"][0], "not_loopback")
        self.assertEqual(outcomes["no such directory"][:2], ("listen_failed", errno.ENOENT))

    def test_signal_in_use(self):
        outcomes, notes = self.run_case("signal_in_use")
        self.assertEqual(outcomes["start without a free signal"][0], "signal_in_use")
        self.assertEqual(notes, {"handler kept": "1"})
        self.assert_ok(outcomes, "start with SIGPROF free", "its stop")
        self.assertGreater(pprof_check.find(self.cpu_profile("cpu.pb.gz"), "burn_first", "cpu"), 0.25e9)

    def test_every_message_says_more_than_a_code(self):
        for name in ("second_start", "sessions", "files", "pipes", "ports", "signal_in_use"):
            for what, (code, _, message) in self.run_case(name)[0].items():
                self.assertEqual(message == "ok", code == "none", what)
                self.assertNotIn("%s", message)
                self.assertRegex(message, r"^\S.*\S$|^ok$")


if __name__ == "__main__":
    unittest.main()
