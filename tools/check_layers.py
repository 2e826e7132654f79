#!/usr/bin/env python3
"""Checks the rules of the house over include/prof: floors, contracts, guards, macros, tests.

    tools/check_layers.py          exit 1 and explain when a rule is broken

Each rule is one function below, with the reason in its failure text.
"""

import argparse
import pathlib
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional

from amalgamate import Line, directive_at, find_guard, include_at, scan

# A folder is a floor. "" is include/prof itself, whose few files are placed one by one.
FLOOR_OF_FOLDER = {
    "base": 2,
    "os": 3,
    "unwind": 4,
    "code": 5,
    "profile": 6,
    "process": 7,
    "sample": 8,
    "hook": 9,
    "symbol": 9,
    "write": 9,
    "part": 10,
    "collect": 11,
    "http": 12,
    "ship": 13,
}
FLOOR_OF_FILE = {"config.hpp": 1, "prof.hpp": 14, "api.hpp": 14, "annotate.hpp": 14}

# Files of these folders may include each other, without loops. Samplers and writers may not: that
# is what lets one be added or switched off without opening another. Folders of one floor never know each other.
FOLDERS_WITH_SIBLINGS = {
    "", "base", "os", "unwind", "code", "profile", "process", "hook", "symbol", "collect", "http",
}

# Lower floors that a folder nevertheless never includes: a feature must show in the profiles' list, in
# the status and on the pages without a line there that knows it.
CLOSED_TO = {
    "collect": ("sample", "hook", "part"),
    "http": ("process", "sample", "hook", "symbol", "write", "part"),
}

READERS_OF_SWITCHES = {"config.hpp", "prof.hpp"}
SWITCH = re.compile(r"\b(?:PROF_ENABLE_[A-Z0-9_]+|PROF_HOOKS)\b")

OS_HEADER = re.compile(
    r"(?:sys|linux|asm|net|netinet|arpa)/.+"
    r"|(?:unistd|pthread|fcntl|signal|dlfcn|link|elf|poll|ucontext|time|errno|sched|semaphore"
    r"|netdb|dirent|spawn)\.h"
    r"|csignal|cerrno|ctime"
)

CONTRACT_LINES = 12


class Failure(NamedTuple):
    where: str  # file:line
    what: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  why:  {self.why}\n  mend: {self.mend}"


class Header:
    """One file of include/prof, read once."""

    def __init__(self, path: str, text: str):
        self.path = path  # base/result.hpp
        self.lines: List[Line] = scan(text)
        folder, _, name = path.rpartition("/")
        self.folder, self.name = folder, name
        self.floor: Optional[int] = FLOOR_OF_FOLDER.get(folder)
        if not folder:
            self.floor = FLOOR_OF_FILE.get(name)

    def at(self, line: int) -> str:
        return f"include/prof/{self.path}:{line}"


class Tree(NamedTuple):
    root: pathlib.Path
    headers: Dict[str, Header]


def read_tree(root: pathlib.Path) -> Tree:
    base = root / "include/prof"
    headers = {}
    for file in sorted(base.rglob("*.hpp")):
        path = file.relative_to(base).as_posix()
        headers[path] = Header(path, file.read_text(encoding="utf-8", errors="replace"))
    return Tree(root, headers)


# ---- the rules ----


def every_file_has_a_floor(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        if header.floor is None:
            yield Failure(
                header.at(1),
                f'stands in "{header.folder or "include/prof itself"}", which has no floor',
                "the floor says what a header may include; a file outside the floors escapes it",
                f"move it to one of {', '.join(FLOOR_OF_FOLDER)}, or give its folder a floor in "
                "tools/check_layers.py and in include/prof/README.md",
            )


def includes_go_down(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        for line in header.lines:
            include = include_at(line)
            if include is None or not include.is_project or header.floor is None:
                continue
            yield from check_include(tree, header, line, include.name)


def check_include(tree: Tree, header: Header, line: Line, name: str) -> Iterator[Failure]:
    path = name[len("prof/") :] if name.startswith("prof/") else None
    target = tree.headers.get(path) if path is not None else None
    if target is None:
        yield Failure(
            header.at(line.number),
            f'includes "{name}", which is not a header of include/',
            "project headers are named by their full path, so that every copy of the tree, the "
            "single header among them, resolves them alike",
            'write it as in #include "prof/base/result.hpp", or <...> for a system header',
        )
    elif target.floor is None or target.floor < header.floor:
        return
    elif target.floor > header.floor:
        yield Failure(
            header.at(line.number),
            f"floor {header.floor} includes {path} of floor {target.floor}",
            "includes go down only; what goes up ties the lower part to its users",
            f"move what is needed to floor {max(header.floor - 1, 0)} or lower, or have "
            f"{path} hand it down as data or as a function pointer",
        )
    elif header.folder != target.folder:
        yield Failure(
            header.at(line.number),
            f"includes {path}, whose folder is on the same floor {header.floor}",
            "folders of one floor do not know each other: each can be changed without opening the other",
            "move what both need to a lower floor and include it from both",
        )
    elif header.folder not in FOLDERS_WITH_SIBLINGS:
        yield Failure(
            header.at(line.number),
            f"includes its sibling {path}, which floor {header.floor} forbids",
            "files of this floor are independent: each can be added, removed or switched off alone",
            "move what both need to a lower floor and include it from both",
        )


def features_are_reached_by_their_rows(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        for line in header.lines:
            include = include_at(line)
            folder = include.name.removeprefix("prof/").split("/")[0] if include else ""
            if folder not in CLOSED_TO.get(header.folder, ()):
                continue
            yield Failure(
                header.at(line.number),
                f"{header.folder}/ includes {include.name}, which {header.folder}/ must not know",
                f"with an include of {folder}/ each new feature would have to be added to {header.folder}/ too",
                "have the feature's descriptor hand it up as a row or as a function, see part.hpp, "
                "or, for pages, call what collect/ offers",
            )


def siblings_have_no_loops(tree: Tree) -> Iterator[Failure]:
    done = set()

    def walk(header: Header, chain: List[str]) -> Iterator[Failure]:
        for line in header.lines:
            include = include_at(line)
            path = include.name[len("prof/") :] if include and include.is_project else None
            target = tree.headers.get(path) if path else None
            if target is None or target.folder != header.folder:
                continue
            if target.path in chain:
                loop = " -> ".join(chain[chain.index(target.path) :] + [target.path])
                yield Failure(
                    header.at(line.number),
                    f"closes an include loop: {loop}",
                    "with a loop the order of declarations depends on who is included first",
                    "move what both need to a third header",
                )
            elif target.path not in done:
                yield from walk(target, chain + [target.path])
        done.add(header.path)

    for header in tree.headers.values():
        if header.path not in done:
            yield from walk(header, [header.path])


def os_headers_stay_in_os(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        if header.folder == "os":
            continue
        for line in header.lines:
            include = include_at(line)
            if include is None or include.quoted or not OS_HEADER.fullmatch(include.name):
                continue
            yield Failure(
                header.at(line.number),
                f"includes <{include.name}>, a header of the operating system",
                "only os/ knows the system; that makes a port one file and the rest testable",
                'include "prof/os/os.hpp" and add the call you need to its contract; errno too is '
                "read through it",
            )


def headers_open_with_a_contract(tree: Tree) -> Iterator[Failure]:
    why = "a reader must learn from the first lines what the file is for and where it may run"
    for header in tree.headers.values():
        if header.floor is None:
            continue
        head = header.lines[:CONTRACT_LINES]
        if not head[0].text.startswith("//"):
            yield Failure(
                header.at(1),
                "does not open with its contract comment",
                why,
                "begin the file with `// prof/<path> - <purpose>.`, then `// Floor N. ...` and "
                "`// Safety: ...`",
            )
        comments = [line for line in head if line.text.lstrip().startswith("//")]
        yield from check_floor_line(header, comments, why)
        if not any("Safety:" in line.text for line in comments):
            yield Failure(
                header.at(1),
                f"has no `Safety:` in the comments of its first {CONTRACT_LINES} lines",
                why,
                "say which functions may run in a signal handler, inside malloc, or on any thread",
            )


def check_floor_line(header: Header, comments: List[Line], why: str) -> Iterator[Failure]:
    for line in comments:
        match = re.search(r"\bFloor (\d+)\b", line.text)
        if match is None:
            continue
        if int(match[1]) != header.floor:
            yield Failure(
                header.at(line.number),
                f"says Floor {match[1]}, its folder is floor {header.floor}",
                "the comment and the folder must tell the same story",
                f"write Floor {header.floor}, or move the file",
            )
        return
    yield Failure(
        header.at(1),
        f"has no `Floor {header.floor}` in the comments of its first {CONTRACT_LINES} lines",
        why,
        f"add a line `// Floor {header.floor}. Called by ...`",
    )


def guards_are_named_by_path(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        wanted = "PROF_" + re.sub(r"[^A-Za-z0-9]", "_", header.path).upper()
        guard = find_guard(header.lines)
        if guard is not None and guard.name == wanted:
            continue
        found = f"has the guard {guard.name}" if guard else "has no include guard around all code"
        yield Failure(
            header.at(guard.opens + 1 if guard else 1),
            f"{found}, not {wanted}",
            "two headers with one guard hide each other, and both single headers rely on guards",
            f"open with `#ifndef {wanted}` / `#define {wanted}`, close with `#endif` as the last "
            "directive, no code outside",
        )


def sources_are_ascii(tree: Tree) -> Iterator[Failure]:
    include = tree.root / "include"
    for file in sorted(path for path in include.rglob("*") if path.is_file()):
        for number, line in enumerate(file.read_bytes().split(b"\n"), start=1):
            if line.isascii():
                continue
            column = next(i for i, byte in enumerate(line, start=1) if byte > 127)
            yield Failure(
                f"{file.relative_to(tree.root).as_posix()}:{number}",
                f"has a byte that is not ASCII in column {column}",
                "compilers and editors of our users disagree about encodings",
                "use plain quotes, hyphens and spaces; in literals write \\xNN or \\uNNNN",
            )


def switches_are_read_in_one_place(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        if header.path in READERS_OF_SWITCHES:
            continue
        for line in header.lines:
            match = SWITCH.search(line.code)
            if match is None:
                continue
            yield Failure(
                header.at(line.number),
                f"reads {match[0]}",
                "files of one program may be built with different switches; code whose tokens "
                "depend on a switch then breaks the one-definition rule",
                "put the code that is optional in a header of its own and let prof.hpp include it "
                "under the switch; reach it through a weak descriptor",
            )


def macros_have_our_prefix(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        for index, line in enumerate(header.lines):
            keyword, argument = directive_at(header.lines, index)
            name = re.match(r"\w*", argument)
            if keyword != "define" or name is None or name[0].startswith("PROF_"):
                continue
            yield Failure(
                header.at(line.number),
                f"defines the macro {name[0]}",
                "a macro has no namespace; without our prefix it changes the code of our users",
                f"use a constexpr or an inline function, or name it PROF_DETAIL_{name[0].upper()}",
            )


def every_header_has_a_test(tree: Tree) -> Iterator[Failure]:
    for header in tree.headers.values():
        if header.folder not in FLOOR_OF_FOLDER:
            continue
        test = f"tests/unit/{header.path[: -len('.hpp')]}_test.cpp"
        if (tree.root / test).is_file():
            continue
        yield Failure(
            header.at(1),
            f"has no test {test}",
            "tests mirror the headers, so that nobody has to search for the proof of a header",
            f'add {test}; its first include is "prof/{header.path}", which also proves that the '
            "header stands alone",
        )


RULES = (
    every_file_has_a_floor,
    includes_go_down,
    features_are_reached_by_their_rows,
    siblings_have_no_loops,
    os_headers_stay_in_os,
    headers_open_with_a_contract,
    guards_are_named_by_path,
    sources_are_ascii,
    switches_are_read_in_one_place,
    macros_have_our_prefix,
    every_header_has_a_test,
)


def check(root: pathlib.Path) -> List[Failure]:
    tree = read_tree(root)
    return [failure for rule in RULES for failure in rule(tree)]


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Checks the rules of the house in include/prof.")
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parent.parent,
        help="the checkout to check (default: the one this script is in)",
    )
    options = parser.parse_args(arguments)
    count = len(read_tree(options.root).headers)
    if count == 0:
        print(f"{options.root}/include/prof: holds no header, so nothing was checked")
        print("  why:  a check that sees nothing must not pass")
        print("  mend: give --root the checkout that has include/prof")
        return 1
    failures = check(options.root)
    for failure in failures:
        print(failure)
    print(f"check_layers: {count} headers, {len(RULES)} rules, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
