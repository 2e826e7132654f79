#!/usr/bin/env python3
"""Proves every rule of tools/amalgamate.py, check_layers.py and check_readability both ways, on
small trees.

    python3 tests/tools/test_tools.py
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")

FLOORS = {"base": 2, "os": 3, "unwind": 4, "code": 5, "profile": 6, "process": 7, "sample": 8}
FLOORS.update({"hook": 9, "part": 10, "collect": 11, "http": 12, "ship": 13})
FLOORS.update({"config.hpp": 1, "prof.hpp": 14, "api.hpp": 14, "annotate.hpp": 14,
               "symbol": 9, "write": 9})

VERSION = """\
#define PROF_VERSION_MAJOR 1
#define PROF_VERSION_MINOR 2
#define PROF_VERSION_PATCH 3
"""


def header(path, body="", floor=None, guard=None, safety="Safety: any thread."):
    """A header that keeps all rules, unless told otherwise."""
    floor = FLOORS[path.split("/")[0]] if floor is None else floor
    guard = guard or "PROF_" + path.replace("/", "_").replace(".", "_").upper()
    return (
        f"// prof/{path} - a header for a test.\n// Floor {floor}. Called by tests.\n// {safety}\n"
        f"#ifndef {guard}\n#define {guard}\n\n{body}\n#endif  // {guard}\n"
    )


class TreeTest(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = pathlib.Path(directory.name)
        self.add("config.hpp", VERSION)

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))

    def add(self, path, body="", **details):
        """Adds a header and the test that it must have."""
        self.write(f"include/prof/{path}", header(path, body, **details))
        if "/" in path:
            self.write(f"tests/unit/{path[:-4]}_test.cpp", f'#include "prof/{path}"\n')

    def run_tool(self, name, *arguments):
        command = [sys.executable, str(TOOLS / name), "--root", str(self.root), *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertNotIn("Traceback", done.stdout)
        return done.returncode, done.stdout


class Amalgamate(TreeTest):
    def generate(self, name="prof"):
        status, output = self.run_tool("amalgamate.py")
        self.assertEqual(status, 0, output)
        return (self.root / f"single_include/prof/{name}.hpp").read_text()

    def refuse(self, *texts):
        status, output = self.run_tool("amalgamate.py")
        self.assertEqual(status, 1, output)
        for text in texts + ("why:", "mend:"):
            self.assertIn(text, output)
        self.assertFalse((self.root / "single_include").exists(), "a refused tree writes nothing")

    def compiles(self, source, *flags):
        """Compiles and runs a program over the single headers alone; True if it returns 0."""
        if COMPILER is None:
            self.skipTest("no C++ compiler found")
        self.write("main.cpp", source)
        command = [COMPILER, "-std=c++17", "-Wall", "-Wextra", "-Wundef", "-Werror", *flags]
        command += ["-I", str(self.root / "single_include"), "-o", str(self.root / "program")]
        command += [str(self.root / "main.cpp")]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        return subprocess.run([str(self.root / "program")]).returncode == 0

    def test_parts_appear_once_in_preprocessor_order(self):
        self.add("base/low.hpp", "int low();\n")
        self.add("base/mid.hpp", '#include "prof/base/low.hpp"\n\nint mid();\n')
        self.add("prof.hpp", '#include <prof/base/mid.hpp>\n#include "prof/base/low.hpp"\n')
        text = self.generate()
        frames = [line for line in text.splitlines() if line.startswith("// ---- ")]
        names = ("base/low.hpp", "base/mid.hpp", "prof.hpp")
        self.assertEqual(frames, [f"// ---- prof/{name} ----" for name in names])
        self.assertNotIn("#include", text)
        self.assertNotIn("\n\n\n", text)
        self.assertEqual(text.count("#ifndef PROF_BASE_LOW_HPP"), 1)

    def test_include_in_the_middle_stays_in_the_middle(self):
        self.add("base/low.hpp", "constexpr int low = first + 1;\n")
        body = 'constexpr int first = 1;\n#include "prof/base/low.hpp"\nconstexpr int last = low;\n'
        self.add("prof.hpp", body)
        text = self.generate()
        self.assertLess(text.index("int first"), text.index("int low"))
        self.assertLess(text.index("int low"), text.index("int last"))
        self.assertIn("// ---- prof/prof.hpp (continued) ----", text)
        self.assertTrue(self.compiles("#include <prof/prof.hpp>\nint main() { return last - 2; }\n"))

    def test_banner_has_the_version_and_nothing_that_changes(self):
        self.add("prof.hpp")
        first = self.generate()
        self.assertIn("version 1.2.3", first)
        self.assertIn("Generated by tools/amalgamate.py", first)
        self.assertIn("Do not edit", first)
        self.assertNotIn(str(self.root), first)
        self.assertEqual(first, self.generate())

    def test_missing_facade_is_refused(self):
        self.refuse("include/prof/prof.hpp:1: does not exist")

    def test_missing_version_is_refused(self):
        self.add("config.hpp", "")
        self.add("prof.hpp")
        self.refuse("include/prof/config.hpp:1", "PROF_VERSION_MAJOR")

    def test_system_includes_are_hoisted_sorted_and_unique(self):
        self.add("base/low.hpp", "#include <vector>\n#include <atomic>\n")
        self.add("prof.hpp", '#include <vector>\n#include "prof/base/low.hpp"\n')
        text = self.generate()
        self.assertEqual(text.count("#include <vector>"), 1)
        self.assertLess(text.index("#include <atomic>"), text.index("#include <vector>"))
        self.assertLess(text.index("#include <vector>"), text.index("// ----"))

    def test_system_includes_under_a_condition_stay(self):
        self.add("os/linux.hpp", "#include <poll.h>\n")
        body = '#if defined(__linux__)\n#include <sys/mman.h>\n#include "prof/os/linux.hpp"\n#endif\n'
        self.add("prof.hpp", body)
        text = self.generate()
        condition = text.index("#if defined(__linux__)")
        self.assertLess(condition, text.index("#include <sys/mman.h>"))
        self.assertLess(condition, text.index("#include <poll.h>"))

    def test_optional_part_stays_inside_its_condition(self):
        self.add("base/low.hpp", "int low();\n")
        self.add("http/server.hpp", '#include "prof/base/low.hpp"\nint server();\n')
        optional = '#if PROF_ENABLE_HTTP\n#include "prof/http/server.hpp"\n#endif\n'
        self.add("prof.hpp", '#include "prof/base/low.hpp"\n' + optional)
        text = self.generate()
        self.assertLess(text.index("int low"), text.index("#if PROF_ENABLE_HTTP"))
        self.assertLess(text.index("#if PROF_ENABLE_HTTP"), text.index("int server"))

    def shared_part(self, first, second):
        self.add("base/low.hpp", "int low();\n")
        self.add("http/a.hpp", '#include "prof/base/low.hpp"\n')
        self.add("ship/b.hpp", '#include "prof/base/low.hpp"\n')
        first = first.format('#include "prof/http/a.hpp"')
        self.add("prof.hpp", first + second.format('#include "prof/ship/b.hpp"'))

    def test_part_met_under_a_condition_then_without_is_refused(self):
        self.shared_part("#if PROF_ENABLE_HTTP\n{}\n#endif\n", "{}\n")
        self.refuse("include/prof/ship/b.hpp:7", "PROF_ENABLE_HTTP", "include/prof/http/a.hpp:7")

    def test_part_met_under_another_condition_is_refused(self):
        self.shared_part("#if PROF_ENABLE_HTTP\n{}\n#endif\n", "#if PROF_ENABLE_PUSH\n{}\n#endif\n")
        self.refuse("`#if PROF_ENABLE_HTTP`", "`#if PROF_ENABLE_PUSH`")

    def test_part_met_in_the_other_branch_is_refused(self):
        self.shared_part("#if PROF_ENABLE_HTTP\n{}\n", "#else\n{}\n#endif\n")
        self.refuse("`#if !PROF_ENABLE_HTTP`")

    def test_part_met_under_the_same_or_a_narrower_condition_is_accepted(self):
        http = "#if PROF_ENABLE_HTTP\n{}\n#endif\n"
        self.shared_part(http, http)
        self.generate()
        self.shared_part(http, "#if PROF_ENABLE_UI && \\\n    PROF_ENABLE_HTTP\n{}\n#endif\n")
        self.generate()
        self.shared_part("#ifdef A\n#else\n{}\n#endif\n", "#ifndef A\n{}\n#endif\n")
        self.generate()

    def test_wider_condition_is_refused(self):
        http = "#if PROF_ENABLE_HTTP\n{}\n#endif\n"
        self.shared_part(http, "#if PROF_ENABLE_HTTP || PROF_ENABLE_PUSH\n{}\n#endif\n")
        self.refuse("PROF_ENABLE_HTTP || PROF_ENABLE_PUSH")

    def test_include_loop_is_refused(self):
        self.add("base/a.hpp", '#include "prof/base/b.hpp"\n')
        self.add("base/b.hpp", '#include "prof/base/a.hpp"\n')
        self.add("prof.hpp", '#include "prof/base/a.hpp"\n')
        self.refuse("prof/base/a.hpp -> prof/base/b.hpp -> prof/base/a.hpp")

    def test_unknown_header_is_refused(self):
        self.add("prof.hpp", '#include "result.hpp"\n')
        self.refuse("include/prof/prof.hpp:7", '"result.hpp"')

    def test_part_without_a_guard_is_refused(self):
        self.write("include/prof/base/low.hpp", "#pragma once\nint low();\n")
        self.add("prof.hpp", '#include "prof/base/low.hpp"\n')
        self.refuse("include/prof/base/low.hpp:1", "include guard")

    def test_text_that_only_looks_like_a_directive_is_kept(self):
        body = (
            '/*\n#include "prof/not/this.hpp"\n*/\n// #include "prof/nor/this.hpp"\n'
            'constexpr char page[] = R"html(\n#include <vector>\n\n\n#if x )" \n)html";\n'
            "constexpr int million = 1'000'000;  // the ' opens no literal\n"
        )
        self.add("prof.hpp", body)
        text = self.generate()
        self.assertIn("#include <vector>\n\n\n#if x", text)
        self.assertIn("// #include", text)
        main = "int main() { return million == 1000000 && sizeof page == 32 ? 0 : 1; }\n"
        self.assertTrue(self.compiles("#include <prof/prof.hpp>\n" + main))

    def test_check_accepts_fresh_and_explains_stale_and_missing(self):
        self.add("prof.hpp", "".join(f"int f{i}();\n" for i in range(100)))
        status, output = self.run_tool("amalgamate.py", "--check")
        self.assertEqual((status, "is missing" in output), (1, True), output)
        self.assertFalse((self.root / "single_include").exists(), "--check writes nothing")
        self.generate()
        self.assertEqual(self.run_tool("amalgamate.py", "--check"), (0, ""))
        self.add("prof.hpp", "".join(f"int g{i}();\n" for i in range(100)))
        status, output = self.run_tool("amalgamate.py", "--check")
        self.assertEqual(status, 1)
        self.assertIn("-int f0();", output)
        self.assertIn("more lines", output)
        self.assertLessEqual(len(output.splitlines()), 46)
        self.assertIn("mend: edit include/prof only, then run: python3 tools/amalgamate.py", output)

    def test_both_single_headers_meet_in_any_order(self):
        self.add("base/low.hpp", "#include <string>\ninline std::string low() { return {}; }\n")
        self.add("process/labels.hpp", '#include "prof/base/low.hpp"\ninline int labels() { return 1; }\n')
        self.add("sample/cpu.hpp", '#include "prof/process/labels.hpp"\ninline int cpu() { return 2; }\n')
        self.add("api.hpp", '#include "prof/config.hpp"\n#include "prof/process/labels.hpp"\n')
        optional = '#if PROF_ENABLE_CPU\n#include "prof/sample/cpu.hpp"\n#endif\n'
        shared = '#include "prof/config.hpp"\n#include "prof/process/labels.hpp"\n'
        self.add("prof.hpp", shared + optional)
        self.assertIn("prof/process/labels.hpp", self.generate("api"))
        includes = ["#include <prof/prof.hpp>\n", "#include <prof/api.hpp>\n"]
        main = "int main() { return low().empty() && labels() + cpu() == 3 ? 0 : 1; }\n"
        self.assertTrue(self.compiles("".join(includes) + main, "-DPROF_ENABLE_CPU=1"))
        self.assertTrue(self.compiles("".join(includes[::-1]) + main, "-DPROF_ENABLE_CPU=1"))
        main = "int main() { return labels() - 1; }\n"
        self.assertTrue(self.compiles("".join(includes) + main, "-DPROF_ENABLE_CPU=0"))

    def test_the_thin_header_is_optional(self):
        self.add("prof.hpp")
        self.generate()
        self.assertFalse((self.root / "single_include/prof/api.hpp").exists())
        self.assertFalse((self.root / "single_include/prof/annotate.hpp").exists())

    def test_a_former_name_forwards(self):
        self.add("api.hpp", "inline int api() { return 7; }\n")
        self.add("annotate.hpp", '#include "prof/api.hpp"\n')
        self.add("prof.hpp", '#include "prof/api.hpp"\n')
        forward = self.generate("annotate")
        self.assertIn("#include <prof/api.hpp>", forward)
        self.assertNotIn("int api()", forward, "a second copy would have to be kept equal")
        both = "#include <prof/annotate.hpp>\n#include <prof/prof.hpp>\n"
        self.assertTrue(self.compiles(both + "int main() { return api() - 7; }\n"))


class CheckLayers(TreeTest):
    def accept(self):
        status, output = self.run_tool("check_layers.py")
        self.assertEqual(status, 0, output)

    def refuse(self, *texts, failures=1):
        status, output = self.run_tool("check_layers.py")
        self.assertEqual(status, 1, output)
        for text in texts + ("why:", "mend:", f" {failures} failures"):
            self.assertIn(text, output)

    def test_empty_tree_is_refused(self):
        shutil.rmtree(self.root / "include")
        status, output = self.run_tool("check_layers.py")
        self.assertEqual(status, 1)
        self.assertIn("nothing was checked", output)

    def test_every_folder_may_include_the_floor_below(self):
        below = "config.hpp"
        for folder in list(FLOORS)[:12]:
            if folder in ("collect", "http"):  # closed to some floors below
                below = {"collect": "process/x.hpp", "http": "collect/x.hpp"}[folder]
            self.add(f"{folder}/x.hpp", f'#include "prof/{below}"\n#include <prof/config.hpp>\n')
            below = f"{folder}/x.hpp"
        self.add("prof.hpp", f'#include "prof/{below}"\n')
        self.add("annotate.hpp", f'#include "prof/{below}"\n')
        self.accept()

    def test_include_upwards(self):
        self.add("profile/data.hpp")
        self.add("unwind/table.hpp", '#include "prof/profile/data.hpp"\n')
        self.refuse("include/prof/unwind/table.hpp:7", "floor 4 includes profile/data.hpp of floor 6")

    def test_include_of_the_facade(self):
        self.add("prof.hpp")
        self.add("base/low.hpp", "#include <prof/prof.hpp>\n")
        self.refuse("floor 2 includes prof.hpp of floor 14")

    def test_siblings_are_allowed_where_named(self):
        for folder in ("base", "os", "unwind", "code", "process", "hook", "symbol", "collect", "http"):
            self.add(f"{folder}/a.hpp")
            self.add(f"{folder}/b.hpp", f'#include "prof/{folder}/a.hpp"\n')
        self.accept()

    def test_siblings_are_forbidden_elsewhere(self):
        for folder in ("sample", "write", "ship"):
            self.add(f"{folder}/a.hpp")
            self.add(f"{folder}/b.hpp", f'#include "prof/{folder}/a.hpp"\n')
        self.refuse(
            "include/prof/sample/b.hpp:7: includes its sibling",
            "include/prof/write/b.hpp:7",
            "include/prof/ship/b.hpp:7",
            failures=3,
        )

    def test_folders_of_one_floor_do_not_know_each_other(self):
        self.add("hook/a.hpp")
        self.add("symbol/b.hpp", '#include "prof/hook/a.hpp"\n')
        self.refuse("include/prof/symbol/b.hpp:7: includes hook/a.hpp, whose folder is on the same floor 9")

    def test_sibling_loop(self):
        self.add("base/a.hpp", '#include "prof/base/b.hpp"\n')
        self.add("base/b.hpp", '#include "prof/base/c.hpp"\n')
        self.add("base/c.hpp", '#include "prof/base/a.hpp"\n')
        self.refuse("base/a.hpp -> base/b.hpp -> base/c.hpp -> base/a.hpp")

    def test_unknown_include(self):
        self.add("base/a.hpp", '#include "b.hpp"\n')
        self.add("base/b.hpp", '#include "prof/base/none.hpp"\n')
        self.refuse("base/a.hpp:7", "base/b.hpp:7", failures=2)

    def test_file_without_a_floor(self):
        self.write("include/prof/attic/a.hpp", header("attic/a.hpp", floor=1))
        self.write("include/prof/extra.hpp", header("extra.hpp", floor=1))
        self.refuse("include/prof/attic/a.hpp:1", "include/prof/extra.hpp:1", failures=2)

    def test_os_headers(self):
        names = ["sys/mman.h", "linux/futex.h", "unistd.h", "pthread.h", "fcntl.h", "signal.h"]
        names += ["dlfcn.h", "link.h", "elf.h", "netinet/in.h", "arpa/inet.h", "poll.h"]
        names += ["ucontext.h", "time.h", "errno.h", "csignal", "cerrno", "ctime"]
        body = "".join(f"#include <{name}>\n" for name in names)
        self.add("os/linux.hpp", body)
        self.add("base/a.hpp", "#include <cstring>\n#include <string.h>\n// #include <poll.h>\n")
        self.accept()
        self.add("sample/cpu.hpp", body)
        expected = [f"includes <{name}>" for name in names]
        self.refuse("include/prof/sample/cpu.hpp:7", *expected, failures=len(names))

    def test_contract_floor(self):
        self.add("unwind/a.hpp", floor=5)
        self.refuse("include/prof/unwind/a.hpp:2: says Floor 5, its folder is floor 4")

    def test_contract_floor_eleven_is_not_one(self):
        self.add("base/a.hpp", floor=11)
        self.refuse("says Floor 11, its folder is floor 2")

    def test_contract_missing(self):
        text = header("base/a.hpp")
        self.add("base/a.hpp")
        self.write("include/prof/base/a.hpp", text.split("\n", 3)[3])
        self.refuse("does not open with", "has no `Floor 2`", "has no `Safety:`", failures=3)

    def test_contract_too_late(self):
        self.add("base/a.hpp")
        self.write("include/prof/base/a.hpp", "//\n" * 11 + header("base/a.hpp"))
        self.refuse("has no `Floor 2`", "has no `Safety:`", failures=2)

    def test_contract_without_safety(self):
        self.add("base/a.hpp", safety="No promises.")
        self.refuse("has no `Safety:`")

    def test_collect_and_http_know_no_feature(self):
        for path in ("process/state.hpp", "sample/rain.hpp", "part/rain_part.hpp", "collect/rows.hpp"):
            self.add(path)
        self.add("http/routes.hpp", '#include "prof/collect/rows.hpp"\n')
        self.accept()
        self.add("collect/rows.hpp", '#include "prof/process/state.hpp"\n#include "prof/part/rain_part.hpp"\n')
        self.add("http/routes.hpp", '#include "prof/process/state.hpp"\n')
        self.refuse("collect/ includes prof/part/rain_part.hpp", "http/ includes prof/process/state.hpp", failures=2)

    def test_guard_named_for_another_path(self):
        self.add("base/a.hpp", guard="PROF_A_HPP")
        self.refuse("include/prof/base/a.hpp:4", "PROF_A_HPP, not PROF_BASE_A_HPP")

    def test_guard_missing_or_not_around_everything(self):
        self.add("base/a.hpp")
        self.add("base/b.hpp")
        text = header("base/b.hpp")
        self.write("include/prof/base/a.hpp", text.replace("#ifndef", "#pragma once //"))
        self.write("include/prof/base/b.hpp", text + "int outside;\n")
        self.refuse("base/a.hpp:1: has no include guard", "base/b.hpp:1: has no include", failures=2)

    def test_ascii(self):
        self.write("include/prof/README.md", "plain\n")
        self.accept()
        self.write("include/prof/README.md", "plain\nna\u00efve\n")
        self.refuse("include/prof/README.md:2", "column 3")
        self.write("include/prof/README.md", b"\xff\n")
        self.refuse("include/prof/README.md:1")

    def test_ascii_in_a_header(self):
        self.add("base/a.hpp", "// \u2264 1\n")
        self.refuse("include/prof/base/a.hpp:7")

    def test_switches_in_their_places(self):
        test = "#if PROF_ENABLE_HTTP && PROF_HOOKS\n#endif\n"
        self.add("config.hpp", VERSION + test)
        self.add("prof.hpp", test)
        spoken = '// PROF_ENABLE_HTTP\nconstexpr char text[] = "build with PROF_HOOKS";\n'
        self.add("base/a.hpp", spoken + "#if PROF_HOOKS_SEEN\n#endif\n")
        self.accept()

    def test_switches_elsewhere(self):
        self.add("base/a.hpp", "#if defined(PROF_ENABLE_HTTP)\n#endif\n")
        self.add("hook/b.hpp", "#ifdef PROF_HOOKS\n#endif\n")
        self.add("write/c.hpp", "constexpr bool on = PROF_ENABLE_UI;\n")
        self.refuse(
            "base/a.hpp:7: reads PROF_ENABLE_HTTP",
            "hook/b.hpp:7: reads PROF_HOOKS",
            "write/c.hpp:7: reads PROF_ENABLE_UI",
            failures=3,
        )

    def test_macros(self):
        self.add("base/a.hpp", "#define PROF_DETAIL_COLD\n#define PROF_F(x) x\n// #define MAX 1\n")
        self.accept()
        self.add("base/a.hpp", "#define MAX(a, b) a\n# define MY_PROF_X\n")
        self.refuse("base/a.hpp:7: defines the macro MAX", "base/a.hpp:8", failures=2)

    def test_missing_test(self):
        self.add("base/a.hpp")
        self.accept()
        (self.root / "tests/unit/base/a_test.cpp").unlink()
        self.refuse("has no test tests/unit/base/a_test.cpp")


def function(lines, name="f"):
    """A function of that many lines."""
    if lines == 1:
        return f"inline int {name}(int x) {{ return x; }}\n"
    return f"inline int {name}(int x) {{\n" + "  ++x;\n" * (lines - 3) + "  return x;\n}\n"


class CheckReadability(TreeTest):
    def setUp(self):
        super().setUp()
        self.write(".clang-tidy", (TOOLS.parent / ".clang-tidy").read_bytes())
        self.add("annotate.hpp", '#include "prof/config.hpp"\n')

    def add_code(self, body):
        self.add("base/a.hpp", body)
        self.add("prof.hpp", '#include "prof/base/a.hpp"\n')

    def accept(self, body, *texts):
        self.add_code(body)
        status, output = self.run_tool("check_readability")
        self.assertEqual(status, 0, output)
        for text in texts:
            self.assertIn(text, output)

    def refuse(self, body, *texts, failures=1):
        self.add_code(body)
        status, output = self.run_tool("check_readability")
        self.assertEqual(status, 1, output)
        for text in texts + ("why:", "mend:", f" {failures} failures"):
            self.assertIn(text, output)

    def test_sixty_lines_pass_and_sixty_one_do_not(self):
        self.accept(function(60), " 60  include/prof/base/a.hpp:7: f")
        self.refuse(function(61), "include/prof/base/a.hpp:7: f has 61 lines, more than 60")

    def test_clang_tidy_has_the_same_limit(self):
        text = "readability-function-size"
        self.refuse(function(63), text, "listed above: 1\n", "has 63 lines", failures=2)

    def test_the_head_of_a_function_counts(self):
        body = "template <class T>\ninline T f(T x,\n           T y) {\n  return x + y;\n}\n"
        self.accept(body, "   5  include/prof/base/a.hpp:7: f")

    def test_percentiles(self):
        self.accept("".join(function(i, f"f{i}") for i in (9, 1, 8, 3, 4, 7, 6, 5, 11, 10)),
                    "p50 of lines per function: 6 (aim: 6)",
                    "p90 of lines per function: 10 (aim: 25)",
                    "11  include/prof/base/a.hpp", " 10 functions, 0 failures")
        self.accept(function(4), "p50 of lines per function: 4", "p90 of lines per function: 4")

    def test_ten_longest(self):
        self.accept("".join(function(i, f"f{i}_") for i in range(3, 15)), ": f14_", ": f5_")
        _, output = self.run_tool("check_readability")
        self.assertNotIn(": f4_", output)
        self.assertLess(output.index(": f14_"), output.index(": f5_"))

    def test_what_is_a_function(self):
        self.accept(
            "namespace n {\n"
            "enum class kind : unsigned char { a, b };\n"
            "constexpr int table[] = {1, 2};\n"
            "constexpr auto lambda = [](int x) {\n  return x;\n};\n"
            "template <class T, class = decltype(T() + 1)>\n"
            "struct pair {\n"
            "  pair() = default;\n"
            "  explicit pair(T x) noexcept : a{x}, b(x) {\n    b = a;\n  }\n"
            "  bool operator==(const pair& other) const { return a == other.a; }\n"
            " private:\n"
            "  T a{};\n"
            "  T b = T{1};\n"
            "};\n"
            "inline int with_default(int x = int{3},\n                        char c = '{') {\n"
            "  const auto twice = [](int y) { return 2 * y; };\n"
            "  return twice(x) + c;  // }\n"
            "}\n"
            "}  // namespace n\n",
            "   3  include/prof/base/a.hpp:16: pair\n",
            "   1  include/prof/base/a.hpp:19: operator==\n",
            "   5  include/prof/base/a.hpp:24: with_default\n",
            " 3 functions, 0 failures",
        )

    def test_macro_lines_belong_to_no_function(self):
        macros = "#define PROF_BEGIN extern int begun;\n#define PROF_ONE(a) extern int (a);\n"
        self.accept(macros + "PROF_BEGIN\n\nPROF_ONE(b)\n\n" + function(3),
                    "   3  include/prof/base/a.hpp:13: f")

    def test_long_headers_are_listed(self):
        self.accept("\n" * 392 + function(1), "headers of more than 400 lines:\n 401  ")
        self.accept("\n" * 391 + function(1), "headers of more than 400 lines: none")

    def test_findings_of_clang_tidy(self):
        self.refuse("inline int* f() { return 0; }\n", "modernize-use-nullptr", "NOLINT(<check>)",
                    "findings of clang-tidy in include/prof, listed above: 1\n")
        self.refuse("inline int* f() { return none; }\n", "undeclared identifier 'none'")

    def test_header_that_nobody_includes(self):
        self.add("base/alone.hpp", function(3))
        self.refuse(function(3), "include/prof/base/alone.hpp:1: was not seen by clang-tidy")

    def test_header_of_another_system_is_named(self):
        self.add("os/bare.hpp", function(3))
        self.accept(function(3), "not seen by clang-tidy: include/prof/os/bare.hpp", " 2 functions")

    def test_braces_that_do_not_match(self):
        open_twice = "#if 1\ninline void f() {\n#else\ninline void g() {\n#endif\n}\n"
        self.refuse(open_twice, "include/prof/base/a.hpp:8: has braces that do not match")
        self.add_code(function(3) + "}\n")
        _, output = self.run_tool("check_readability")
        self.assertIn("include/prof/base/a.hpp:10: has braces that do not match", output)

    def test_empty_tree_is_refused(self):
        shutil.rmtree(self.root / "include")
        status, output = self.run_tool("check_readability")
        self.assertEqual(status, 1)
        self.assertIn("nothing was checked", output)

    def test_missing_clang_tidy_is_refused(self):
        self.add_code(function(3))
        command = [sys.executable, str(TOOLS / "check_readability"), "--root", str(self.root)]
        done = subprocess.run(command, stdout=subprocess.PIPE, env={"PATH": "/nowhere"}, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("clang-tidy is not installed", done.stdout)


if __name__ == "__main__":
    unittest.main()
