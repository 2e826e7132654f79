// tests/unit/code/moved_code_test.cpp - a library's code moved to pages without a file is still the library's.

#include "prof/code/moved_code.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "own_library.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// The pages' content is copied to anonymous memory, and that is moved over them.
void move_pages(std::uintptr_t start, std::size_t size, int protection = PROT_READ | PROT_EXEC) {
  void* const copy = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(copy != MAP_FAILED);
  std::memcpy(copy, reinterpret_cast<const void*>(start), size);
  REQUIRE(mprotect(copy, size, protection) == 0);
  void* const moved = mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(start));
  REQUIRE(moved == reinterpret_cast<void*>(start));
}

const code_range* range_at(const code_map* map, std::uintptr_t address) {
  REQUIRE(map != nullptr);
  return map->find_current(address);
}

// What a refresh knows where the loader cannot be asked for an address.
never_unloaded_objects only(const std::uintptr_t& header) {
  never_unloaded_objects known;
  known.headers = &header;
  known.count = 1;
  return known;
}

void check_same_file(const code_range& range, const code_range& as) {
  CHECK(std::string(range.path) == as.path);
  CHECK(range.header == as.header);
  CHECK(range.device == as.device);
  CHECK(range.inode == as.inode);
  CHECK(range.build_id_length == as.build_id_length);
  CHECK(std::memcmp(range.build_id, as.build_id, sizeof range.build_id) == 0);
  CHECK(range.image);
}

}  // namespace

TEST_CASE("a range knows its file") {
  const own_registry registry;
  const own_library library;
  const code_range range = code_of(read_code_map_sig(nullptr, *registry.code), library.path);
  struct stat status;
  REQUIRE(stat(library.path.c_str(), &status) == 0);
  CHECK(range.inode == status.st_ino);
  CHECK(range.device != 0);
  CHECK(range.seen_ns != 0);
  CHECK_FALSE(range.moved);
}

TEST_CASE("moved as a whole it is the range that it was, whether the map was read before or after") {
  const own_registry registry;
  const own_registry later;
  const own_library library;
  const code_map* const before = read_code_map_sig(nullptr, *registry.code);
  const code_range was = code_of(before, library.path);
  move_pages(was.start, was.limit - was.start);
  const code_map* const after = read_code_map_sig(before, *registry.code, only(was.header));
  REQUIRE(after != before);
  const code_range* const now = range_at(after, was.start);
  REQUIRE(now != nullptr);
  CHECK(now->number == was.number);
  const code_range* const first = range_at(read_code_map_sig(nullptr, *later.code, only(was.header)), was.limit - 1);
  REQUIRE(first != nullptr);
  CHECK(first->moved);
  CHECK(first->start == was.start);
  CHECK(first->limit == was.limit);
  CHECK(first->offset == was.offset);
  CHECK(first->cfi.header == was.cfi.header);
  check_same_file(*first, was);
}

TEST_CASE("moved in part every piece has its place in the file") {
  const own_registry registry;
  const own_library library;
  const code_range was = code_of(read_code_map_sig(nullptr, *registry.code), library.path);
  REQUIRE(was.limit - was.start >= 3 * 4096);
  move_pages(was.start + 4096, 4096);
  const code_map* const map = read_code_map_sig(nullptr, *registry.code, only(was.header));
  int moved = 0;
  for (std::uintptr_t at = was.start; at < was.limit; at += 4096) {
    const code_range* const range = range_at(map, at);
    REQUIRE(range != nullptr);
    check_same_file(*range, was);
    CHECK(at - range->start + range->offset == at - was.start + was.offset);
    CHECK(range->moved == (range->start == was.start + 4096));
    moved += range->moved ? 1 : 0;
  }
  CHECK(moved == 1);
}

TEST_CASE("where the header has moved, too, the loader's name is the path, and no file is known") {
  const own_registry registry;
  const own_library library;
  const code_range was = code_of(read_code_map_sig(nullptr, *registry.code), library.path);
  move_pages(was.header, was.start - was.header, PROT_READ);
  move_pages(was.start, was.limit - was.start);
  const code_range* const range =
      range_at(read_code_map_sig(nullptr, *registry.code, only(was.header)), was.start);
  REQUIRE(range != nullptr);
  CHECK(range->inode == 0);
  CHECK(range->device == 0);
  CHECK(range->offset == was.offset);
  CHECK(range->build_id_length == was.build_id_length);
  CHECK(std::string(range->path) == (os_answers_for_objects() ? library.path : ""));
}

TEST_CASE("a walk that meets moved code registers it with its name") {
  const own_registry registry;
  const own_registry other;
  const own_library library;
  const code_range was = code_of(read_code_map_sig(nullptr, *other.code), library.path);
  move_pages(was.start, was.limit - was.start);
  register_code_at_sig(*registry.code, was.start + 64);
  const code_range* const range = registry.code->ranges.at(1);
  REQUIRE(range != nullptr);
  CHECK(range->start == was.start);
  if (os_answers_for_objects()) check_same_file(*range, was);
  else CHECK(range->path_size == 0);  // nobody says whose it is
}

TEST_CASE("code that no object has stays nameless, and unlisted") {
  const own_registry registry;
  void* const jit = mmap(nullptr, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(jit != MAP_FAILED);
  const auto at = reinterpret_cast<std::uintptr_t>(jit);
  CHECK(range_at(read_code_map_sig(nullptr, *registry.code), at) == nullptr);
  register_code_at_sig(*registry.code, at);
  for (range_number number = 1; registry.code->ranges.at(number) != nullptr; ++number) {
    const code_range& range = *registry.code->ranges.at(number);
    if (range.holds(at)) CHECK(range.path_size == 0);
  }
  munmap(jit, 8192);
}

TEST_CASE("a line that is more than a segment is cut to it, from either end") {
  const own_registry registry;
  const own_library library;
  const code_range was = code_of(read_code_map_sig(nullptr, *registry.code), library.path);
  elf_room room;
  for (const int end : {0, 1}) {
    moved_code code;
    code.start = end == 0 ? was.start : was.start - 5 * 4096;
    code.limit = end == 0 ? was.limit + 5 * 4096 : was.limit;
    REQUIRE(find_moved_code_sig(code, only(was.header), room));
    CHECK(code.header == was.header);
    CHECK(code.start == was.start);
    CHECK(code.limit == was.limit);
    CHECK(code.offset == was.offset);
  }
  moved_code data;  // of an object, but not its code
  data.start = was.header;
  data.limit = was.header + 4096;
  CHECK_FALSE(find_moved_code_sig(data, only(was.header), room));
}

TEST_CASE("huge pages are no file, and hide no header; a file in memory is one") {
  const auto line = [](std::uintptr_t start, std::uint64_t inode, const char* path) {
    os_mapping mapping;
    mapping.start = start;
    mapping.limit = start + 0x1000;
    mapping.offset = start == 0x1000 ? 0 : 0x1000;
    mapping.inode = inode;
    mapping.readable = true;
    mapping.executable = true;
    mapping.path = path;
    return mapping;
  };
  CHECK(is_without_file_sig(line(0, 0, "")));
  CHECK(is_without_file_sig(line(0, 0, "[anon:code]")));
  CHECK(is_without_file_sig(line(0, 5, "/anon_hugepage (deleted)")));
  CHECK(is_without_file_sig(line(0, 5, "/dev/zero (deleted)")));
  CHECK_FALSE(is_without_file_sig(line(0, 5, "/memfd:library (deleted)")));
  CHECK_FALSE(is_without_file_sig(line(0, 0, "[vdso]")));
  latest_image image;
  see_header_sig(image, line(0x1000, 7, "/lib/a"));
  os_mapping huge = line(0x2000, 5, "/anon_hugepage (deleted)");
  huge.offset = 0;
  see_header_sig(image, huge);
  see_header_sig(image, line(0x3000, 7, "/lib/a"));
  CHECK(image.header == 0x1000);
}

TEST_CASE("where the loader is not asked, the last header before an address counts") {
  const std::uintptr_t headers[] = {0x3000, 0x1000, 0x8000};
  never_unloaded_objects known;
  known.headers = headers;
  known.count = 3;
  if (os_answers_for_objects()) {
    CHECK(header_at_sig(0x3500, known) == 0);
    return;
  }
  CHECK(header_at_sig(0x3500, known) == 0x3000);
  CHECK(header_at_sig(0x2fff, known) == 0x1000);
  CHECK(header_at_sig(0x500, known) == 0);
}

#endif
