"""Builds and runs the user's program of tests/consume/app against the package just made."""

import pathlib

from conan import ConanFile
from conan.tools.build import can_run
from conan.tools.cmake import CMake, cmake_layout


class ProfTest(ConanFile):
    settings = "os", "arch", "compiler", "build_type"
    generators = "CMakeDeps", "CMakeToolchain"

    def requirements(self):
        self.requires(self.tested_reference_str)

    def layout(self):
        cmake_layout(self)

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def test(self):
        if can_run(self):
            place = pathlib.Path(self.build_folder, self.cpp.build.bindir)
            self.run(f'"{place / "app"}" "{place / "app.pb.gz"}"', env="conanrun")
