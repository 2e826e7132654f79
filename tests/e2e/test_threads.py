"""The threads of a program that sits still: threads and its alias goroutine, threadcreate, in all their texts."""

import re
import time
import unittest

from support import harness, pprof_check

OTHERS = 3  # main, the server and the worker that looks


def serve(what, *count):
    return harness.Server(harness.build(["threads.cpp"], "threads", with_whole=True), what, *count)


class Threads(unittest.TestCase):
    def text(self, server, path):
        return server.get(path).decode()

    def blocks(self, text):
        """{thread id: its block} of a dump."""
        found = re.findall(r"(?ms)^(?:thread|goroutine) (\d+) (.*?)\n\n", text + "\n\n")
        return {int(thread): block for thread, block in found}

    def test_both_names_count_every_thread_in_their_own_unit(self):
        with serve("sleepers", 7) as server:
            for name in ("threads", "goroutine"):
                with self.subTest(profile=name):
                    profile = pprof_check.parse(server.get(name))
                    self.assertEqual(pprof_check.validate(profile, "goroutine" if name == "goroutine" else None), [])
                    self.assertEqual([kind.type for kind in profile.sample_type], [name])
                    self.assertEqual(pprof_check.find(profile, "^sleep_on$"), 7)
                    self.assertEqual(pprof_check.total(profile), 7 + OTHERS)
                    sleepers = [sample for sample in profile.sample if "sleep_on" in profile.stack(sample)]
                    self.assertEqual([sample.value for sample in sleepers], [[7]])
                    self.assertEqual([(label.key, label.str) for label in sleepers[0].label], [("role", "sleeper")])
                    self.assertIn("sleep_on", harness.pprof("-traces", server.url(name)))

    def test_debug_1_begins_as_scripts_for_go_expect(self):
        with serve("sleepers", 5) as server:
            text = self.text(server, "goroutine?debug=1")
            self.assertEqual(text.split("\n")[0], f"goroutine profile: total {5 + OTHERS}")
            self.assertRegex(text, r'\n5 @ 0x[0-9a-f ]+x?.*\n# labels: \{"role":"sleeper"\}\n(?s:.*?)sleep_on')
            file = harness.BUILD / "goroutine.txt"
            file.write_text(text)
            self.assertRegex(harness.pprof("-raw", file), r"\n +5: [0-9 ]+\n")

    def test_debug_2_lists_each_thread_with_name_state_and_maker(self):
        with serve("sleepers", 3) as server:
            blocks = self.blocks(self.text(server, "goroutine?debug=2"))
            self.assertEqual(len(blocks), 3 + OTHERS)
            sleepers = [block for block in blocks.values() if "sleep_on" in block]
            self.assertEqual(len(sleepers), 3)
            for block in sleepers:
                self.assertIn('[waiting labels:{"role": "sleeper"}]:', block)
                self.assertRegex(block, r'# name "sleeper", state S, cpu \d+\.\d{3} s')
                self.assertRegex(block, r"created in thread \d+ by (?s:.*)make_sleepers")

    def test_a_deadlock_is_shown_while_it_hangs(self):
        with serve("deadlock") as server:
            text = self.text(server, "threads?debug=2")
            circle = re.search(r"^deadlock 1: thread (\d+) waits for the mutex (0x[0-9a-f]+) of thread (\d+), "
                               r"thread (\d+) waits for the mutex (0x[0-9a-f]+) of thread (\d+)$", text, re.M)
            self.assertIsNotNone(circle, text)
            self.assertEqual(circle[1], circle[6])
            self.assertEqual(circle[3], circle[4])
            self.assertNotEqual(circle[2], circle[5])
            blocks = self.blocks(text)
            stacks = blocks[int(circle[1])] + blocks[int(circle[3])]
            self.assertIn("first_then_second", stacks)
            self.assertIn("second_then_first", stacks)
            self.assertEqual(stacks.count("deadlock 1"), 2)

    def test_threads_that_cannot_answer_are_named_with_the_reason(self):
        with serve("deaf") as server:
            began = time.monotonic()
            text = self.text(server, "threads?debug=2")
            self.assertLess(time.monotonic() - began, 2)
            for name, reason in (("blocks", "it blocks the signal"), ("awaits", "it waits for signals itself"), ("stopped", "it is stopped"),
                                 ("vforks", "it sleeps uninterruptibly")):
                with self.subTest(thread=name):
                    self.assertRegex(text, rf'# name "{name}", state \w.*, no stack: {reason}\n')
            self.assertIn("sleep_on", text)
            total = pprof_check.total(pprof_check.parse(server.get("threads")))
            self.assertGreaterEqual(total, 9)
            self.assertIsNone(server.process.poll())  # nobody was woken by a signal of ours

    def test_threads_that_hold_the_loaders_locks_are_shown(self):
        """dlopen's in a constructor, and that of dl_iterate_phdr in a callback: nobody may wait for either."""
        library = harness.build(["hanging_library.cpp"], "hanging_library.so", flags=["-shared", "-fPIC"])
        with serve("loader", library) as server:
            for path in ("threads?debug=2", "goroutine?debug=1", "status", "threads?debug=2"):
                with self.subTest(path=path):
                    began = time.monotonic()
                    text = self.text(server, path)
                    self.assertLess(time.monotonic() - began, 2)
                    for function in ("load_for_ever", "hang_in_constructor", "call_back_for_ever", "print_for_ever"):
                        self.assertTrue(path == "status" or function in text, f"{function} in {text}")
            self.assertNotIn("no stack", text)

    def test_a_thousand_threads_answer(self):
        with serve("sleepers", 1000) as server:
            text = self.text(server, "goroutine?debug=2")
            self.assertEqual(text.count("\nsleep_on\n"), 1000)
            self.assertEqual(pprof_check.find(pprof_check.parse(server.get("goroutine")), "^sleep_on$"), 1000)

    def test_two_dumps_at_once_are_both_whole(self):
        with serve("sleepers", 100) as server:
            dumps = harness.in_parallel(lambda _: server.get("threads?debug=1"), range(6))
            for dump in dumps:
                total = int(re.match(rb"threads profile: total (\d+)\n", dump).group(1))
                self.assertEqual(sum(map(int, re.findall(rb"(?m)^(\d+) @ ", dump))), total)
                self.assertIn(b"\n100 @ ", dump)
                self.assertIn(total - 100 - OTHERS, range(len(dumps)))  # a worker for each dump at most

    def test_those_that_wait_long_are_found_by_their_wait(self):
        with serve("waiters", 3) as server:
            self.assertNotIn("wait_for_condition", self.text(server, "threads?min_wait=100&debug=2"))
            time.sleep(1.2)
            text = self.text(server, "threads?min_wait=1&debug=2")
            self.assertEqual(text.count("\nwait_for_condition\n"), 3)
            self.assertRegex(text, r"\[cond\]:\n# name .*, waits for cond 0x[0-9a-f]+ since 1\.\d{3} s")
            profile = pprof_check.parse(server.get("threads?min_wait=1"))
            self.assertEqual(pprof_check.find(profile, "^wait_for_condition$"), 3)

    def test_threadcreate_says_who_made_the_threads_there_are(self):
        with serve("sleepers", 4) as server:
            profile = pprof_check.parse(server.get("threadcreate"))
            self.assertEqual(pprof_check.validate(profile, "threadcreate"), [])
            self.assertEqual(pprof_check.find(profile, "^make_sleepers$"), 4)
            self.assertEqual(pprof_check.total(profile), 4 + OTHERS)
            self.assertIn(f"{4 + OTHERS - 1} threads were created in all", profile.comment)

    def test_leaked_threads_are_those_that_ended_and_were_not_joined(self):
        with serve("leaked", 5) as server:
            profile = pprof_check.parse(server.get("threadcreate?leak=1"))
            self.assertEqual(pprof_check.find(profile, "^make_leaked$"), 5)
            self.assertEqual(pprof_check.total(profile), 5)


if __name__ == "__main__":
    unittest.main()
