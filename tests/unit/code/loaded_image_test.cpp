// tests/unit/code/loaded_image_test.cpp - a file that is mapped to be read is no image that runs.

#include "prof/code/loaded_image.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "prof/process/attach.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

constexpr std::size_t page = 4096;

// Where the notes of prof's files are.
std::vector<std::uintptr_t> prof_notes() {
  std::vector<std::uintptr_t> found;
  for_each_image_note_sig({[](void* context, const elf_note& note) {
                             if (note.owner.equals({"prof", 4})) {
                               static_cast<std::vector<std::uintptr_t>*>(context)->push_back(note.address);
                             }
                           },
                           &found});
  return found;
}

std::string bytes_of(const char* path) {
  std::FILE* const file = std::fopen(path, "rb");
  REQUIRE(file != nullptr);
  std::string all;
  char some[65536];
  for (std::size_t n = 0; (n = std::fread(some, 1, sizeof some, file)) != 0;) all.append(some, n);
  std::fclose(file);
  return all;
}

// A copy of this program in a file of its own.
struct program_copy {
  std::string bytes = bytes_of("/proc/self/exe");
  int descriptor = memfd_create("copy", MFD_CLOEXEC);
  std::size_t room = (bytes.size() + page - 1) / page * page;
  program_copy() { REQUIRE(write(descriptor, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size())); }
  ~program_copy() { close(descriptor); }
  program_copy(const program_copy&) = delete;
  program_copy& operator=(const program_copy&) = delete;

  bool is_unchanged() const {
    std::string now(bytes.size(), '\0');
    return pread(descriptor, &now[0], now.size(), 0) == static_cast<ssize_t>(now.size()) && now == bytes;
  }
};

// All of that file in one mapping, and more memory behind it, as an allocator's may be.
struct flat_mapping {
  std::size_t size;
  char* at;
  flat_mapping(const program_copy& file, int protection, int flags, bool writable_behind)
      : size(file.room + (std::size_t{64} << 20)),
        at(static_cast<char*>(mmap(nullptr, size, writable_behind ? PROT_READ | PROT_WRITE : PROT_NONE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    REQUIRE(mmap(at, file.room, protection, flags | MAP_FIXED, file.descriptor, 0) == at);
  }
  ~flat_mapping() { munmap(at, size); }
  flat_mapping(const flat_mapping&) = delete;
  flat_mapping& operator=(const flat_mapping&) = delete;
};

os_mapping line_of(const char* line) { return os_parse_mapping_sig({line, std::strlen(line)}); }

}  // namespace

TEST_CASE("a file of prof's that is only mapped has no notes of this process, and nothing is written to it") {
  process_state* const process = attach_slow_sig();
  REQUIRE(process != nullptr);
  const std::vector<std::uintptr_t> before = prof_notes();
  REQUIRE_FALSE(before.empty());
  const program_copy file;
  for (const int protection : {PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC,
                               PROT_READ | PROT_WRITE | PROT_EXEC}) {
    for (const int flags : {MAP_PRIVATE, MAP_SHARED}) {
      for (const bool writable_behind : {false, true}) {
        CAPTURE(protection);
        CAPTURE(flags);
        CAPTURE(writable_behind);
        const flat_mapping mapped(file, protection, flags, writable_behind);
        CHECK(prof_notes() == before);
        CHECK(attach_slow_sig() == process);
        CHECK(std::memcmp(mapped.at, file.bytes.data(), file.bytes.size()) == 0);
      }
    }
  }
  CHECK(file.is_unchanged());
}

TEST_CASE("what a loaded image looks like where there is no loader to ask") {
  const auto looks_loaded = [](const std::vector<const char*>& lines) {
    image_layout layout;
    for (const char* const line : lines) {  // none is another image's header
      see_line_sig(layout, line_of(line));
    }
    REQUIRE(layout.header == 0x1000);  // no later line begins another
    return layout.has_code && layout.has_data;
  };
  // bfd: the header apart; gold: with the code; .bss only.
  CHECK(looks_loaded({"1000-2000 r--p 0 0:1 7 /a", "2000-3000 r-xp 1000 0:1 7 /a", "3000-4000 rw-p 2000 0:1 7 /a"}));
  CHECK(looks_loaded({"1000-2000 r-xp 0 0:1 7 /a", "3000-4000 rw-p 1000 0:1 7 /a"}));
  CHECK(looks_loaded({"1000-2000 r--p 0 0:1 7 /a", "2000-3000 r-xp 1000 0:1 7 /a", "3000-4000 rw-p 0 0:0 0 "}));
  CHECK_FALSE(looks_loaded({"1000-9000 r--p 0 0:1 7 /a"}));
  CHECK_FALSE(looks_loaded({"1000-9000 rwxp 0 0:1 7 /a"}));
  CHECK_FALSE(looks_loaded({"1000-9000 r-xp 0 0:1 7 /a", "9000-a000 rw-p 0 0:0 0 "}));
  CHECK_FALSE(looks_loaded({"1000-9000 r-xp 0 0:1 7 /a", "b000-c000 rw-p 1000 0:1 8 /b"}));
  CHECK_FALSE(looks_loaded({"1000-9000 r-xp 0 0:1 7 /a", "9000-a000 rw-p 0 0:0 0 [heap]"}));
  CHECK_FALSE(looks_loaded({"1000-9000 r--p 0 0:1 7 /a", "b000-c000 r-xp 1000 0:1 8 /memfd:jit",
                            "c000-d000 rw-p 2000 0:1 8 /memfd:jit"}));
}

TEST_CASE("a filled hole between a file's segments does not part them") {
  const struct {
    const char* between;
    std::uintptr_t header;
  } cases[] = {{"11000-12000 ---p 0 0:0 0 ", 0x10000},
               {"11000-12000 ---p 0 0:0 0 [heap]", 0},
               {"11000-12000 ---p 0 0:1 8 ", 0},
               {"11000-12000 ---p 0 0:1 8 /other", 0}};
  for (const auto& one : cases) {
    CAPTURE(one.between);
    latest_image image;
    see_header_sig(image, line_of("10000-11000 r--p 0 0:1 7 /file"));
    CHECK(image.header == 0x10000);
    see_header_sig(image, line_of(one.between));
    see_header_sig(image, line_of("12000-13000 r-xp 1000 0:1 7 /file"));
    CHECK(image.header == one.header);
  }
}

#endif
