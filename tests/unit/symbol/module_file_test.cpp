// tests/unit/symbol/module_file_test.cpp - the file that runs is found, another one never, whatever its path leads to.

#include "prof/symbol/module_file.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "../code/own_library.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// What was opened, until the end of a test.
struct opened {
  explicit opened(const module_identity& wanted) { found = file.open(wanted, memory); }
  ~opened() { file.close(); }
  opened(const opened&) = delete;
  opened& operator=(const opened&) = delete;
  // Whether it is a file with this content, or a part of it in memory.
  bool is(const std::string& content) const {
    const text_view begin = file.image().bytes(0, content.size());
    return !file.is_from_memory() && begin.size == content.size() &&
           std::memcmp(begin.data, content.data(), content.size()) == 0;
  }
  arena memory{os_pages};
  module_file file;
  bool found;
};

std::string another_file(const own_library& than) {
  std::string other = than.content;
  other.back() = static_cast<char>(other.back() ^ 1);  // behind all that is loaded
  return other;
}
std::string another_build(const own_library& than) {
  std::string other = than.content;
  const std::size_t note = other.find(std::string("\3\0\0\0GNU\0", 8));
  REQUIRE(note != std::string::npos);
  other[note + 8] = static_cast<char>(other[note + 8] ^ 1);
  return other;
}

// The range of a library, and of what it was before it was unloaded.
struct known_library {
  explicit known_library(bool with_id) : library(with_id) { map = read_code_map_sig(nullptr, *registry.code); }
  code_range range() const { return code_of(map, library.path); }
  void refresh() { map = read_code_map_sig(map, *registry.code); }
  own_registry registry;
  own_library library;
  const code_map* map;
};

std::uintptr_t own_code() { return reinterpret_cast<std::uintptr_t>(&another_file); }

}  // namespace

TEST_CASE("kept: the file at its path") {
  for (const bool with_id : {true, false}) {
    const known_library known(with_id);
    const code_range range = known.range();
    CHECK((range.build_id_length != 0) == with_id);
    const opened file(identity_of(range));
    CHECK(file.found);
    CHECK(file.is(known.library.content));
    CHECK(file.file.lack() == file_lack::none);
  }
}

TEST_CASE("deleted or replaced: what is mapped, or its symbols in memory, and why") {
  for (const bool with_id : {true, false}) {
    for (const bool deleted : {true, false}) {
      known_library known(with_id);
      if (deleted) unlink(known.library.path.c_str());
      else known.library.replace(with_id ? another_build(known.library) : another_file(known.library));
      known.refresh();  // the line ends with " (deleted)" now
      const code_range range = known.range();
      CHECK(range.current);
      const opened file(identity_of(range));
      CHECK(file.found);
      CHECK((file.file.is_from_memory() || file.is(known.library.content)));
      CHECK(file.file.lack() == (deleted ? file_lack::deleted : file_lack::replaced));
      code_range unmapped = range;
      unmapped.moved = true;  // so that it is not looked for in /proc/self/map_files
      const opened memory(identity_of(unmapped));
      CHECK(memory.found);
      CHECK(memory.file.is_from_memory());
      Elf64_Shdr head{};
      CHECK(memory.file.image().find_section(SHT_DYNSYM, head) != 0);
    }
  }
}

TEST_CASE("replaced by what has the old file's build id it is the same, by one without it is not") {
  known_library known(true);
  known.library.replace(another_file(known.library));
  CHECK(opened(identity_of(known.range())).file.lack() == file_lack::none);
  std::string without = known.library.content;
  own_library::take_id_away(without);
  known.library.replace(without);
  const opened file(identity_of(known.range()));
  CHECK(file.file.lack() == file_lack::replaced);
  CHECK_FALSE(file.is(without));
}

TEST_CASE("unloaded: the file if it was not changed since, else none") {
  for (const bool with_id : {true, false}) {
    known_library known(with_id);
    known.library.unload();
    known.refresh();
    REQUIRE_FALSE(known.range().current);
    {
      const opened file(identity_of(known.range()));
      CHECK(file.found);
      CHECK(file.is(known.library.content));
    }
    const code_range range = known.range();
    module_identity older = identity_of(range);
    older.seen_ns = 1;  // as if the file had been changed behind that
    CHECK(opened(older).found == with_id);
    known.library.replace(with_id ? another_build(known.library) : another_file(known.library));
    CHECK_FALSE(opened(identity_of(known.range())).found);
    unlink(known.library.path.c_str());
    const opened file(identity_of(known.range()));
    CHECK_FALSE(file.found);
    CHECK(file.file.lack() == file_lack::deleted);
  }
}

TEST_CASE("a path that leads to no file is not waited for") {
  const known_library known(true);
  code_range range = known.range();
  range.moved = true;
  const std::string path = known.library.path;
  unlink(path.c_str());
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  const opened fifo(identity_of(range));
  CHECK(fifo.file.is_from_memory());
  CHECK(fifo.file.lack() == file_lack::unreadable);
  unlink(path.c_str());
  REQUIRE(mkdir(path.c_str(), 0700) == 0);
  CHECK(opened(identity_of(range)).file.lack() == file_lack::unreadable);
  REQUIRE(rmdir(path.c_str()) == 0);
  REQUIRE(symlink("/dev/zero", path.c_str()) == 0);
  CHECK(opened(identity_of(range)).file.lack() == file_lack::unreadable);
}

TEST_CASE("a file that is no ELF file is another one") {
  const known_library known(false);
  known.library.replace("#!/bin/sh\n");
  CHECK(opened(identity_of(known.range())).file.lack() == file_lack::replaced);
}

TEST_CASE("the program is what the system says it is") {
  const code_map* const map = read_code_map();
  code_range range = *map->find(own_code());
  range.moved = true;  // so that it is not looked for in /proc/self/map_files
  const std::string content = file_content("/proc/self/exe");
  module_identity wanted = identity_of(range);
  CHECK(opened(wanted).is(content));
  wanted.path = {"/nowhere/was/here", 17};
  {
    const opened file(wanted);
    CHECK(file.is(content));
    CHECK(file.file.lack() == file_lack::deleted);
  }
  wanted.build_id = {};
  CHECK(opened(wanted).is(content));  // device and inode
  wanted.inode = wanted.device = 0;
  CHECK(opened(wanted).is(content));  // moved with its header
  const known_library other(false);
  const code_range library = other.range();
  module_identity stranger = identity_of(library);
  stranger.path = {"/proc/self/exe", 14};
  stranger.inode = stranger.device = 0;
  const opened file(stranger);
  CHECK_FALSE(file.is(content));
  CHECK(file.file.lack() == file_lack::replaced);
}

TEST_CASE("a program that is not known by the path of another") {
  code_range range = *read_code_map()->find(own_code());
  const known_library other(false);
  module_identity wanted = identity_of(range);
  wanted.path = {other.library.path.data(), other.library.path.size()};
  wanted.build_id = {};
  const opened file(wanted);
  CHECK(file.is(file_content("/proc/self/exe")));
  CHECK(file.file.lack() == file_lack::replaced);
  wanted.inode = wanted.device = 0;
  CHECK(opened(wanted).is(file_content("/proc/self/exe")));
}

TEST_CASE("device and inode of a mapping decide where those of the file are others") {
  const known_library known(false);
  const code_range range = known.range();
  std::size_t size = 0;
  const void* const pages = os_map_file(known.library.path.c_str(), size);
  os_mapping ours;
  REQUIRE(os_find_mapping_sig(reinterpret_cast<std::uintptr_t>(pages), ours));
  CHECK(ours.inode == range.inode);
  CHECK(ours.device == range.device);
  os_unmap_sig(const_cast<void*>(pages), size);
  module_identity wanted = identity_of(range);
  wanted.range = nullptr;
  CHECK(opened(wanted).found);
  wanted.device ^= 1;
  CHECK_FALSE(opened(wanted).found);
  wanted.device = 0;
  CHECK_FALSE(opened(wanted).found);
  wanted = identity_of(range);
  wanted.range = nullptr;
  wanted.inode ^= 1;
  CHECK_FALSE(opened(wanted).found);
}

TEST_CASE("what is no path is not opened, the vdso is where it is") {
  code_range range;
  range.path = "[heap]";
  range.path_size = 6;
  const opened heap(identity_of(range));
  CHECK_FALSE(heap.found);
  CHECK(heap.file.lack() == file_lack::none);
  const code_map* const map = read_code_map();
  for (std::size_t i = 0; i < map->current; ++i) {
    if (std::string(map->ranges[i].path) != "[vdso]") continue;
    const opened vdso(identity_of(map->ranges[i]));
    CHECK(vdso.found);
    CHECK(vdso.file.image().build_id().size == map->ranges[i].build_id_length);
  }
}

TEST_CASE("of a build id that is longer than what is kept the begin counts") {
  const std::string longer(40, 'x');
  const auto view = [&longer](std::size_t size) { return text_view(longer.data(), size); };
  CHECK(is_same_build_id(view(40), view(32)));
  CHECK(is_same_build_id(view(20), view(20)));
  CHECK_FALSE(is_same_build_id(view(40), view(20)));
  CHECK_FALSE(is_same_build_id(view(20), view(0)));
  CHECK_FALSE(is_same_build_id(view(0), view(0)));
  CHECK_FALSE(is_same_build_id(view(20), view(32)));
}

#endif
