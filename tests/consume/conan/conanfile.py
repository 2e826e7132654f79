"""A Conan 2 recipe of prof, for this checkout: conan create tests/consume/conan

A recipe outside of the checkout gets the files by source() and get(); the rest stays.
"""

import pathlib
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.files import copy, load


class Prof(ConanFile):
    name = "prof"
    description = "In-process profiling for C++, in one header"
    license = "Apache-2.0"
    topics = ("profiling", "pprof", "header-only")
    package_type = "header-library"
    settings = "os", "arch", "compiler", "build_type"
    no_copy_source = True

    def _checkout(self):
        return pathlib.Path(self.recipe_folder).parents[2]

    def set_version(self):
        text = load(self, str(self._checkout() / "include" / "prof" / "config.hpp"))
        numbers = (re.search(rf"#define PROF_VERSION_{part} (\d+)", text)[1]
                   for part in ("MAJOR", "MINOR", "PATCH"))
        self.version = ".".join(numbers)

    def export_sources(self):
        for pattern in ("include/*.hpp", "LICENSE"):
            copy(self, pattern, str(self._checkout()), self.export_sources_folder)

    def validate(self):
        check_min_cppstd(self, 17)

    def package(self):
        copy(self, "include/*.hpp", self.source_folder, self.package_folder)
        copy(self, "LICENSE", self.source_folder, str(pathlib.Path(self.package_folder, "licenses")))

    def package_id(self):
        self.info.clear()  # the same headers for every system, compiler and build type

    def package_info(self):
        # A name that nobody uses for all components together: prof::prof must stay without the link
        # options that a later version gives to prof::wrap.
        self.cpp_info.set_property("cmake_target_name", "prof::prof_and_wrap")
        core = self.cpp_info.components["core"]
        core.set_property("cmake_target_name", "prof::prof")
        wrap = self.cpp_info.components["wrap"]
        wrap.set_property("cmake_target_name", "prof::wrap")
        wrap.requires = ["core"]
        for component in (core, wrap):
            component.bindirs = []
            component.libdirs = []
        if self.settings.os == "Linux":
            core.system_libs = ["pthread", "dl"]
