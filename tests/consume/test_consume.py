#!/usr/bin/env python3
"""A user's project (app/), built by each way there is to get prof, and run; none needs an option.

    cd tests && python3 -m unittest consume.test_consume

Needs g++, clang++, cmake, ninja, meson, pkg-config, git and Python's venv. Conan's client comes
from PyPI into build/consume/venv when it is not there yet. Neither vcpkg nor Bazel is needed:
prof's port is run by vcpkg/run_port.cmake, prof's Bazel files are run as Python.
"""

import fnmatch
import json
import os
import pathlib
import re
import shutil
import unittest

from consume import consume
from consume.consume import HERE, ROOT

# What every installed tree must have below include/.
HEADERS = consume.files(ROOT / "include", "*.hpp")


class CopiedTest(unittest.TestCase):
    """single_include/ copied into the user's tree, no build system."""

    def build(self, compiler):
        place = consume.empty(f"copied_{compiler}")
        (place / "vendor" / "prof").mkdir(parents=True)
        for name in ("prof.hpp", "api.hpp"):
            shutil.copy(ROOT / "single_include" / "prof" / name, place / "vendor" / "prof")
        return consume.compile_by_hand(compiler, place, "-pthread", "-I", place / "vendor")

    def test_gcc(self):
        consume.check_program(self, self.build("g++"))

    def test_clang(self):
        consume.check_program(self, self.build("clang++"))


class CMakeTest(unittest.TestCase):
    def test_add_subdirectory(self):
        place = consume.user_project("add_subdirectory", "cmake/add_subdirectory")
        (place / "third_party").mkdir()
        (place / "third_party" / "prof").symlink_to(consume.checkout())
        consume.check_program(self, consume.build_with_cmake(place))

    def test_fetch_content(self):
        """Downloaded by the user's project, and nothing of prof in its tests and its install."""
        place = consume.user_project("fetch_content", "cmake/fetch_content")
        program = consume.build_with_cmake(place, f"-DPROF_REPOSITORY={consume.repository()}",
                                           f"-DPROF_TAG=v{consume.version()}")
        consume.check_program(self, program)
        targets = consume.run("ninja", "-C", place / "build", "-t", "targets", "all")
        self.assertRegex(targets, r"(?m)^app: ")
        self.assertNotRegex(targets, r"(?m)^(.*/)?(unit|example\w*): ")
        tests = consume.run("ctest", "-N", "--test-dir", place / "build")
        self.assertIn("Total Tests: 1\n", tests)
        consume.run("cmake", "--install", place / "build", "--prefix", place / "installed")
        self.assertEqual(consume.files(place / "installed"), {"bin/app"})

    def test_find_package(self):
        """The installed tree is found after a move, by the targets that the build tree has."""
        prefix = consume.installed_by_cmake()
        self.assertEqual(consume.files(prefix / "include", "*.hpp"), HEADERS)
        place = consume.user_project("find_package", "cmake/find_package")
        program = consume.build_with_cmake(place, f"-DCMAKE_PREFIX_PATH={prefix}")
        cache = (place / "build" / "CMakeCache.txt").read_text()
        self.assertIn(f"\nprof_DIR:PATH={prefix}/share/cmake/prof\n", cache)
        # Programs need both before glibc 2.34 only, so that the one built here does not show it.
        targets = (prefix / "share" / "cmake" / "prof" / "profTargets.cmake").read_text()
        self.assertIn("Threads::Threads;dl", targets)
        consume.check_program(self, program)

    def answer(self, request, pointer_size):
        file = consume.installed_by_cmake() / "share" / "cmake" / "prof" / "profConfigVersion.cmake"
        return consume.run("cmake", "-D", f"FILE={file}", "-D", f"PACKAGE_FIND_VERSION={request}",
                           "-D", f"CMAKE_SIZEOF_VOID_P={pointer_size}",
                           "-P", HERE / "cmake" / "version_answer.cmake")

    def test_version_file(self):
        """Headers serve 32-bit and 64-bit programs alike."""
        for pointer_size in (4, 8):
            with self.subTest(pointer_size=pointer_size):
                accepted = self.answer("0.1", pointer_size)
                self.assertIn(f"accepted: {consume.version()}\n", accepted)
                for other in ("1.0", "0.0", "0.2"):  # until 1.0 each minor number may break
                    self.assertIn("refused: ", self.answer(other, pointer_size))

    def test_later_version_is_refused(self):
        said = consume.run("cmake", "-D", f"PREFIX={consume.installed_by_cmake()}",
                           "-D", "VERSION=1.0", "-P", HERE / "cmake" / "refused.cmake")
        self.assertIn(f"found: 0, considered: {consume.version()}\n", said)


class PkgConfigTest(unittest.TestCase):
    def check(self, name, prefix):
        flags = consume.pkg_config(prefix, "--cflags", "--libs")
        [said] = consume.pkg_config(prefix, "--variable=prefix")
        self.assertEqual(pathlib.Path(said).resolve(), prefix)
        self.assertIn("-pthread", flags)
        self.assertIn("-ldl", flags)
        consume.check_program(self, consume.compile_by_hand("g++", consume.empty(name), *flags))

    def test_installed_by_cmake(self):
        self.check("pkg_config_cmake", consume.installed_by_cmake())

    def test_installed_by_meson(self):
        prefix = consume.installed_by_meson()
        self.assertEqual(consume.files(prefix / "include", "*.hpp"), HEADERS)
        self.check("pkg_config_meson", prefix)


class MesonTest(unittest.TestCase):
    def test_subproject(self):
        """dependency('prof') downloads it by the wrap file; nothing of it is installed."""
        place = consume.user_project("meson_subproject", "meson/app")
        wrap = (HERE / "meson" / "prof.wrap.in").read_text()
        wrap = re.sub("(?m)(^url = )@URL@$", rf"\g<1>{consume.repository()}", wrap)
        wrap = re.sub("(?m)(^revision = )@TAG@$", rf"\g<1>v{consume.version()}", wrap)
        (place / "subprojects").mkdir()
        (place / "subprojects" / "prof.wrap").write_text(wrap)
        # With no place to look into, pkg-config cannot find a prof installed on this machine.
        consume.run("meson", "setup", place / "build", place, "--prefix", place / "installed",
                    PKG_CONFIG_LIBDIR=place / "none")
        consume.run("meson", "install", "-C", place / "build")
        self.assertEqual(consume.files(place / "installed"), {"bin/app"})
        ninja = (place / "build" / "build.ninja").read_text()
        self.assertRegex(ninja, r"(?m)^ *LINK_ARGS = .*-pthread.*-ldl")
        consume.check_program(self, place / "installed" / "bin" / "app")


class VcpkgTest(unittest.TestCase):
    def setUp(self):
        # At its place in a checkout, from which the port takes the files.
        self.port = consume.checkout() / "tests" / "consume" / "vcpkg" / "ports" / "prof"
        self.facts = json.loads((self.port / "vcpkg.json").read_text())

    def run_port(self):
        place = consume.empty("vcpkg")
        consume.run("cmake", "-D", "PORT=prof", "-D", f"PORT_DIR={self.port}",
                    "-D", f"CURRENT_PACKAGES_DIR={place / 'package'}",
                    "-D", f"CURRENT_BUILDTREES_DIR={place / 'buildtrees'}",
                    "-P", HERE / "vcpkg" / "run_port.cmake")
        return place / "package"

    def check_package(self, package):
        """What vcpkg itself looks for after a port has run."""
        self.assertEqual(consume.files(package / "include", "*.hpp"), HEADERS)
        share = package / "share" / "prof"
        self.assertEqual(set(os.listdir(package)), {"include", "share"})
        self.assertEqual(set(os.listdir(package / "share")), {"pkgconfig", "prof"})
        directories = [path for path in package.rglob("*") if path.is_dir()]
        self.assertEqual([path for path in directories if not os.listdir(path)], [])
        self.assertEqual((share / "copyright").read_text(), (ROOT / "LICENSE").read_text())
        for words in ("find_package(prof CONFIG REQUIRED)", "prof::prof"):
            self.assertIn(words, (share / "usage").read_text())

    def test_port(self):
        package = self.run_port()
        self.check_package(package)
        place = consume.user_project("vcpkg_user", "cmake/find_package")
        program = consume.build_with_cmake(place, f"-DCMAKE_PREFIX_PATH={package}")
        consume.check_program(self, program)

    def test_manifest(self):
        self.assertEqual(self.facts["name"], "prof")
        self.assertEqual(self.facts["license"], "Apache-2.0")
        self.assertEqual({entry["name"]: entry["host"] for entry in self.facts["dependencies"]},
                         {"vcpkg-cmake": True, "vcpkg-cmake-config": True})


class ConanTest(unittest.TestCase):
    def test_create(self):
        """The package is made, found by test_package/ and the same for all settings."""
        shutil.rmtree(consume.BUILD / "conan_home", ignore_errors=True)
        # Conan builds in the recipe's directory: not in the one under test.
        recipe = consume.checkout() / "tests" / "consume" / "conan"
        consume.conan("profile", "detect")
        made = json.loads(consume.conan(
            "create", recipe, "--no-remote", "--format=json", "-s", "build_type=Debug",
            "-c", "tools.cmake.cmaketoolchain:generator=Ninja"))
        package = made["graph"]["nodes"]["1"]
        self.assertEqual(package["ref"].partition("#")[0], f"prof/{consume.version()}")
        self.assertEqual(package["info"], {}, "nothing that the package could depend on")
        folder = pathlib.Path(package["package_folder"])
        self.assertEqual(consume.files(folder / "include"), HEADERS)
        self.assertEqual(consume.files(folder / "licenses"), {"LICENSE"})
        self.assertEqual(package["cpp_info"]["core"]["system_libs"], ["pthread", "dl"])
        for component in ("core", "wrap"):
            for directories in ("bindirs", "libdirs"):
                self.assertEqual(package["cpp_info"][component][directories], [])
        built = (recipe / "test_package" / "build").rglob("app")
        [program] = [path for path in built if path.is_file()]
        consume.check_program(self, program)


class BazelFile:
    """Runs a Bazel file as Python, which knows its syntax; notes the rules that it calls."""

    def __init__(self, name):
        self.calls = {}
        known = {"glob": self.glob, "load": self.load}
        known.update({rule: self.noting(rule) for rule in ("module", "bazel_dep")})
        self.known = known
        exec(compile((ROOT / name).read_text(encoding="ascii"), name, "exec"), known)

    def noting(self, rule):
        return lambda **attributes: self.calls.setdefault(rule, []).append(attributes)

    def load(self, file, *rules):
        self.calls.setdefault("load", []).append((file, *rules))
        self.known.update({rule: self.noting(rule) for rule in rules})

    @staticmethod
    def glob(patterns):
        """As Bazel's: ** stands for any directories, * does not match a slash."""
        return sorted({str(path.relative_to(ROOT)) for pattern in patterns
                       for path in ROOT.glob(pattern) if path.is_file()})


class BazelTest(unittest.TestCase):
    def test_module(self):
        calls = BazelFile("MODULE.bazel").calls
        [module] = calls["module"]
        self.assertEqual(module["name"], "prof")
        self.assertEqual([entry["name"] for entry in calls["bazel_dep"]], ["rules_cc"])

    def test_library(self):
        calls = BazelFile("BUILD.bazel").calls
        [(file, rule)] = calls["load"]
        self.assertTrue(fnmatch.fnmatch(file, "@rules_cc//cc:*.bzl"), file)
        self.assertEqual(rule, "cc_library")
        [library] = calls["cc_library"]
        self.assertEqual(library["name"], "prof", "deps = [\"@prof\"] is short for @prof//:prof")
        self.assertEqual(set(library["hdrs"]), {"include/" + header for header in HEADERS})
        self.assertEqual(library["includes"], ["include"])
        self.assertEqual(library["linkopts"], ["-pthread", "-ldl"])
        self.assertEqual(library["visibility"], ["//visibility:public"])


class VersionTest(unittest.TestCase):
    def test_all_versions_are_that_of_config_hpp(self):
        port = json.loads((HERE / "vcpkg" / "ports" / "prof" / "vcpkg.json").read_text())
        [module] = BazelFile("MODULE.bazel").calls["module"]
        recipe = json.loads(consume.conan("inspect", HERE / "conan", "--format=json"))
        versions = {
            "CMakeLists.txt": consume.pkg_config(consume.installed_by_cmake(), "--modversion"),
            "meson.build": consume.pkg_config(consume.installed_by_meson(), "--modversion"),
            "vcpkg.json": [port["version"]],
            "conanfile.py": [recipe["version"]],
            "MODULE.bazel": [module["version"]],
        }
        for file, found in versions.items():
            with self.subTest(file=file):
                self.assertEqual(found, [consume.version()])


if __name__ == "__main__":
    unittest.main()
