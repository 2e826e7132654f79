#!/usr/bin/env python3
"""The HTTP server as go tool pprof, browsers, curl and slow or vanishing clients meet it.

Limits in wall-clock time are the server's own (5 s for a request); a busy machine only makes the waits longer,
so upper bounds here are many times what is promised.
"""

import os
import re
import signal
import socket
import subprocess
import threading
import time
import unittest
import urllib.error
import urllib.request

from support import harness, pprof_check

PATIENCE = 60  # seconds that nothing here takes unless it is broken


class Http(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = harness.build(["http_server.cpp"], "http_server", with_whole=True)

    def setUp(self):
        self.server = harness.Server(self.program)
        self.addCleanup(self.server.__exit__)

    def ask(self, path, method="GET", body=None, headers=None):
        """(status, headers, body), errors included."""
        request = urllib.request.Request(self.server.url(path), data=body, method=method, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.headers, answer.read()

    def connect(self):
        host, port = self.server.address.rsplit(":", 1)
        connection = socket.create_connection((host, int(port)), timeout=PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def begin_profile(self, seconds):
        """A connection on which a CPU profile runs."""
        connection = self.connect()
        connection.sendall(f"GET /debug/pprof/profile?seconds={seconds} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        self.wait_for_cpu("running")
        return connection

    def wait_for_cpu(self, state):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            text = self.server.get("status").decode()
            if f"\ncpu profile: {state}\n" in text:
                return
            time.sleep(0.05)
        self.fail(f"the CPU profile is not {state}: {text}")

    # ---- go tool pprof ----

    def test_go_tool_pprof_fetches_a_cpu_profile(self):
        self.server.say("burn 3000")
        top = harness.pprof("-top", "-cum", self.server.url("profile?seconds=2"))
        self.assertIn("Type: cpu", top)
        self.assertIn("burn_site", top)

    def test_go_tool_pprof_fetches_heap_and_allocs(self):
        self.server.say("rate1")
        self.server.say("keep")
        self.server.say("drop")
        for name, kind, size in (("heap", "inuse_space", "48.83kB"), ("allocs", "alloc_space", "97.66kB")):
            with self.subTest(name=name):
                url = self.server.url(name)
                top = harness.pprof("-top", url)
                self.assertIn(f"Type: {kind}", top)
                self.assertRegex(top, rf"{re.escape(size)} .*keep_site")
                self.assertIn("PeriodType: space bytes", harness.pprof("-raw", url))
                picture = harness.BUILD / f"http-{name}.png"
                harness.pprof("-png", "-output", picture, url)
                self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")

    def test_go_tool_pprof_web_page(self):
        self.server.say("rate1")
        self.server.say("keep")
        viewer = subprocess.Popen([harness.tool("go"), "tool", "pprof", "-no_browser", "-http=localhost:",
                                   self.server.url("heap")], stderr=subprocess.PIPE, text=True, start_new_session=True,
                                  env={**os.environ, "PPROF_TMPDIR": str(harness.BUILD / "pprof")})
        try:
            seen = ""
            for line in viewer.stderr:
                seen += line
                found = re.search(r"Serving web UI on (http://\S+)", line)
                if found:
                    break
            else:
                self.fail(seen)
            self.assertIn(b"keep_site", self.page_of(found.group(1) + "/ui/top"))
        finally:
            os.killpg(viewer.pid, signal.SIGKILL)
            viewer.wait()
            viewer.stderr.close()

    def page_of(self, url):
        """pprof says that it serves a moment before it listens."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(url, timeout=PATIENCE) as page:
                    return page.read()
            except urllib.error.URLError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    # ---- answers and headers ----

    def test_profiles_are_valid_and_have_gos_headers(self):
        for path, kind, name in (("heap", "heap", "heap"), ("allocs", "allocs", "allocs"), ("profile?seconds=1", "cpu", "profile"),
                                 ("heap?seconds=1", "heap", "heap-delta"), ("allocs?seconds=1", "allocs", "allocs-delta")):
            with self.subTest(path=path):
                status, headers, body = self.ask(path)
                self.assertEqual(status, 200)
                self.assertEqual(headers["Content-Type"], "application/octet-stream")
                self.assertEqual(headers["Content-Disposition"], f'attachment; filename="{name}"')
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertIsNone(headers["Content-Encoding"])
                self.assertIsNone(headers["X-Go-Pprof"])
                self.assertEqual(int(headers["Content-Length"]), len(body))
                self.assertEqual(pprof_check.validate(pprof_check.parse(body), kind=kind, max_age=60), [])

    def test_pages_have_gos_headers(self):
        for path, kind, inside in (("", "text/html; charset=utf-8", b"<title>/debug/pprof/</title>"),
                                   ("heap?debug=1", "text/plain; charset=utf-8", b"heap profile: "),
                                   ("allocs?debug=1", "text/plain; charset=utf-8", b"heap profile: "),
                                   ("heap?format=top", "text/plain; charset=utf-8", b""),
                                   ("status", "text/plain; charset=utf-8", b"cpu profile: off"),
                                   ("symbol", "text/plain; charset=utf-8", b"num_symbols: 1\n")):
            with self.subTest(path=path):
                status, headers, body = self.ask(path)
                self.assertEqual((status, headers["Content-Type"]), (200, kind))
                self.assertIsNone(headers["Content-Disposition"])
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertIn(inside, body)

    def test_index_lists_what_there_is(self):
        page = self.server.get("").decode()
        for name in ("allocs", "block", "goroutine", "heap", "mutex", "profile", "threadcreate", "threads", "cmdline", "symbol"):
            self.assertRegex(page, rf"href='{name}[?'][^>]*>{name}</a>|href='{name}'>{name}</a>")
        self.assertNotIn("trace?", page)
        for link in re.findall(r"href='([^']+)'", page):
            if not link.startswith("profile"):
                self.assertEqual(self.ask(link)[0], 200, link)

    def test_index_without_slash_redirects(self):
        connection = self.connect()
        connection.sendall(b"GET /debug/pprof HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = connection.makefile("rb").read()
        self.assertTrue(answer.startswith(b"HTTP/1.1 301 "), answer)
        self.assertIn(b"\r\nLocation: /debug/pprof/\r\n", answer)

    def test_cmdline(self):
        status, headers, body = self.ask("cmdline")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; charset=utf-8"))
        self.assertEqual(body, str(self.program).encode() + b"\x00127.0.0.1:0")
        for size in (4000, 4096, 5000, 60000):
            with self.subTest(size=size), harness.Server(self.program, "x" * size) as server:
                self.assertEqual(server.get("cmdline"), str(self.program).encode() + b"\x00127.0.0.1:0\x00" + size * b"x")

    def test_symbol(self):
        self.server.say("rate1")
        self.server.say("keep")
        profile = pprof_check.parse(self.server.get("heap"))
        addresses = {profile.stack(s)[0]: profile.location_by_id(s.location_id[0]).address for s in profile.sample}
        address = next(a for name, a in addresses.items() if "keep_site" in name)
        tokens = f"0x{address:x}+0x1+nonsense+{address}".encode()
        line = f"0x{address:x} (anonymous namespace)::keep_site()\n"
        wanted = ("num_symbols: 1\n" + 2 * line).encode()
        self.assertEqual(self.ask("symbol?" + tokens.decode())[2], wanted)
        self.assertEqual(self.ask("symbol", "POST", tokens)[2], wanted)

    def test_head(self):
        status, headers, body = self.ask("heap", "HEAD")
        self.assertEqual((status, body), (200, b""))
        self.assertGreater(int(headers["Content-Length"]), 0)

    def test_errors_are_gos(self):
        for path, code, text in (
                ("nothing", 404, "Unknown profile\n"),
                ("heap?seconds=0", 400, 'invalid value for "seconds" - must be a positive integer\n'),
                ("heap?seconds=-1", 400, 'invalid value for "seconds" - must be a positive integer\n'),
                ("allocs?seconds=x", 400, 'invalid value for "seconds" - must be a positive integer\n'),
                ("heap?seconds=1&debug=1", 400, "seconds and debug params are incompatible\n"),
                ("profile?seconds=301", 400, None), ("heap?seconds=99999999999999999999", 400, None),
                ("profile?seconds=1000000000", 400, None), ("trace", 404, None), ("profile?hz=20000&seconds=1", 500, None)):
            with self.subTest(path=path):
                status, headers, body = self.ask(path)
                self.assertEqual(status, code, body)
                self.assertEqual(headers["Content-Type"], "text/plain; charset=utf-8")
                self.assertEqual(headers["X-Go-Pprof"], "1")
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff")
                self.assertIsNone(headers["Content-Disposition"])
                self.assertTrue(body.endswith(b"\n") and body.count(b"\n") == 1, body)
                if text is not None:
                    self.assertEqual(body.decode(), text)
        with self.assertRaisesRegex(RuntimeError, "exceeds the limit of 300 seconds"):
            harness.pprof("-top", self.server.url("profile?seconds=301"))

    def test_only_get_head_and_post_on_symbol(self):
        for method, path in (("POST", "heap"), ("PUT", "symbol"), ("DELETE", "")):
            status, headers, _ = self.ask(path, method)
            self.assertEqual(status, 405)
            self.assertIn("GET", headers["Allow"])

    def test_foreign_host_is_refused(self):
        for host in ("evil.example", "localhost.evil.example:80", ""):
            connection = self.connect()
            connection.sendall(f"GET /debug/pprof/heap HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            self.assertTrue(connection.makefile("rb").read().startswith(b"HTTP/1.1 403 "), host)

    # ---- clients that misbehave, requests that overlap ----

    def test_slow_client_is_dropped_and_others_are_served(self):
        slow = [self.connect() for _ in range(3)]
        began = time.monotonic()
        for connection in slow:
            connection.sendall(b"GET /debug/pprof/heap HT")
        served, ended = 0, {}
        while len(ended) < len(slow) and time.monotonic() - began < PATIENCE:
            self.assertEqual(self.ask("cmdline")[0], 200)
            served += 1
            for connection in set(slow) - set(ended):
                connection.settimeout(0.1)
                try:
                    connection.sendall(b"T")  # the drip that keeps an idle timer from firing
                    answer = connection.recv(1000)
                    ended[connection] = (time.monotonic() - began, answer)
                except TimeoutError:
                    pass
                except OSError:
                    ended[connection] = (time.monotonic() - began, b"")
        self.assertEqual(len(ended), 3, "slow clients are still connected")
        self.assertGreater(served, 5)
        for seconds, answer in ended.values():
            print(f"\nslow client dropped after {seconds:.2f} s: {answer[:28]}", end=" ")
            self.assertGreaterEqual(seconds, 4.9)
            self.assertTrue(answer == b"" or answer.startswith(b"HTTP/1.1 408 "), answer)

    def test_client_that_leaves_stops_its_profile(self):
        connection = self.begin_profile(100)
        connection.close()
        self.wait_for_cpu("off")

    def test_two_profiles_at_once(self):
        self.server.say("burn 4000")
        answers = {}
        threads = [threading.Thread(target=lambda hz=hz: answers.update({hz: self.ask(f"profile?seconds=2&hz={hz}")}))
                   for hz in (100, 500)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for hz, (status, _, body) in answers.items():
            self.assertEqual(status, 200, body)
            profile = pprof_check.parse(body)
            self.assertEqual(pprof_check.validate(profile, kind="cpu", max_age=60), [])
            self.assertEqual(profile.period, 10**9 // hz)
            self.assertGreater(pprof_check.find(profile, r"::burn_site\(", "cpu"), 0)
        self.wait_for_cpu("off")

    def test_port_in_use(self):
        port = self.server.address.rsplit(":", 1)[1]
        second = harness.run(self.program, self.server.address, check=False)
        self.assertEqual(second.returncode, 3)
        self.assertEqual(second.stderr, f"serve: port {port} on 127.0.0.1 is in use; pass another address"
                                        " or stop the other process\n")
        self.assertEqual(self.ask("")[0], 200)

    def test_stop_while_a_profile_runs(self):
        connection = self.begin_profile(100)
        printed = self.server.say("restart")
        self.assertEqual(connection.makefile("rb").read(), b"", "half an answer")
        self.server.address = re.search(r"listening on (\S+)", printed[0]).group(1)
        self.wait_for_cpu("off")
        self.assertEqual(self.ask("profile?seconds=1")[0], 200)

    def test_program_ends_while_a_profile_runs(self):
        self.begin_profile(100)
        self.server.process.stdin.close()
        self.assertEqual(self.server.process.wait(PATIENCE), 0)


if __name__ == "__main__":
    unittest.main()
