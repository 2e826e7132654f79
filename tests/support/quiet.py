"""Tests whose figures need a machine that does nothing else: a failure counts only where it was quiet.

Such a test runs as any other. Where it fails while others had the processors, it waits for quiet, runs again and is
judged then; where there is none, `not judged` and why is printed, which tools/test counts. No bound is weaker for it.
"""

import functools
import os
import time

LOOK_SECONDS = 0.5
WAIT_SECONDS = 30
QUIET = 0.1  # of all processors' time, what others may use; /proc/stat counts in ticks


def busy_seconds():
    """What all processors did since the start of the machine, stolen time with it; see proc(5)."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Watch:
    """How much of the machine others than this test and its ended children use from here on."""

    def __init__(self):
        self.began, self.busy, self.own = time.monotonic(), busy_seconds(), sum(os.times()[:4])

    def share_of_others(self):
        elapsed = (time.monotonic() - self.began) * (os.cpu_count() or 1)
        others = busy_seconds() - self.busy - (sum(os.times()[:4]) - self.own)
        return max(0.0, others / elapsed)


def becomes_quiet():
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        watch = Watch()
        time.sleep(LOOK_SECONDS)
        if watch.share_of_others() < QUIET:
            return True
    return False


def needs_quiet(check):
    """For a method of a TestCase that raises what it finds: none with sub-tests, which keep it to themselves."""
    @functools.wraps(check)
    def judged(self, *arguments, **options):
        for attempt in (1, 2):
            watch = Watch()
            try:
                return check(self, *arguments, **options)
            except self.failureException as failure:
                others, found = watch.share_of_others(), failure
                if others < QUIET:
                    raise
            if attempt == 2 or not becomes_quiet():
                break
        print(f"\nnot judged: {self.id()}: others used {100 * others:.0f} % of the machine, and {found}")
        return None
    return judged
