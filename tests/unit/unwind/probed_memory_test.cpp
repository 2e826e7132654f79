// tests/unit/unwind/probed_memory_test.cpp - reads what is there and nothing else.

#include "prof/unwind/probed_memory.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// Eight pages, of which some can be read.
struct some_pages {
  static constexpr std::size_t page = 4096;
  char* const at = static_cast<char*>(
      mmap(nullptr, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  some_pages() = default;
  ~some_pages() { munmap(at, 8 * page); }
  some_pages(const some_pages&) = delete;
  some_pages& operator=(const some_pages&) = delete;
  std::uintptr_t address(std::size_t n) const {
    return reinterpret_cast<std::uintptr_t>(at) + n * page;
  }
  void forbid(std::size_t n) const { mprotect(at + n * page, page, PROT_NONE); }
  void remove(std::size_t n) const { munmap(at + n * page, page); }
};

}  // namespace

TEST_CASE("probed memory reads what is there and nothing else") {
  probed_memory memory;
  const std::uintptr_t value = 0x1122334455667788;
  std::uintptr_t read = 0;
  CHECK(memory.read_word(reinterpret_cast<std::uintptr_t>(&value), read));
  CHECK(read == value);
  CHECK_FALSE(memory.read_word(0, read));
  CHECK_FALSE(memory.read_word(8, read));
  CHECK_FALSE(memory.read_word(4095, read));
  for (unsigned back = 0; back < 9; ++back) {
    CHECK_FALSE(memory.read_word(~std::uintptr_t{0} - back, read));
  }
  CHECK_FALSE(memory.read_word(~std::uintptr_t{0} - 4096, read));
  CHECK_FALSE(memory.read_word(std::uintptr_t{1} << 47, read));
  CHECK_FALSE(memory.read_word(std::uintptr_t{1} << 60, read));
}

TEST_CASE("pages that are not mapped or not readable, and their borders") {
  for (const bool unmapped : {false, true}) {
    CAPTURE(unmapped);
    const some_pages pages;
    if (unmapped)
      pages.remove(3);
    else
      pages.forbid(3);
    for (int round = 0; round < 2; ++round) {  // probed anew, then remembered or probed again
      probed_memory memory;
      std::uintptr_t read = 0;
      CHECK(memory.read_word(pages.address(3) - 8, read));
      for (std::uintptr_t back = 1; back < 8; ++back) {
        CHECK_FALSE(memory.read_word(pages.address(3) - back, read));
        CHECK_FALSE(memory.read_word(pages.address(4) - back, read));
      }
      CHECK_FALSE(memory.read_word(pages.address(3), read));
      CHECK_FALSE(memory.read_word(pages.address(3) + 2048, read));
      CHECK(memory.read_word(pages.address(4), read));
      CHECK(memory.read_word(pages.address(3) - 8, read));
    }
  }
}

TEST_CASE("the pages that are read grow upwards and span no gap") {
  const some_pages pages;
  pages.forbid(2);
  pages.forbid(5);
  probed_memory memory;
  std::uintptr_t read = 0;
  CHECK(memory.read_word(pages.address(0) + 8, read));
  CHECK(memory.read_word(pages.address(1) + 8, read));
  CHECK(memory.read_word(pages.address(3) + 8, read));
  CHECK_FALSE(memory.read_word(pages.address(2) + 8, read));
  CHECK(memory.read_word(pages.address(4) + 8, read));
  CHECK_FALSE(memory.read_word(pages.address(2) + 8, read));
  CHECK(memory.read_word(pages.address(0) + 8, read));  // back
  CHECK_FALSE(memory.read_word(pages.address(2) + 8, read));
  CHECK_FALSE(memory.read_word(pages.address(2) - 4, read));
  CHECK_FALSE(memory.read_word(pages.address(5) - 4, read));
  CHECK(memory.read_word(pages.address(5) - 8, read));
  CHECK_FALSE(memory.read_word(pages.address(5), read));
}

TEST_CASE("words are copied in turn from two places, and from the last bytes before a gap") {
  const some_pages pages;
  for (std::size_t i = 0; i < 4 * some_pages::page; i += 8) {
    const std::uintptr_t value = pages.address(0) + i;
    std::memcpy(pages.at + i, &value, sizeof value);
  }
  pages.remove(4);
  walk_memory memory;
  for (std::uintptr_t i = 0; i < 4096; i += 8) {
    for (const std::uintptr_t at : {pages.address(0) + i, pages.address(3) + i, pages.address(1) + i}) {
      std::uintptr_t read = 0;
      CHECK(memory.read_copy(at, read));
      CHECK(read == at);
    }
  }
  std::uintptr_t read = 0;
  CHECK_FALSE(memory.read_copy(pages.address(4) - 7, read));
  CHECK_FALSE(memory.read_copy(pages.address(4), read));
  CHECK_FALSE(memory.read_copy(0, read));
  CHECK_FALSE(memory.read_copy(~std::uintptr_t{0}, read));
}

TEST_CASE("a word across two pages that are there") {
  const some_pages pages;
  const std::uintptr_t value = 0x1122334455667788;
  std::memcpy(pages.at + 4093, &value, sizeof value);
  probed_memory memory;
  std::uintptr_t read = 0;
  CHECK(memory.read_word(pages.address(1) - 3, read));
  CHECK(read == value);
}

TEST_CASE("ranges are readable when all their pages are") {
  const some_pages pages;
  pages.forbid(5);
  probed_memory memory;
  CHECK(memory.readable(pages.address(0), 5 * some_pages::page));
  CHECK_FALSE(memory.readable(pages.address(0), 5 * some_pages::page + 1));
  CHECK(memory.readable(pages.address(5) - 1, 1));
  CHECK_FALSE(memory.readable(pages.address(5) - 1, 2));
  CHECK_FALSE(memory.readable(pages.address(5), 1));
  CHECK_FALSE(memory.readable(pages.address(6) - 1, 2));
  CHECK(memory.readable(pages.address(6), 2 * some_pages::page));
  CHECK_FALSE(memory.readable(pages.address(0), ~std::size_t{0} - 5));
  CHECK_FALSE(memory.readable(~std::uintptr_t{0} - 7, 8));
  CHECK_FALSE(memory.readable(~std::uintptr_t{0} - 7, 16));
  CHECK_FALSE(memory.readable(0, 1));
}

TEST_CASE("pages that share a place in the memory of pages do not stand for each other") {
  const some_pages pages;  // eight pages: the last one's successor shares the first one's place
  probed_memory memory;
  std::uintptr_t read = 0;
  CHECK(memory.read_word(pages.address(0), read));
  pages.forbid(1);
  const std::uintptr_t far = pages.address(0) + (std::uintptr_t{1} << 46);
  CHECK_FALSE(memory.read_word(far, read));
  CHECK(memory.read_word(pages.address(7), read));
  CHECK(memory.read_word(pages.address(0), read));
}

TEST_CASE("behind the last page of a stack nothing is asked for twice, and what comes there later is found") {
  const some_pages pages;
  pages.remove(3);
  const std::uintptr_t last = pages.address(2) >> 12;
  std::uintptr_t read = 0;
  const auto is_hinted = [last] { return last_pages[last % 128].load() == last; };
  for (int round = 0; round < 3; ++round) {
    probed_memory memory;
    CHECK(memory.read_word(pages.address(2) + 8, read));
    CHECK(is_hinted());
    CHECK_FALSE(memory.read_word(pages.address(3), read));
  }
  void* const again = mmap(pages.at + 3 * some_pages::page, some_pages::page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  REQUIRE(static_cast<bool>(again != MAP_FAILED));
  probed_memory memory;
  CHECK(memory.read_word(pages.address(2) + 8, read));
  CHECK(memory.read_word(pages.address(3), read));
  // A page that cannot be read itself is no stack's last one.
  pages.remove(5);
  CHECK_FALSE(memory.read_word(pages.address(5), read));
  CHECK(last_pages[(pages.address(5) >> 12) % 128].load() != pages.address(5) >> 12);
}

TEST_CASE("code is copied word by word as it is, up to the end of what can be read") {
  const some_pages pages;
  pages.forbid(2);
  for (std::size_t i = 0; i < 2 * some_pages::page; ++i) pages.at[i] = static_cast<char>(i * 7 + i / 251);
  for (const bool down : {false, true}) {
    walk_memory memory;
    bool right = true;
    const std::size_t count = 2 * some_pages::page - 8;
    for (std::size_t step = 0; step <= count; ++step) {
      const std::size_t at = down ? count - step : step;
      std::uintptr_t wanted = 0;
      std::uintptr_t read = 0;
      std::memcpy(&wanted, pages.at + at, sizeof wanted);
      right = memory.read_copy(pages.address(0) + at, read) && read == wanted && right;
    }
    CHECK(right);
    std::uintptr_t read = 0;
    for (std::uintptr_t beyond = 1; beyond <= 8; ++beyond) {
      CHECK_FALSE(memory.read_copy(pages.address(2) - 8 + beyond, read));
    }
  }
}

#endif
