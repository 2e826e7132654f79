#!/usr/bin/env python3
"""Writes single_include/prof/*.hpp from include/prof/*.hpp.

    tools/amalgamate.py            write the single headers
    tools/amalgamate.py --check    exit 1 if they are not what this script would write

Vocabulary
    root    a header users include: prof.hpp, api.hpp. Each root becomes one single header.
    forward a former name of a root: its single header includes the root's.
    part    a project header. Included as "prof/x.hpp" or <prof/x.hpp>, always from include/.
    place   the conditions (#if ...) under which an #include is seen, from the root down. The
            include guard of a part is no condition.

Rules
    1. Parts are emitted once per single header, where the preprocessor first meets them.
       Exception: what a part includes before any other code is emitted ahead of that part
       and not inside its guard; the compiler sees the same order.
    2. A part first met under conditions stays under them. Whoever includes it later must be under
       the same conditions or narrower ones; else the part is missing when the switch is off.
    3. Every part keeps its include guard, so that prof.hpp and api.hpp, which carry the same
       parts, can be included together in any order.
    4. System includes without conditions move to the top, sorted, once. The others stay.
    5. The output depends on the sources only: no date, no hash, no absolute path.
"""

import argparse
import difflib
import pathlib
import re
import sys
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

ROOTS = ("prof/prof.hpp", "prof/api.hpp")
FORWARDS = {"prof/annotate.hpp": "prof/api.hpp"}
DIFF_LINES = 40
MEND_COMMAND = "python3 tools/amalgamate.py"

Place = FrozenSet[str]


class SourceError(Exception):
    """What is wrong, where, why it matters, and how to mend it."""

    def __init__(self, where: str, what: str, why: str, mend: str):
        super().__init__(f"{where}: {what}\n  why:  {why}\n  mend: {mend}")


# ---- reading C++ line by line ----


class Line(NamedTuple):
    number: int
    text: str  # as written
    code: str  # comments and the contents of literals blanked out
    fresh: bool  # starts in code: not in a comment, raw string or continued line


TOKEN = re.compile(
    r"""(?P<number>\.?\d(?:'?[\w.])*)            # first, for the ' in 1'000
      | (?P<raw>(?:u8|[uUL])?R"(?P<delimiter>[^()\\\s]{0,16})\()
      | (?P<word>[A-Za-z_]\w*)
      | (?P<line_comment>//)
      | (?P<block_comment>/\*)
      | (?P<literal>"(?:\\.|[^"\\])*(?:"|$)|'(?:\\.|[^'\\])*(?:'|$))
      | (?P<other>.)""",
    re.VERBOSE,
)


def scan(text: str) -> List[Line]:
    """Splits a source into lines and tells code from comments and literals."""
    lines = []
    closer: Optional[str] = None  # what ends the open block comment or raw string
    comment_goes_on = False  # a // comment that ends in a backslash
    continued = False
    for number, raw in enumerate(text.split("\n"), start=1):
        fresh = closer is None and not continued
        code = []
        at = len(raw) if comment_goes_on else 0
        while at < len(raw):
            if closer is not None:
                end = raw.find(closer, at)
                at = len(raw) if end < 0 else end + len(closer)
                closer = closer if end < 0 else None
                code.append(" ")
                continue
            token = TOKEN.match(raw, at)
            assert token is not None
            at = token.end()
            if token["raw"]:
                closer = ")" + token["delimiter"] + '"'
            elif token["block_comment"]:
                closer = "*/"
            elif token["line_comment"]:
                comment_goes_on = True
                break
            else:
                code.append('""' if token["literal"] else token.group())
        continued = raw.endswith("\\") and closer is None
        comment_goes_on = comment_goes_on and continued
        lines.append(Line(number, raw, "".join(code), fresh))
    return lines


DIRECTIVE = re.compile(r"\s*#\s*([a-z_]+)\b\s*(.*)")


def directive_at(lines: List[Line], index: int) -> Tuple[str, str]:
    """(name, argument) of the directive that starts at this line, ("", "") if none does."""
    line = lines[index]
    match = DIRECTIVE.match(line.code) if line.fresh else None
    if match is None:
        return "", ""
    argument = match[2]
    while argument.rstrip().endswith("\\") and index + 1 < len(lines):
        index += 1
        argument = argument.rstrip()[:-1] + " " + lines[index].code
    return match[1], " ".join(argument.split())


INCLUDE = re.compile(r'\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


class Include(NamedTuple):
    name: str
    quoted: bool

    @property
    def is_project(self) -> bool:
        return self.quoted or self.name.startswith("prof/")


def include_at(line: Line) -> Optional[Include]:
    """The include on this line; None for other lines and for computed includes."""
    match = INCLUDE.match(line.text) if line.fresh else None
    if match is None:
        return None
    return Include(match[1] or match[2], match[1] is not None)


class Guard(NamedTuple):
    name: str
    opens: int  # index of #ifndef; #define is the next directive
    defines: int
    closes: int  # index of #endif


def find_guard(lines: List[Line]) -> Optional[Guard]:
    """The include guard, if it encloses all code of the file."""
    directives = [(i, *directive_at(lines, i)) for i in range(len(lines))]
    directives = [d for d in directives if d[1]]
    if len(directives) < 3:
        return None
    (opens, first, name), (defines, second, defined) = directives[0], directives[1]
    closes = directives[-1][0]
    if (first, second, directives[-1][1]) != ("ifndef", "define", "endif") or defined != name:
        return None
    depth = 0
    for index, keyword, _ in directives:
        depth += keyword in ("if", "ifdef", "ifndef")
        depth -= keyword == "endif"
        if depth == 0 and index != closes:
            return None
    outside = lines[:opens] + lines[closes + 1 :]
    if any(line.code.strip() for line in outside):
        return None
    return Guard(name, opens, defines, closes)


# ---- conditions ----


def conjuncts(condition: str) -> List[str]:
    """Splits `a && b` into [a, b]; anything more complicated stays one piece."""
    if "||" in condition or "?" in condition:
        return [condition]
    pieces, depth, start = [], 0, 0
    for at, character in enumerate(condition):
        depth += (character == "(") - (character == ")")
        if depth == 0 and condition.startswith("&&", at):
            pieces.append(condition[start:at].strip())
            start = at + 2
    return pieces + [condition[start:].strip()]


def negation(branch: List[str]) -> str:
    """What holds in the branches after this one, spelled so that #else meets `#if !X`."""
    text = " && ".join(branch)
    if re.fullmatch(r"\w+|defined\(\w+\)", text):
        return "!" + text
    if re.fullmatch(r"!(\w+|defined\(\w+\))", text):
        return text[1:]
    return f"!({text})"


class Conditions:
    """Follows #if / #elif / #else / #endif and knows the place they make."""

    def __init__(self) -> None:
        self._open: List[Tuple[List[str], List[str]]] = []  # (branches passed, branch we are in)

    def feed(self, name: str, argument: str) -> None:
        if name in ("ifdef", "ifndef"):
            argument = ("" if name == "ifdef" else "!") + f"defined({argument})"
            self._open.append(([], [argument]))
        elif name == "if":
            argument = re.sub(r"\bdefined (\w+)", r"defined(\1)", argument)
            self._open.append(([], conjuncts(argument)))
        elif name in ("elif", "else") and self._open:
            passed, current = self._open.pop()
            passed = passed + [negation(current)]
            self._open.append((passed, conjuncts(argument) if name == "elif" else []))
        elif name == "endif" and self._open:
            self._open.pop()

    def place(self) -> Place:
        return frozenset(c for passed, current in self._open for c in passed + current)


def spell(place: Place) -> str:
    return "`#if " + " && ".join(sorted(place)) + "`" if place else "no condition"


# ---- assembling ----


class Part(NamedTuple):
    path: str  # prof/base/result.hpp
    lines: List[Line]
    guard: Guard


class Met(NamedTuple):
    where: str
    place: Place


def load_part(include_dir: pathlib.Path, path: str, where: str) -> Part:
    file = include_dir / path
    if not file.is_file():
        raise SourceError(
            where,
            f'includes "{path}", which is not in include/',
            "project headers are looked up from include/ only, and the single header has no other "
            "file to fall back on",
            'write the full path, as in #include "prof/base/result.hpp", or add the header',
        )
    lines = scan(file.read_text(encoding="utf-8").rstrip("\n"))
    guard = find_guard(lines)
    if guard is None:
        raise SourceError(
            f"include/{path}:1",
            "has no include guard around all of its code",
            "prof.hpp and api.hpp carry the same parts and may meet in one file",
            "open with #ifndef PROF_<FOLDER>_<NAME>_HPP / #define, close with #endif as the last "
            "line, and keep every other directive between them",
        )
    return Part(path, lines, guard)


class Assembler:
    """Makes one single header out of one root."""

    def __init__(self, include_dir: pathlib.Path):
        self._include_dir = include_dir
        self._met: Dict[str, Met] = {}
        self._chain: List[str] = []
        self._system: set = set()
        self._body: List[str] = []
        self._frame: Optional[str] = None  # the part whose lines come right now
        self._framed: set = set()

    def assemble(self, root: str, banner: List[str]) -> str:
        self._visit(root, f"include/{root}:1", frozenset())
        system = [f"#include <{name}>" for name in sorted(self._system)]
        lines = banner + [""] + system + ([""] if system else []) + self._body
        return "\n".join(lines).rstrip("\n") + "\n"

    def _visit(self, path: str, where: str, place: Place) -> None:
        if path in self._chain:
            loop = " -> ".join(self._chain[self._chain.index(path) :] + [path])
            raise SourceError(
                where,
                f"closes an include loop: {loop}",
                "no order of the parts can satisfy it",
                "move what both need to a lower header that both include",
            )
        if path in self._met:
            self._check_reachable(path, where, place)
            return
        part = load_part(self._include_dir, path, where)
        self._met[path] = Met(where, place)
        self._chain.append(path)
        self._emit(part, place)
        self._chain.pop()

    def _check_reachable(self, path: str, where: str, place: Place) -> None:
        first = self._met[path]
        if first.place <= place:
            return
        raise SourceError(
            where,
            f'includes "{path}" under {spell(place)}, but it was first met at {first.where} '
            f"under {spell(first.place)}",
            "the single header carries each part once, where it is first met; with that condition "
            "false the part would be missing here",
            f'include "{path}" before that conditional, where the condition does not apply '
            f"(for a facade: add the line above the #if at or around {first.where}, or in a "
            "header included there)",
        )

    def _emit(self, part: Part, place: Place) -> None:
        for index in self._leading_includes(part):
            self._include(part, index, place)
        conditions = Conditions()
        for index, line in enumerate(part.lines):
            name, argument = directive_at(part.lines, index)
            if index not in (part.guard.opens, part.guard.closes):
                conditions.feed(name, argument)
            here = place | conditions.place()
            if include_at(line) is None or self._stays(line, here):
                self._write(part.path, line)
            else:
                self._include(part, index, here)
        self._frame = None

    @staticmethod
    def _stays(line: Line, place: Place) -> bool:
        include = include_at(line)
        return include is not None and not include.is_project and bool(place)

    def _leading_includes(self, part: Part) -> List[int]:
        """Indices of the includes that stand before any other code of the part."""
        found = []
        for index in range(part.guard.defines + 1, part.guard.closes):
            if include_at(part.lines[index]) is not None:
                found.append(index)
            elif part.lines[index].code.strip():
                break
        return found

    def _include(self, part: Part, index: int, place: Place) -> None:
        line = part.lines[index]
        include = include_at(line)
        assert include is not None
        if include.is_project:
            self._visit(include.name, f"include/{part.path}:{line.number}", place)
        elif not place:
            self._system.add(include.name)

    def _write(self, path: str, line: Line) -> None:
        blank = line.fresh and not line.text.strip()
        if blank and (self._frame != path or not self._body[-1]):
            return  # removed includes leave no runs of empty lines behind
        if self._frame != path:
            if self._body and self._body[-1]:
                self._body.append("")
            again = " (continued)" if path in self._framed else ""
            self._body.append(f"// ---- {path}{again} ----")
            self._framed.add(path)
            self._frame = path
        self._body.append("" if blank else line.text)


# ---- the files ----


def read_version(include_dir: pathlib.Path) -> str:
    config = include_dir / "prof/config.hpp"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    numbers = []
    for name in ("MAJOR", "MINOR", "PATCH"):
        match = re.search(rf"^\s*#\s*define\s+PROF_VERSION_{name}\s+(\d+)\b", text, re.MULTILINE)
        if match is None:
            raise SourceError(
                "include/prof/config.hpp:1",
                f"does not define PROF_VERSION_{name} as a number",
                "the banner and the packages read the version there and nowhere else",
                f"add a line such as `#define PROF_VERSION_{name} 0`",
            )
        numbers.append(match[1])
    return ".".join(numbers)


def banner(root: str, version: str) -> List[str]:
    return [
        f"// {root}, version {version}, in one file.",
        "// Generated by tools/amalgamate.py from include/prof. Do not edit: change the parts there",
        f"// and run `{MEND_COMMAND}`.",
        "//",
        "// SPDX-License-Identifier: Apache-2.0",
    ]


def generate(root_dir: pathlib.Path) -> Dict[pathlib.Path, str]:
    """The single headers: path -> text. What does not exist is left out, but for prof.hpp."""
    include_dir = root_dir / "include"
    version = read_version(include_dir)
    wanted = [root for root in ROOTS if (include_dir / root).is_file()]
    if ROOTS[0] not in wanted:
        raise SourceError(
            f"include/{ROOTS[0]}:1",
            "does not exist",
            "it is the facade that the single header is made from",
            "add it, or give --root the checkout that has it",
        )
    outputs = {root: Assembler(include_dir).assemble(root, banner(root, version)) for root in wanted}
    for name, root in FORWARDS.items():
        if (include_dir / name).is_file() and root in wanted:
            outputs[name] = "\n".join([*banner(name, version), "", f"#include <{root}>", ""])
    return {root_dir / "single_include" / name: text for name, text in outputs.items()}


def check(root_dir: pathlib.Path, outputs: Dict[pathlib.Path, str]) -> bool:
    fresh = True
    for path, wanted in outputs.items():
        name = path.relative_to(root_dir).as_posix()
        found = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        if found == wanted:
            continue
        fresh = False
        print(f"{name}: {'is stale' if path.is_file() else 'is missing'}")
        diff = list(
            difflib.unified_diff(
                found.splitlines(), wanted.splitlines(), name, name + " (generated)", lineterm=""
            )
        )
        print("\n".join(diff[:DIFF_LINES]))
        if len(diff) > DIFF_LINES:
            print(f"... and {len(diff) - DIFF_LINES} more lines")
    if not fresh:
        print("\n  why:  the single headers are generated from include/prof and must say the same")
        print(f"  mend: edit include/prof only, then run: {MEND_COMMAND}")
    return fresh


def main(arguments: Optional[List[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Writes the single headers from include/prof.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when stale")
    parser.add_argument(
        "--root",
        type=pathlib.Path,
        default=pathlib.Path(__file__).resolve().parent.parent,
        help="the checkout to work on (default: the one this script is in)",
    )
    options = parser.parse_args(arguments)
    try:
        outputs = generate(options.root)
    except SourceError as error:
        print(error)
        return 1
    if options.check:
        return 0 if check(options.root, outputs) else 1
    for path, text in outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))
        print(f"wrote {path.relative_to(options.root)} ({text.count(chr(10))} lines)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
