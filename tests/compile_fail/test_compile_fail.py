#!/usr/bin/env python3
"""What must not compile does not, and the compiler's words lead to the mistake.

    cd tests && python3 -m unittest compile_fail.test_compile_fail

Each case is a file in two forms, compiled with each compiler: the right form must compile, so that the
wrong one cannot fail for another reason; the wrong form must fail with one error and the case's text in
the compiler's words. Where the switches are the default ones the header is precompiled, which saves
half of the time.
"""

import itertools
import os
import pathlib
import re
import tempfile
import unittest
from typing import NamedTuple

from support.compiling import Job, compile_one
from support.harness import COMPILERS, TREE, command, in_parallel

INCLUDE = '#include "prof/prof.hpp"\n'
SWITCHES = ("BLOCK", "BLOCK_SYSCALLS", "CPU", "HEAP", "HTTP", "MUTEX", "SYMBOLIZE", "THREADS")
NOT_YET = ("ENV", "METRICS", "PUSH", "TRACE", "UI")
SINK = "if (!prof::write_heap_profile({})) return 1;"


class Case(NamedTuple):
    rule: str
    wrong: str
    right: str
    words: str  # in the compiler's message for the wrong form


def config(rule, wrong, right, words):
    return Case(rule, f"#define PROF_{wrong}\n{INCLUDE}", f"#define PROF_{right}\n{INCLUDE}", words)


def switch(name, wrong, right):
    return config("a switch is empty, 0 or 1", f"ENABLE_{name} {wrong}", f"ENABLE_{name} {right}",
                  f"PROF_ENABLE_{name} must be empty or 1 (on) or 0 (off)")


def absent(name, wrong):
    return config("a part that this version does not have may be off, never on", f"ENABLE_{name} {wrong}",
                  f"ENABLE_{name} 0", f"PROF_ENABLE_{name}: not available in this version")


def call(rule, wrong, right, words):
    frame = ("#include <string>\n#include <utility>\n" + INCLUDE +
             "int main() {{\n  std::string text;\n  {}\n  return static_cast<int>(text.size());\n}}\n")
    return Case(rule, frame.format(wrong), frame.format(right), words)


def sink(rule, wrong, right, words):
    return call(rule, SINK.format(wrong), SINK.format(right), words)


# The host's own allocator functions, which belong into another file than one that includes prof.
OWN_ALLOCATOR = ("void* operator new(std::size_t) { throw 1; }\n", "void operator delete(void*) noexcept {}\n",
                 'extern "C" void* malloc(std::size_t) noexcept { return nullptr; }\n',
                 'extern "C" void free(void*) noexcept {}\n')

CONFIG_CASES = (
    switch("CPU", "yes", ""), switch("HEAP", "3", "0"), switch("HTTP", "2", "1"), switch("SYMBOLIZE", "true", "0"),
    config("a hook style is one of three words", "HOOKS bogus", "HOOKS interpose",
           "PROF_HOOKS must be interpose, wrap or none"),
    config("link-time wrapping is not in this version", "HOOKS wrap", "HOOKS none",
           "PROF_HOOKS=wrap: not available in this version"),
    config("a host may ask for a version; an older header refuses", "REQUIRE_VERSION 999000000",
           "REQUIRE_VERSION 1000", "older than PROF_REQUIRE_VERSION"),
    absent("TRACE", ""), *(absent(name, "1") for name in NOT_YET))

CALL_CASES = (
    sink("a std::string could be a path or a buffer: prof asks which", "text", "prof::append_to(text)",
         "use_append_to_or_a_const_char_path"),
    sink("a const std::string could only be a path; it is said with c_str()", "std::as_const(text)",
         "std::as_const(text).c_str()", "use_append_to_or_a_const_char_path"),
    sink("a temporary std::string would be gone before it is used as a buffer", 'text + ".pb.gz"',
         '(text + ".pb.gz").c_str()', "use_append_to_or_a_const_char_path"),
    sink("an int is a descriptor only when it says so", "static_cast<int>(text.size())",
         "prof::fd(static_cast<int>(text.size()))", "use_fd_or_a_file_pointer"),
    sink("nullptr names no sink", "nullptr", "static_cast<std::FILE*>(nullptr)", "use_fd_or_a_file_pointer"),
    sink("a literal 0 could be a null path or a descriptor", "0", "prof::fd(0)", "use_fd_or_a_file_pointer"),
    call("a session is one profile and cannot be copied",
         "prof::cpu_session first; prof::cpu_session second = first; if (!second.stop()) return 1;",
         "prof::cpu_session first; if (!first.stop()) return 1;", "deleted"),
    call("a result is no number", "const bool done = prof::write_heap_profile(prof::append_to(text)); (void)done;",
         "const bool done{prof::write_heap_profile(prof::append_to(text))}; (void)done;", "bool"),
    call("an error cannot be overlooked", "prof::write_heap_profile(prof::append_to(text));",
         "const prof::result done = prof::write_heap_profile(prof::append_to(text)); if (!done) return 1;", "nodiscard"))


def compile_text(compiler, source, *flags):
    """Return code and messages of a compilation without output."""
    output = () if "-E" in flags else ("-fsyntax-only",)
    done = compile_one(Job(compiler, source, ("-std=c++17", *output, "-Wall", "-Wextra", "-Werror", "-I", TREE, *flags)))
    return done.code, done.words


def precompiled(compiler, place):
    """Flags that give a file the header as if it were its first line."""
    header = pathlib.Path(place) / compiler / "precompiled.hpp"
    header.parent.mkdir()
    header.write_text(INCLUDE)
    binary = f"{header}.gch" if compiler.startswith("g++") else f"{header}.pch"
    command(compiler, "-std=c++17", "-Wall", "-Wextra", "-I", TREE, "-x", "c++-header", header, "-o", binary)
    if compiler.startswith("g++"):
        return ("-Winvalid-pch", "-include", str(header))
    return ("-include-pch", binary)


def compile_all(jobs):
    """Runs (compiler, source, flags...) jobs; their answers in order."""
    return in_parallel(lambda job: compile_text(*job), jobs)


class CompileFail(unittest.TestCase):
    def check(self, cases, flags_of):
        """Every case with every compiler; flags_of gives the compiler's flags."""
        pairs = list(itertools.product(cases, COMPILERS))
        good = compile_all([(c, case.right, "-Wundef", *flags_of(c)) for case, c in pairs])
        bad = compile_all([(c, case.wrong, *flags_of(c)) for case, c in pairs])
        for (case, compiler), (code, words), answer in zip(pairs, good, bad):
            with self.subTest(rule=case.rule, wrong=case.wrong, compiler=compiler):
                self.assertEqual(code, 0, "the right form must compile:\n" + words[:2000])
                self.expect_one_error(answer, case.words)

    def expect_one_error(self, answer, expected):
        code, words = answer
        self.assertNotEqual(code, 0, "must not compile")
        self.assertIn(expected, words)
        errors = re.findall(r"^\S+ (?:fatal )?error: .*", words, re.M)
        self.assertEqual(len(errors), 1, "more than one error:\n" + words[:2000])

    def test_configurations(self):
        # The preprocessor finds mistakes of configuration; the rest of such a compilation is the same
        # in all of them and done below, in Switches.
        self.check(CONFIG_CASES, lambda compiler: ("-E", "-o", os.devnull))

    def test_calls(self):
        with tempfile.TemporaryDirectory() as place:
            header = {compiler: precompiled(compiler, place) for compiler in COMPILERS}
            self.check(CALL_CASES, header.get)
            pairs = list(itertools.product(OWN_ALLOCATOR, COMPILERS))
            answers = compile_all([(c, INCLUDE + text, *header[c]) for text, c in pairs])
        for (text, compiler), answer in zip(pairs, answers):
            with self.subTest(text=text, compiler=compiler):
                self.expect_one_error(answer, "Yours? Include prof.hpp elsewhere.")
        sized = "void operator delete(void*, std::size_t) noexcept {}\n"
        alone = INCLUDE + "".join(OWN_ALLOCATOR) + sized
        answers = compile_all([(c, alone, "-DPROF_HOOKS=none") for c in COMPILERS])
        for compiler, (code, words) in zip(COMPILERS, answers):
            with self.subTest(compiler=compiler):
                self.assertEqual(code, 0, "without hooks they are the host's to define:\n" + words[:2000])


class Switches(unittest.TestCase):
    def expect_all_compile(self, jobs):
        for job, (code, words) in zip(jobs, compile_all(jobs)):
            with self.subTest(compiler=job[0], flags=job[2:]):
                self.assertEqual(code, 0, words[:2000])

    def test_empty_0_and_1_all_compile(self):
        turns = itertools.cycle(COMPILERS)
        self.expect_all_compile([
            (next(turns), INCLUDE, f"-DPROF_ENABLE_{switch}={value}", "-Wundef")
            for switch, value in itertools.product(SWITCHES, ("", "0", "1"))])

    def test_every_combination_of_on_and_off_compiles(self):
        turns = itertools.cycle(itertools.product(COMPILERS, ("interpose", "none")))
        jobs = []
        for values in itertools.product("01", repeat=len(SWITCHES)):
            compiler, hooks = next(turns)
            flags = [f"-DPROF_ENABLE_{s}={v}" for s, v in zip(SWITCHES, values)]
            jobs.append((compiler, INCLUDE, *flags, f"-DPROF_HOOKS={hooks}", "-Wundef"))
        self.expect_all_compile(jobs)

    def test_a_switch_is_what_it_says(self):
        text = INCLUDE
        for switch in SWITCHES:
            text += f"static_assert(PROF_DETAIL_WITH_{switch} == EXPECTED_{switch});\n"
        jobs = []
        for compiler, (value, fact) in itertools.product(COMPILERS, (("", 1), ("0", 0), ("1", 1))):
            flags = []
            for switch in SWITCHES:
                flags += [f"-DPROF_ENABLE_{switch}={value}", f"-DEXPECTED_{switch}={fact}"]
            jobs.append((compiler, text, *flags))
        self.expect_all_compile(jobs)

    def test_defaults(self):
        text = INCLUDE + ("static_assert(PROF_DETAIL_WITH_CPU == 1 && PROF_DETAIL_WITH_HEAP == 1);\n"
                          "static_assert(PROF_DETAIL_WITH_SYMBOLIZE == 1);\n"
                          "static_assert(PROF_DETAIL_WITH_HTTP == 0 && PROF_DETAIL_WITH_BLOCK_SYSCALLS == 0);\n"
                          "static_assert(PROF_DETAIL_WITH_INTERPOSE == 1);\n")
        self.expect_all_compile([(compiler, text) for compiler in COMPILERS])

    def test_what_is_off_is_not_there(self):
        missing = (("HTTP", "(void)&prof::detail::stop_serving;"),
                   ("HEAP", "(void)&prof::detail::set_heap_rate;"),
                   ("BLOCK_SYSCALLS", "(void)&prof::detail::test_blocking_hooks;"),
                   ("CPU", "(void)&prof::detail::begin_cpu;"),
                   ("SYMBOLIZE", "(void)&prof::detail::name_addresses;"))
        for compiler, (switch, call) in itertools.product(COMPILERS, missing):
            text = INCLUDE + "void use() { " + call + " }\n"
            with self.subTest(compiler=compiler, switch=switch):
                self.assertEqual(compile_text(compiler, text, f"-DPROF_ENABLE_{switch}")[0], 0)
                self.assertNotEqual(compile_text(compiler, text, f"-DPROF_ENABLE_{switch}=0")[0], 0)


if __name__ == "__main__":
    unittest.main()
