#!/usr/bin/env python3
"""The unwinder on real code: at every instruction, and by timer in threads. All tests of this directory.

    tests/unwind/test_unwind.py [-v] [NAME...]    e.g. test_timer, test_single_step
"""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]


def main(arguments):
    options = [word for word in arguments if word.startswith("-")]
    names = [word for word in arguments if not word.startswith("-")] or sorted(
        path.stem for path in HERE.glob("test_*.py") if path.stem != "test_unwind")
    return unittest.main(module=None, argv=[sys.argv[0], *options, *names])


if __name__ == "__main__":
    main(sys.argv[1:])
