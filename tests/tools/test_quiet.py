#!/usr/bin/env python3
"""support/quiet.py: what fails on a quiet machine fails, what fails beside others is judged again or not at all."""

import contextlib
import io
import unittest
from unittest import mock

from support import quiet


class NeedsQuiet(unittest.TestCase):
    def judge(self, outcomes, shares):
        """Runs a check that fails where `outcomes` says False, while others use `shares`; what it printed."""
        turns, used = iter(outcomes), iter(shares)

        def check(_):
            if not next(turns):
                raise self.failureException("a figure is off")

        said = io.StringIO()
        with mock.patch.object(quiet.Watch, "share_of_others", lambda _: next(used)), \
                mock.patch.object(quiet, "WAIT_SECONDS", 0.01), mock.patch.object(quiet, "LOOK_SECONDS", 0.02), \
                contextlib.redirect_stdout(said):
            quiet.needs_quiet(check)(self)
        return said.getvalue()

    def test_what_passes_passes_on_any_machine(self):
        self.assertEqual(self.judge([True], []), "")

    def test_a_failure_on_a_quiet_machine_counts(self):
        with self.assertRaisesRegex(AssertionError, "a figure is off"):
            self.judge([False], [0.0])

    def test_a_failure_beside_others_is_judged_again_once_it_is_quiet(self):
        self.assertEqual(self.judge([False, True], [0.9, 0.0]), "")
        with self.assertRaisesRegex(AssertionError, "a figure is off"):
            self.judge([False, False], [0.9, 0.0, 0.0])

    def test_without_quiet_it_is_not_judged_and_says_so(self):
        self.assertRegex(self.judge([False], [0.9, 0.9]), "^\nnot judged: .*others used 90 % .*a figure is off\n$")
        self.assertIn("\nnot judged: ", self.judge([False, False], [0.9, 0.0, 0.9]))

    def test_an_error_is_no_figure(self):
        def check(_):
            raise RuntimeError("it crashed")
        with mock.patch.object(quiet.Watch, "share_of_others", lambda _: 0.9), self.assertRaises(RuntimeError):
            quiet.needs_quiet(check)(self)

    def test_others_are_all_but_this_test(self):
        watch = quiet.Watch()
        end = watch.began + 0.5
        while quiet.time.monotonic() < end:
            pass
        with_own = (quiet.busy_seconds() - watch.busy) / (0.5 * (quiet.os.cpu_count() or 1))
        self.assertLess(watch.share_of_others(), with_own)


if __name__ == "__main__":
    unittest.main()
