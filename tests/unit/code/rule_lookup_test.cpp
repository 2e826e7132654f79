// tests/unit/code/rule_lookup_test.cpp - where the rule of an address comes from, and what is
// kept.

#include "prof/code/rule_lookup.hpp"

#include "prof/unwind/probed_memory.hpp"

#include <doctest/doctest.h>
#include <link.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "../unwind/cfi_bytes.hpp"
#include "own_registry.hpp"

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
  own_registry registry;
  std::unique_ptr<rule_cache> cache = std::make_unique<rule_cache>();
  std::atomic<bool> stale{false};
  cfi_scratch scratch;
  walk_memory memory;

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
    range.number = 7;
    range.never_unloaded = true;
  }
  void put(std::uintptr_t offset, const void* code, std::size_t size) {
    std::memcpy(reinterpret_cast<void*>(loaded_cfi::code() + offset), code, size);
  }
  void put_call_before(std::uintptr_t offset) {
    put(offset - sizeof indirect_call, indirect_call, sizeof indirect_call);
  }
  rule_lookup lookup(std::uint64_t epoch = 1) {
    return rule_lookup(&map, *registry.code, *cache, epoch, stale, scratch);
  }
  packed_rule rule(std::uintptr_t offset, bool is_return, std::uint64_t epoch = 1) {
    return lookup(epoch).rule_at_sig(loaded_cfi::code() + offset, is_return, memory).rule;
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
    const code_map* const map = read_code_map();
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
  code_rule known;
  const packed_rule all_bits = ~packed_rule{0};
  CHECK_FALSE(cache->find_sig(0x400000, false, 7, known));
  cache->keep_sig(0x400000, false, 7, {0x1234, max_range_number});
  CHECK(cache->find_sig(0x400000, false, 7, known));
  CHECK(known.rule == 0x1234);
  CHECK(known.number == max_range_number);
  CHECK_FALSE(cache->find_sig(0x400000, false, 8, known));
  CHECK_FALSE(cache->find_sig(0x400001, false, 7, known));
  CHECK_FALSE(cache->find_sig(0x400000, true, 7, known));
  cache->keep_sig(0x400000, false, 7, {all_bits, 1});
  CHECK(cache->find_sig(0x400000, false, 7, known));
  CHECK(known.rule == all_bits);
  CHECK(known.number == 1);
  cache->keep_sig(0x400000, false, 7, {0, 0});  // that nothing is known is worth keeping
  CHECK(cache->find_sig(0x400000, false, 7, known));
  CHECK(known.rule == 0);
  CHECK(known.number == 0);
}

TEST_CASE("ten times as many keys as places: what is found is right") {
  const auto cache = std::make_unique<rule_cache>();
  constexpr std::uint64_t keys = 160000;
  std::size_t found = 0;
  for (std::uint64_t key = 1; key <= keys; ++key) cache->keep_sig(key * 2, key % 3 == 0, 99, {key, 5});
  for (std::uint64_t key = 1; key <= keys; ++key) {
    code_rule known;
    if (!cache->find_sig(key * 2, key % 3 == 0, 99, known)) continue;
    ++found;
    REQUIRE(known.rule == key);
  }
  CHECK(found > 10000);
  CHECK(found <= 16384);
}

TEST_CASE("in 256 bytes of code no address takes another's place, nor a return address that of an instruction") {
  const auto cache = std::make_unique<rule_cache>();
  for (const std::uintptr_t begin : {std::uintptr_t{0x400000}, std::uintptr_t{0x7f1234567700}}) {
    code_rule known;
    for (std::uintptr_t i = 0; i < 256; ++i) cache->keep_sig(begin + i, true, 1, {i, 3});
    for (std::uintptr_t i = 0; i < 256; ++i) {
      REQUIRE(cache->find_sig(begin + i, true, 1, known));
      REQUIRE(known.rule == i);
    }
    cache->keep_sig(begin, true, 1, {7, 3});
    cache->keep_sig(begin, false, 1, {8, 3});
    CHECK(cache->find_sig(begin, true, 1, known));
    CHECK(known.rule == 7);
    CHECK(cache->find_sig(begin, false, 1, known));
    CHECK(known.rule == 8);
  }
}

TEST_CASE("no address is found in an empty cache, whatever the epoch") {
  fixture f;
  f.map.count = f.map.current = 0;
  for (std::uint64_t epoch = 0; epoch < 100; ++epoch) {
    code_rule known;
    CHECK_FALSE(f.lookup(epoch).known_rule_sig(0, known));
    CHECK_FALSE(f.lookup(epoch).known_rule_sig(loaded_cfi::code(), known));
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
  code_rule known;
  CHECK(unpack_rule_sig(f.rule(0x200, false)) == of_function(2));
  rule_lookup lookup = f.lookup();
  CHECK_FALSE(lookup.known_rule_sig(border, known));
  CHECK(unpack_rule_sig(f.rule(0x200, true)) == of_function(1));
  CHECK_FALSE(lookup.known_rule_sig(border, known));  // not asked about this range yet
  CHECK(lookup.rule_at_sig(border, true, f.memory).number == 7);
  CHECK(lookup.known_rule_sig(border, known));
  CHECK(unpack_rule_sig(known.rule) == of_function(1));
  CHECK(known.number == 7);
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

TEST_CASE("a call may be the last instruction of its range") {
  fixture f;
  f.range.limit = loaded_cfi::code() + 0x100;
  f.put_call_before(0x100);
  CHECK(unpack_rule_sig(f.rule(0x100, true)) == of_function(0));
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
  f.put(0x300, trampoline, sizeof trampoline);
  f.put_call_before(0x300);
  CHECK((f.rule(0x300, true) & packed_is_exact) != 0);
}

TEST_CASE("a context begins at a function's first instruction, not where the frame is as it was there") {
  fixture f;
  f.cfi.add(0x800, 0x100, {0x0c, dwarf_sp, return_address_in_lr ? 0u : 8u});
  f.load();
  const packed_rule at_begin = f.rule(0x800, true);
  CHECK((at_begin & packed_is_exact) != 0);
  CHECK(kind_of_sig(at_begin) == rule_kind::end);
  const packed_rule behind_it = f.rule(0x840, true);
  CHECK((behind_it & packed_is_exact) != 0);
  CHECK(kind_of_sig(behind_it) == rule_kind::offset);
  CHECK(kind_of_sig(f.rule(0x800, false)) == rule_kind::offset);
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

TEST_CASE("a rule that does not fit is its table's, also where the address was pushed by hand") {
  fixture f;
  f.cfi.add(0x800, 0x100, cfi_text{0x0e}.uleb(0x1000000));
  f.load();
  module_image image;
  image.place = f.range.cfi;
  image.base = f.range.header;
  f.module.table.store(build_module_table(image));
  REQUIRE(f.module.table.load() != nullptr);
  f.cfi = {};
  f.load();  // nothing is left to interpret
  rule_lookup lookup = f.lookup();
  for (const bool is_return : {false, true}) {
    CAPTURE(is_return);
    const std::uintptr_t pc = loaded_cfi::code() + 0x840;
    const packed_rule rule = lookup.rule_at_sig(pc, is_return, f.memory).rule;
    CHECK(kind_of_sig(rule) == rule_kind::unpackable);
    CHECK(((rule & packed_is_exact) != 0) == is_return);
    CHECK(lookup.unpack_sig(rule, pc, f.memory).offset == 0x1000000);
  }
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
  rule_lookup lookup = f.lookup();
  CHECK(lookup.contains(loaded_cfi::code()));
  CHECK(lookup.contains(loaded_cfi::code() + 0xffff));
  const auto here = reinterpret_cast<std::uintptr_t>(&of_function);
  os_object object;
  CHECK(lookup.contains(here) == os_find_object_sig(here, object));
  int local = 0;
  CHECK_FALSE(lookup.contains(reinterpret_cast<std::uintptr_t>(&local)));
  CHECK_FALSE(lookup.contains(0));
}

TEST_CASE("data of a file that stays is no code, though the loader answers for it; of one that may go it might be") {
  static volatile int data = 1;  // constants may lie in the segment of the code
  const code_map* const map = read_code_map();
  const code_range* const here = map->find(reinterpret_cast<std::uintptr_t>(&of_function));
  REQUIRE(here != nullptr);
  fixture f;
  const auto asked = [&](bool never_unloaded) {
    const_cast<code_range*>(here)->never_unloaded = never_unloaded;
    rule_lookup lookup(map, *f.registry.code, *f.cache, 1, f.stale, f.scratch);
    CHECK(lookup.contains(reinterpret_cast<std::uintptr_t>(&of_function)));
    return lookup.contains(reinterpret_cast<std::uintptr_t>(&data));
  };
  os_object object;
  const bool answers = os_find_object_sig(reinterpret_cast<std::uintptr_t>(&data), object);
  // Of segments with a gap between them (aarch64's) the loader tells apart, and nothing is known of the data's.
  CHECK(asked(true) == (answers && object.start != here->header));
  CHECK(asked(false) == answers);
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

TEST_CASE("a library that was loaded after the map was read has rules at once") {
  os_object object;
  if (!os_find_object_sig(reinterpret_cast<std::uintptr_t>(&of_function), object)) return;
  const code_map* const before = read_code_map();
  const late_library library;
  REQUIRE(library.handle != nullptr);
  const std::uintptr_t function = library.function();
  REQUIRE(function != 0);
  REQUIRE(before->find(function) == nullptr);
  fixture f;
  rule_lookup late(before, *f.registry.code, *f.cache, 1, f.stale, f.scratch);
  CHECK(late.contains(function));
  CHECK_FALSE(f.stale.load());
  const code_rule known = late.rule_at_sig(function, false, f.memory);
  CHECK(known.rule != 0);
  CHECK(known.number != 0);
  CHECK(f.stale.load());
  CHECK(late.function_start_sig(function + 1, f.memory) == function);
  const code_map* const after = read_code_map(before);
  rule_lookup now(after, *f.registry.code, *f.cache, 2, f.stale, f.scratch);
  CHECK(now.rule_at_sig(function, false, f.memory).rule == known.rule);
  os_unmap_sig(const_cast<code_map*>(before), before->bytes);
  os_unmap_sig(const_cast<code_map*>(after), after->bytes);
}

TEST_CASE("a rule is new once; code of no file, as a JIT's, costs no asking") {
  fixture f;
  walk_memory memory;
  rule_lookup lookup(nullptr, *f.registry.code, *f.cache, 1, f.stale, f.scratch);
  void* const page = os_map_sig(4096);
  const auto jit = reinterpret_cast<std::uintptr_t>(page) + 0x100;
  for (int round = 0; round < 3; ++round) {
    const code_rule known = lookup.rule_at_sig(jit, true, memory);
    CHECK(known.rule == 0);
    CHECK(known.missed == (round == 0 ? 1 : 0));
    if (os_answers_for_objects()) CHECK(known.lookups == 0);
  }
  os_unmap_sig(page, 4096);
}

// Nothing would tell it from the next library that is loaded at its address.
TEST_CASE("the rule of code that could not be registered is not kept") {
  os_object object;
  if (!os_find_object_sig(reinterpret_cast<std::uintptr_t>(&of_function), object)) return;
  fixture f;
  const code_map* const map = read_code_map();
  late_library library;
  REQUIRE(library.handle != nullptr);
  const std::uintptr_t function = library.function();
  REQUIRE(function != 0);
  while (f.registry.code->take_scratch_sig() != nullptr) {}  // other walks register code
  const auto found_now = [&] {
    walk_memory memory;
    rule_lookup lookup(map, *f.registry.code, *f.cache, 1, f.stale, f.scratch);
    return lookup.rule_at_sig(function, false, memory);
  };
  const code_rule known = found_now();
  CHECK(known.rule != 0);
  CHECK(known.number == 0);
  CHECK(known.missed == 0);  // every walk finds it
  CHECK(known.lookups >= 9);
  dlclose(library.handle);
  library.handle = nullptr;
  REQUIRE_FALSE(os_find_object_sig(function, object));
  CHECK(found_now().rule == 0);
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

TEST_CASE("without a map the loader is asked") {
  os_object object;
  const auto here = reinterpret_cast<std::uintptr_t>(&of_function);
  if (!os_find_object_sig(here, object)) return;
  fixture f;
  rule_lookup lookup(nullptr, *f.registry.code, *f.cache, 1, f.stale, f.scratch);
  CHECK(lookup.contains(here));
  CHECK(lookup.rule_at_sig(here, false, f.memory).rule != 0);
  CHECK(f.stale.load());
  CHECK(lookup.rule_at_sig(16, false, f.memory).rule == 0);
}

#endif
