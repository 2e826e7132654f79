// tests/unit/code/copied_cfi_test.cpp - what is found in a copy is what is found in place, and nothing where the
// memory is gone.

#include "prof/code/copied_cfi.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "../unwind/cfi_bytes.hpp"
#include "own_registry.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct own_memory {
  bool readable(std::uintptr_t, std::size_t) { return true; }
};

struct fixture {
  loaded_cfi cfi;
  cfi_copy copy;
  cfi_fde fde;

  explicit fixture(unsigned functions = 5) {
    for (unsigned i = 0; i < functions; ++i) cfi.add(0x100 * i, 0x80, {0x41, 0x0e, 16});
    cfi.load();
  }
  bool find(std::uintptr_t offset) {
    copied_cfi_search search({loaded_cfi::header(), cfi.limit()}, copy);
    return search.find_fde_sig(loaded_cfi::code() + offset, fde);
  }
  void put(std::size_t at, std::uint32_t value) { std::memcpy(loaded_cfi::bytes() + at, &value, sizeof value); }
  std::size_t entry_at(std::size_t n) const { return cfi.eh_frame_at() + cfi.functions[n].entry; }
  bool is_in_copy(const cfi_byte* at) const { return at >= copy.bytes && at <= copy.bytes + sizeof copy.bytes; }
};

}  // namespace

TEST_CASE("copied: an address is found in its function, and not between functions") {
  fixture f(700);  // more than are copied at once
  for (const std::uintptr_t i : {0u, 1u, 2u, 159u, 160u, 161u, 350u, 698u, 699u}) {
    CAPTURE(i);
    for (const std::uintptr_t at : {0x100 * i, 0x100 * i + 0x7f}) {
      REQUIRE(f.find(at));
      CHECK(f.fde.begin == loaded_cfi::code() + 0x100 * i);
      CHECK(f.fde.limit == loaded_cfi::code() + 0x100 * i + 0x80);
      CHECK(f.is_in_copy(f.fde.instructions.at()));
      CHECK(f.is_in_copy(f.fde.cie.instructions.at()));
    }
    CHECK_FALSE(f.find(0x100 * i + 0x80));
  }
  CHECK_FALSE(f.find(~std::uintptr_t{0}));  // one byte before the first
}

// All of them: relative addresses are those of the original.
TEST_CASE("copied: every module here says what it says in place") {
  const code_map* const map = read_code_map();
  std::size_t known = 0;
  for (std::size_t i = 0; i < map->current; ++i) {
    const code_range& range = map->ranges[i];
    std::size_t different = 0;
    for (std::uintptr_t pc = range.start; pc < range.limit; pc += 4999) {
      cfi_scratch in_place;
      cfi_scratch copied;
      own_memory memory;
      const bool found = cfi_search<own_memory>(range.cfi, memory).find_fde_sig(pc, in_place.fde);
      const bool same = copied_cfi_search(range.cfi, copied.copy).find_fde_sig(pc, copied.fde) == found &&
                        (!found || (copied.fde.begin == in_place.fde.begin && copied.fde.limit == in_place.fde.limit &&
                                    find_row_sig(copied, pc) == find_row_sig(in_place, pc)));
      known += found ? 1u : 0u;
      different += same ? 0u : 1u;
    }
    CHECK_MESSAGE(different == 0, range.path);
  }
  CHECK(known > 200);
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

TEST_CASE("copied: a header that counts more functions than its segment can hold is not believed") {
  fixture f;
  REQUIRE(f.find(0));
  const auto room = static_cast<std::uint32_t>((f.cfi.limit() - loaded_cfi::header()) / 8);
  for (const std::uint32_t count : {room + 1, 0x7fffffffu, 0xffffffffu}) {
    f.put(8, count);
    CHECK_FALSE(f.find(0));
  }
}

TEST_CASE("copied: entries that lie are refused") {
  const auto refused = [](std::size_t behind_entry, std::uint32_t value) {
    fixture f;
    REQUIRE(f.find(0x200));
    f.put(f.entry_at(2) + behind_entry, value);
    return !f.find(0x200);
  };
  for (const std::uint32_t length : {0u, 1u, 3u, 0x10001u, 0x7fffffffu, 0xfffffff0u, 0xffffffffu}) {
    CAPTURE(length);
    CHECK(refused(0, length));
  }
  for (const std::uint32_t cie : {0u, 1u, 0x7fffffffu, 0xffffffffu}) {
    CAPTURE(cie);
    CHECK(refused(4, cie));
  }
  for (const std::uint32_t place : {0u, 0x7fffffffu, 0x80000000u, 0xfffffff0u}) {
    CAPTURE(place);
    fixture f;
    f.put(12 + 8 * 2 + 4, place);
    CHECK_FALSE(f.find(0x200));
  }
}

TEST_CASE("copied: an entry that has no room is none, one that just fits is") {
  for (const bool fits : {true, false}) {
    CAPTURE(fits);
    cfi_text nops;
    fixture f(0);
    f.cfi.add(0, 0x80, {});
    f.cfi.load();
    REQUIRE(f.find(0));
    const std::size_t cie = static_cast<std::size_t>(f.fde.instructions.at() - f.copy.bytes);
    const std::size_t bare = static_cast<std::size_t>(f.fde.instructions.left());
    while (nops.bytes.size() + cie + bare + (fits ? 8 : 0) < sizeof f.copy.bytes + 8) nops.bytes.push_back(0);
    fixture large(0);
    large.cfi.add(0, 0x80, nops);
    large.cfi.load();
    CHECK(large.find(0) == fits);
  }
}

TEST_CASE("copied: nothing is found where the memory is gone") {
  cfi_copy copy;
  cfi_fde fde;
  CHECK_FALSE(copied_cfi_search({}, copy).find_fde_sig(0x1000, fde));
  CHECK_FALSE(copied_cfi_search({0x1000, 0x2000}, copy).find_fde_sig(0x1000, fde));
  // A header of which only the first page is still there.
  char* const pages = static_cast<char*>(os_map_sig(8192));
  REQUIRE(pages != nullptr);
  fixture f(400);
  REQUIRE(f.find(0x100 * 399));
  const std::size_t kept = 64;
  std::memcpy(pages + 4096 - kept, loaded_cfi::bytes(), kept);
  os_unmap_sig(pages + 4096, 4096);
  const auto header = reinterpret_cast<std::uintptr_t>(pages) + 4096 - kept;
  CHECK_FALSE(copied_cfi_search({header, header + 0x4000}, f.copy).find_fde_sig(loaded_cfi::code(), f.fde));
  os_unmap_sig(pages, 4096);
}

#endif
