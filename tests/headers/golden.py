"""What an include of prof brings into a user's file besides prof: macros and system headers.

The lists are in tests/golden; test_golden.py compares, `cd tests && python3 -m headers.golden` writes them.
"""

import re

from support.compiling import FACADES, TREES, Job, compile_one, include
from support.harness import ROOT

GOLDEN = ROOT / "tests" / "golden"
UPDATE = "cd tests && python3 -m headers.golden"
HTTP = "-DPROF_ENABLE_HTTP"
DEFAULT_OFF = ("PROF_ENABLE_BLOCK_SYSCALLS", "PROF_ENABLE_HTTP")
TITLES = {
    "macros": "Macros that #include <prof/{}.hpp> leaves defined, beyond those of the system headers.",
    "includes": "System headers that <prof/{}.hpp> includes itself.",
}


def preprocess(compiler, tree, source, *flags):
    job = Job(compiler, source, ("-std=c++17", "-pthread", "-I", TREES[tree], "-E", *flags))
    outcome = compile_one(job)
    if outcome.code != 0:
        raise RuntimeError(f"cannot preprocess: {outcome.explain()}")
    return outcome.words


def includes(compiler, tree, facade, *flags):
    """The system headers that files of the tree name in an #include which the preprocessor meets."""
    text = preprocess(compiler, tree, include(facade), "-dI", *flags)
    found, file = set(), ""
    for line in text.splitlines():
        marker = re.match(r'# \d+ "(.*?)"', line)
        name = re.match(r"#\s*include(?:_next)?\s*<(.+?)>", line)
        if marker:
            file = marker[1]
        elif name and file.startswith(str(TREES[tree])) and not name[1].startswith("prof/"):
            found.add(name[1])
    return found


def defined(compiler, tree, source, *flags):
    """{name: definition} of all macros that are defined at the end of the source."""
    text = preprocess(compiler, tree, source, "-dM", *flags)
    return {re.match(r"\w+", line)[0]: line
            for line in re.findall(r"^#define (.*)$", text, re.M)}


class Macros:
    """The macros at the end of a file that includes the facade, against one that does not."""

    def __init__(self, compiler, tree, facade, *flags):
        system = "".join(f"#include <{name}>\n"
                         for name in sorted(includes(compiler, tree, facade, *flags)))
        without = defined(compiler, tree, system)
        with_prof = defined(compiler, tree, system + include(facade), *flags)
        self.leaked = set(with_prof) - set(without)
        self.changed = {name for name in without if with_prof.get(name) != without[name]}


def macros(compiler, tree, facade, *flags):
    return Macros(compiler, tree, facade, *flags).leaked


FINDERS = {"macros": macros, "includes": includes}


def text_of(kind, facade, compiler="g++", tree="include"):
    """What the golden file must say."""
    find = FINDERS[kind]
    plain = find(compiler, tree, facade)
    lines = [f"# {TITLES[kind].format(facade)}", f"# Written by: {UPDATE}", "", "[default switches]", *sorted(plain)]
    for switch in DEFAULT_OFF:
        more = find(compiler, tree, facade, f"-D{switch}") - plain
        lines += ["", f"[added by {switch}]", *sorted(more)]
    return "\n".join(lines) + "\n"


def path_of(kind, facade):
    return GOLDEN / f"{kind}_{facade}.txt"


def names_in(path):
    """All names of a golden file, of both sections."""
    return {line for line in path.read_text(encoding="ascii").splitlines()
            if line and line[0] not in "#["}


def update():
    GOLDEN.mkdir(exist_ok=True)
    for kind in FINDERS:
        for facade in FACADES:
            path_of(kind, facade).write_text(text_of(kind, facade), encoding="ascii")
            print(f"wrote {path_of(kind, facade).relative_to(ROOT)}")


if __name__ == "__main__":
    update()
