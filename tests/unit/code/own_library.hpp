// tests/unit/code/own_library.hpp - a library that nothing calls, loaded from a path of its own.
#ifndef PROF_TESTS_UNIT_CODE_OWN_LIBRARY_HPP
#define PROF_TESTS_UNIT_CODE_OWN_LIBRARY_HPP

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>

#include "own_registry.hpp"

#if PROF_DETAIL_OS_LINUX

PROF_DETAIL_BEGIN

inline std::string file_content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

inline std::string fresh_path() {
  char name[] = "/tmp/prof_own_XXXXXX";
  close(mkstemp(name));
  return name;
}

// A copy of a small library of the system; without a build id it has a note of another type in its place.
class own_library {
 public:
  explicit own_library(bool with_id = true) : path(fresh_path()) {
    content = file_content(source());
    if (!with_id) take_id_away(content);
    std::ofstream(path, std::ios::binary) << content;
    load();
  }
  ~own_library() {
    unload();
    unlink(path.c_str());
  }
  own_library(const own_library&) = delete;
  own_library& operator=(const own_library&) = delete;

  void load() {
    handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE(handle_ != nullptr);
  }
  void unload() {
    if (handle_ != nullptr) dlclose(handle_);
    handle_ = nullptr;
  }
  // Another file takes its path, as installers do it; `other` is its content.
  void replace(const std::string& other) const {
    const std::string next = fresh_path();
    std::ofstream(next, std::ios::binary) << other;
    REQUIRE(std::rename(next.c_str(), path.c_str()) == 0);
  }

  static void take_id_away(std::string& file) {
    const std::size_t owner = file.find(std::string("\3\0\0\0GNU\0", 8));
    REQUIRE(owner != std::string::npos);
    file[owner] = '\x7f';
  }

  std::string path;
  std::string content;

 private:
  static std::string source() {
    void* const system = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
    REQUIRE(system != nullptr);
    const code_map* const map = read_code_map();
    std::string found;
    for (std::size_t i = 0; i < map->current; ++i) {
      const std::string name = map->ranges[i].path;
      if (name.find("libresolv") != std::string::npos) found = name;
    }
    dlclose(system);
    REQUIRE_FALSE(found.empty());
    return found;
  }
  void* handle_ = nullptr;
};

// The code of the file that was mapped from a path, or had been.
inline code_range code_of(const code_map* map, const std::string& path) {
  for (std::size_t i = 0; i < map->count; ++i) {
    if (path == map->ranges[i].path) return map->ranges[i];
  }
  FAIL("not mapped: " << path);
  return {};
}

PROF_DETAIL_END

#endif

#endif  // PROF_TESTS_UNIT_CODE_OWN_LIBRARY_HPP
