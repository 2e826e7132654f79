// tests/unit/stack/rule_lookup_test.cpp - where the rule of an address comes from, and what is
// kept.

#include "prof/stack/rule_lookup.hpp"

#include <doctest/doctest.h>
#include <link.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "cfi_bytes.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

#if defined(__aarch64__)
constexpr unsigned char indirect_call[] = {0x00, 0x00, 0x3f, 0xd6};  // blr x0
constexpr unsigned char trampoline[] = {0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4};
constexpr std::uintptr_t one_instruction = 4;
#else
constexpr unsigned char indirect_call[] = {0xff, 0xd0};  // call *%rax
constexpr unsigned char trampoline[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
constexpr std::uintptr_t one_instruction = 1;
#endif

// A map of one module whose code is that of loaded_cfi: every function has its number of words.
struct fixture {
  loaded_cfi cfi;
  module_cfi module{};
  code_range range;
  code_map map;
  std::unique_ptr<rule_cache> cache = std::make_unique<rule_cache>();
  std::atomic<bool> stale{false};
  cfi_scratch scratch;
  probed_memory memory;

  fixture() {
    for (unsigned i = 0; i < 8; ++i) cfi.add(0x100 * i, 0x100, {0x0e, 8 + 8 * i});
    load();
    std::memset(reinterpret_cast<void*>(loaded_cfi::code()), 0x90, 0x1000);
    map.ranges = &range;
    map.count = map.current = 1;
  }
  void load() {
    cfi.load();
    range.start = loaded_cfi::code();
    range.limit = loaded_cfi::code() + 0x10000;
    range.header = loaded_cfi::header();
    range.cfi = {loaded_cfi::header(), cfi.limit()};
    range.module = &module;
  }
  void put(std::uintptr_t offset, const void* code, std::size_t size) {
    std::memcpy(reinterpret_cast<void*>(loaded_cfi::code() + offset), code, size);
  }
  void put_call_before(std::uintptr_t offset) {
    put(offset - sizeof indirect_call, indirect_call, sizeof indirect_call);
  }
  rule_lookup lookup(std::uint64_t epoch = 1) {
    return rule_lookup(&map, *cache, epoch, stale, scratch);
  }
  packed_rule rule(std::uintptr_t offset, bool is_return, std::uint64_t epoch = 1) {
    return lookup(epoch).rule_at_sig(loaded_cfi::code() + offset, is_return, memory);
  }
};

unwind_rule of_function(std::int32_t number) {
  unwind_rule rule;
  rule.kind = rule_kind::offset;
  rule.reg = 7;
  rule.offset = 8 + 8 * number;
  return rule;
}

// A library that nothing has loaded yet.
struct late_library {
  void* handle = nullptr;
  late_library() {
    for (const char* name : {"libthread_db.so.1", "libanl.so.1", "libBrokenLocale.so.1",
                             "libresolv.so.2", "libutil.so.1"}) {
      if (dlopen(name, RTLD_NOW | RTLD_NOLOAD) != nullptr) continue;
      handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (handle != nullptr) return;
    }
  }
  ~late_library() {
    if (handle != nullptr) dlclose(handle);
  }
  late_library(const late_library&) = delete;
  late_library& operator=(const late_library&) = delete;
  // The begin of a function in the middle of it.
  std::uintptr_t function() const {
    link_map* loaded = nullptr;
    REQUIRE(dlinfo(handle, RTLD_DI_LINKMAP, &loaded) == 0);
    const code_map* const map = read_code_map_sig(nullptr);
    std::uintptr_t found = 0;
    for (std::size_t i = 0; i < map->current; ++i) {
      const code_range& range = map->ranges[i];
      const bool same = std::string(range.path).find(loaded->l_name) != std::string::npos;
      cfi_header header;
      if (range.header != loaded->l_addr && !same) continue;
      REQUIRE(parse_header_sig(range.cfi.header, header));
      found = header.start(header.count / 2);
    }
    os_unmap_sig(const_cast<code_map*>(map), map->bytes);
    return found;
  }
};

}  // namespace

// ---- the cache
// -----------------------------------------------------------------------------------

TEST_CASE("the cache has what was kept under this key and salt, and nothing else") {
  const auto cache = std::make_unique<rule_cache>();
  packed_rule rule = 0;
  CHECK_FALSE(cache->find_sig(0x400000, 7, rule));
  cache->keep_sig(0x400000, 7, 0x1234);
  CHECK(cache->find_sig(0x400000, 7, rule));
  CHECK(rule == 0x1234);
  CHECK_FALSE(cache->find_sig(0x400000, 8, rule));
  CHECK_FALSE(cache->find_sig(0x400001, 7, rule));
  cache->keep_sig(0x400000, 7, 0);  // that nothing is known is worth keeping
  CHECK(cache->find_sig(0x400000, 7, rule));
  CHECK(rule == 0);
}

TEST_CASE("ten times as many keys as places: what is found is right") {
  const auto cache = std::make_unique<rule_cache>();
  constexpr std::uint64_t keys = 160000;
  std::size_t found = 0;
  for (std::uint64_t key = 1; key <= keys; ++key) cache->keep_sig(key * 2, 99, key);
  for (std::uint64_t key = 1; key <= keys; ++key) {
    packed_rule rule = 0;
    if (!cache->find_sig(key * 2, 99, rule)) continue;
    ++found;
    REQUIRE(rule == key);
  }
  CHECK(found > 10000);
  CHECK(found <= 16384);
}

TEST_CASE("no address is found in an empty cache, whatever the epoch") {
  fixture f;
  f.map.count = f.map.current = 0;
  for (std::uint64_t epoch = 0; epoch < 100; ++epoch) {
    packed_rule rule = 0;
    CHECK_FALSE(f.lookup(epoch).known_rule_sig(0, rule));
    CHECK_FALSE(f.lookup(epoch).known_rule_sig(loaded_cfi::code(), rule));
  }
}

TEST_CASE("a rule is kept for its epoch") {
  fixture f;
  const packed_rule before = f.rule(0x110, false);
  CHECK(unpack_rule_sig(before) == of_function(1));
  f.cfi = {};
  f.cfi.add(0, 0x1000, {0x0e, 80});
  f.load();
  CHECK(f.rule(0x110, false) == before);
  CHECK(unpack_rule_sig(f.rule(0x110, false, 2)) == of_function(9));
  CHECK(f.rule(0x110, false, 1) != before);  // its place was taken
}

TEST_CASE("a return address and an interrupted instruction are kept apart") {
  fixture f;
  f.put_call_before(0x200);
  const std::uintptr_t border = loaded_cfi::code() + 0x200;
  packed_rule known = 0;
  CHECK(unpack_rule_sig(f.rule(0x200, false)) == of_function(2));
  CHECK_FALSE(f.lookup().known_rule_sig(border, known));
  CHECK(unpack_rule_sig(f.rule(0x200, true)) == of_function(1));
  CHECK(f.lookup().known_rule_sig(border, known));
  CHECK(unpack_rule_sig(known) == of_function(1));
  CHECK(unpack_rule_sig(f.rule(0x200, false)) == of_function(2));
}

// ---- return addresses
// ----------------------------------------------------------------------------

TEST_CASE("an address behind a call belongs to the call") {
  fixture f;
  f.put_call_before(0x300);
  const packed_rule rule = f.rule(0x300, true);
  CHECK((rule & packed_is_exact) == 0);
  CHECK(unpack_rule_sig(rule) == of_function(2));
}

TEST_CASE("an address that was pushed by hand belongs to the function that it begins") {
  fixture f;
  const packed_rule rule = f.rule(0x300, true);
  CHECK((rule & packed_is_exact) != 0);
  CHECK(unpack_rule_sig(rule) == of_function(3));
  CHECK((f.rule(0x300, false) & packed_is_exact) == 0);
}

TEST_CASE("where nothing is known a pushed address is nothing, too") {
  fixture f;
  CHECK(f.rule(0x2000, true) == 0);
  CHECK(f.rule(0x2000, false) == 0);
}

TEST_CASE("what handlers return to is a signal frame, also without a rule") {
  fixture f;
  f.put(0x2000, trampoline, sizeof trampoline);
  CHECK(kind_of_sig(f.rule(0x2000, false)) == rule_kind::signal_frame);
  CHECK(f.rule(0x2000, true) ==
        (static_cast<packed_rule>(rule_kind::signal_frame) | packed_is_exact));
  CHECK(f.rule(0x2000 + one_instruction, false) == 0);
}

// ---- tables
// --------------------------------------------------------------------------------------

TEST_CASE("a module without a table is interpreted, and its table wanted") {
  fixture f;
  CHECK_FALSE(f.module.wanted.load());
  CHECK(unpack_rule_sig(f.rule(0x480, false)) == of_function(4));
  CHECK(f.module.wanted.load());
  CHECK_FALSE(f.stale.load());
}

TEST_CASE("a table goes before the information that it was built from") {
  fixture f;
  module_image image;
  image.place = f.range.cfi;
  image.base = f.range.header;
  const unwind_table* const table = build_module_table(image);
  REQUIRE(table != nullptr);
  f.module.table.store(table);
  f.cfi = {};
  f.load();
  CHECK(unpack_rule_sig(f.rule(0x480, false)) == of_function(4));
  CHECK(unpack_rule_sig(f.rule(0x7ff, false)) == of_function(7));
  CHECK(f.rule(0x800, false) == 0);
  CHECK_FALSE(f.module.wanted.load());
}

TEST_CASE("a module that has no entry is interpreted every time") {
  fixture f;
  f.range.module = nullptr;
  CHECK(unpack_rule_sig(f.rule(0x480, false)) == of_function(4));
}

TEST_CASE("rules and function begins by hand") {
  fixture f;
  rule_lookup lookup = f.lookup();
  for (std::uintptr_t at = 0; at < 0x800; at += 0x3f) {
    const std::uintptr_t pc = loaded_cfi::code() + at;
    CHECK(lookup.interpret_sig(pc, f.memory) == of_function(static_cast<std::int32_t>(at >> 8)));
    CHECK(lookup.function_start_sig(pc, f.memory) == pc - (at & 0xff));
  }
  CHECK(lookup.interpret_sig(loaded_cfi::code() + 0x800, f.memory) == unwind_rule{});
  CHECK(lookup.interpret_sig(loaded_cfi::code() - 1, f.memory) == unwind_rule{});
}

// ---- code that the map does not know
// -------------------------------------------------------------

TEST_CASE("code is what the map says, or else the loader") {
  fixture f;
  const rule_lookup lookup = f.lookup();
  CHECK(lookup.contains(loaded_cfi::code()));
  CHECK(lookup.contains(loaded_cfi::code() + 0xffff));
  const auto here = reinterpret_cast<std::uintptr_t>(&of_function);
  os_object object;
  CHECK(lookup.contains(here) == os_find_object_sig(here, object));
  int local = 0;
  CHECK_FALSE(lookup.contains(reinterpret_cast<std::uintptr_t>(&local)));
  CHECK_FALSE(lookup.contains(0));
}

TEST_CASE("a library that was loaded after the map was read has rules at once") {
  os_object object;
  if (!os_find_object_sig(reinterpret_cast<std::uintptr_t>(&of_function), object)) return;
  const code_map* const before = read_code_map_sig(nullptr);
  const late_library library;
  REQUIRE(library.handle != nullptr);
  const std::uintptr_t function = library.function();
  REQUIRE(function != 0);
  REQUIRE(before->find(function) == nullptr);
  fixture f;
  rule_lookup late(before, *f.cache, 1, f.stale, f.scratch);
  CHECK(late.contains(function));
  CHECK_FALSE(f.stale.load());
  const packed_rule rule = late.rule_at_sig(function, false, f.memory);
  CHECK(rule != 0);
  CHECK(f.stale.load());
  CHECK(late.function_start_sig(function + 1, f.memory) == function);
  const code_map* const after = read_code_map_sig(before);
  rule_lookup now(after, *f.cache, 2, f.stale, f.scratch);
  CHECK(now.rule_at_sig(function, false, f.memory) == rule);
  os_unmap_sig(const_cast<code_map*>(before), before->bytes);
  os_unmap_sig(const_cast<code_map*>(after), after->bytes);
}

TEST_CASE("without a map the loader is asked") {
  os_object object;
  const auto here = reinterpret_cast<std::uintptr_t>(&of_function);
  if (!os_find_object_sig(here, object)) return;
  fixture f;
  rule_lookup lookup(nullptr, *f.cache, 1, f.stale, f.scratch);
  CHECK(lookup.contains(here));
  CHECK(lookup.rule_at_sig(here, false, f.memory) != 0);
  CHECK(f.stale.load());
  CHECK(lookup.rule_at_sig(16, false, f.memory) == 0);
}

// ---- memory
// --------------------------------------------------------------------------------------

namespace {

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

#endif
