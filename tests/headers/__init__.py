"""What a user's file gets when it includes prof."""

import pathlib

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs"
