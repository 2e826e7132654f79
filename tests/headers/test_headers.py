#!/usr/bin/env python3
"""What a user's file gets when it includes prof: all tests of this directory.

    tests/headers/test_headers.py [-v] [NAME...]    e.g. test_golden, test_warnings.Warnings
    tests/headers/test_headers.py --update          rewrites tests/golden

compiling.py says which environment variables choose compilers and headers.
"""

import pathlib
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]  # e2e has pprof_check




def main(arguments):
    if arguments == ["--update"]:
        import golden
        return golden.update()
    options = [word for word in arguments if word.startswith("-")]
    names = [word for word in arguments if not word.startswith("-")] or sorted(
        path.stem for path in HERE.glob("test_*.py") if path.stem != "test_headers")
    return unittest.main(module=None, argv=[sys.argv[0], *options, *names])


if __name__ == "__main__":
    main(sys.argv[1:])
