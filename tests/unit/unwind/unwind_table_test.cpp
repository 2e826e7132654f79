// tests/unit/unwind/unwind_table_test.cpp - tables of sections made by hand, and of the code that
// runs here, against interpretation.

#include "prof/unwind/unwind_table.hpp"

#include "prof/code/modules.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cfi_bytes.hpp"
#include "../code/own_registry.hpp"

#if defined(__x86_64__)

namespace {

using namespace prof::detail;

constexpr std::uintptr_t origin = 0x400000;

// A table of two sections, given in addresses behind `origin`.
struct fixture {
  cfi_section_text eh;
  cfi_section_text debug;
  bool has_debug = false;
  const unwind_table* table = nullptr;

  fixture() {
    eh.cie();
    debug.is_debug_frame = true;
    debug.cie();
  }
  ~fixture() { drop(); }
  fixture(const fixture&) = delete;
  fixture& operator=(const fixture&) = delete;

  void drop() {
    if (table != nullptr) os_unmap_sig(const_cast<unwind_table*>(table), table->bytes);
    table = nullptr;
  }
  // A function whose CFA is rsp + cfa all along.
  void add(std::uintptr_t offset, std::uintptr_t size, std::uint64_t cfa) {
    eh.fde(origin + offset, size, cfi_text{0x0e}.uleb(cfa));
  }
  void add_debug(std::uintptr_t address, std::uintptr_t size, std::uint64_t cfa) {
    debug.fde(address, size, cfi_text{0x0e}.uleb(cfa));
    has_debug = true;
  }
  bool build(page_source pages = os_pages) {
    drop();
    cfi_source source;
    source.eh_frame = eh.section();
    source.origin = origin;
    if (has_debug) {
      source.debug_frame = debug.section();
      source.debug_frame.bias = origin;
    }
    arena scratch(pages);
    table = unwind_table_builder(source, scratch).build();
    return table != nullptr;
  }
  // The CFA's offset from rsp; 0: nothing is known.
  std::int32_t cfa(std::uintptr_t offset) const {
    return unpack_rule_sig(table->find_sig(offset)).offset;
  }
};

}  // namespace

TEST_CASE("no functions, no table") {
  fixture f;
  CHECK_FALSE(f.build());
  f.eh.out = {};
  CHECK_FALSE(f.build());
}

TEST_CASE("rules hold in their function and nowhere else") {
  fixture f;
  f.add(0x100, 0x10, 16);
  f.add(0x110, 0x10, 24);
  f.add(0x200, 0x1, 32);
  REQUIRE(f.build());
  for (std::uintptr_t at = 0; at < 0x400; ++at) {
    CAPTURE(at);
    const std::int32_t wanted = at >= 0x100 && at < 0x110   ? 16
                                : at >= 0x110 && at < 0x120 ? 24
                                : at == 0x200               ? 32
                                                            : 0;
    CHECK(f.cfa(at) == wanted);
    if (wanted == 0) CHECK(f.table->find_sig(at) == 0);
  }
  CHECK(f.table->find_sig(std::uintptr_t{1} << 40) == 0);
  CHECK(f.table->find_sig(~std::uintptr_t{0}) == 0);
}

TEST_CASE("a rule that does not fit is kept whole, once") {
  fixture f;
  f.add(0, 0x10, 16);
  for (unsigned i = 0; i < 40; ++i) f.add(0x100 + 0x10 * i, 0x10, 0x1000000 + i % 4);
  f.eh.fde(origin + 0x1000, 0x10, {0x80, 3, 0x81, 4});  // saves a landing pad's arguments
  REQUIRE(f.build());
  CHECK(f.table->wide == 5);
  CHECK(f.table->wide_sig(f.table->find_sig(0)) == nullptr);
  for (unsigned i = 0; i < 40; ++i) {
    const packed_rule packed = f.table->find_sig(0x100 + 0x10 * i);
    CHECK(kind_of_sig(packed) == rule_kind::unpackable);
    REQUIRE(f.table->wide_sig(packed) != nullptr);
    CHECK(f.table->wide_sig(packed)->offset == 0x1000000 + static_cast<int>(i % 4));
  }
  REQUIRE(f.table->wide_sig(f.table->find_sig(0x1000)) != nullptr);
  CHECK(f.table->wide_sig(f.table->find_sig(0x1000))->is_eh_return);
  constexpr auto unpackable = static_cast<packed_rule>(rule_kind::unpackable);
  CHECK(f.table->wide_sig(unpackable) == nullptr);
  CHECK(f.table->wide_sig(unpackable | packed_rule{6} << packed_wide_shift) == nullptr);
  CHECK(f.table->wide_sig(~packed_rule{0}) == nullptr);
}

TEST_CASE("every row of a function is there; rows with the same rule are one") {
  fixture f;
  f.eh.fde(origin, 0x40, {0x44, 0x0e, 16, 0x44, 0x0e, 16, 0x44, 0x0e, 24, 0x44, 0x0e, 8});
  REQUIRE(f.build());
  const std::int32_t wanted[] = {8, 16, 16, 24, 8};
  for (std::uintptr_t at = 0; at < 0x40; ++at) CHECK(f.cfa(at) == wanted[at < 20 ? at / 4 : 4]);
  CHECK(f.cfa(0x40) == 0);
  CHECK(f.table->rows == 5);
  CHECK(f.table->rules == 5);  // nothing, interpret, 8, 16, 24
}

TEST_CASE("functions larger than pages, and pages without functions") {
  fixture f;
  f.add(0x800, 0x5000, 16);   // through five pages
  f.add(0x5800, 0x800, 24);   // to a page's end
  f.add(0x6000, 0x1000, 32);  // exactly a page
  f.add(0x20000, 0x10, 40);   // far behind
  f.add(0x20fff, 0x2, 48);    // across a border
  REQUIRE(f.build());
  const auto wanted = [](std::uintptr_t at) {
    if (at >= 0x800 && at < 0x5800) return 16;
    if (at >= 0x5800 && at < 0x6000) return 24;
    if (at >= 0x6000 && at < 0x7000) return 32;
    if (at >= 0x20000 && at < 0x20010) return 40;
    return at == 0x20fff || at == 0x21000 ? 48 : 0;
  };
  std::size_t wrong = 0;
  for (std::uintptr_t at = 0; at < 0x24000; ++at) wrong += f.cfa(at) == wanted(at) ? 0u : 1u;
  CHECK(wrong == 0);
}

TEST_CASE("a row that does not fit a rule is one among others") {
  fixture f;
  f.eh.fde(origin, 0x30, cfi_text{0x50, 0x0e}.uleb(std::uint64_t{1} << 30).add({0x50, 0x0e, 8}));
  REQUIRE(f.build());
  CHECK(f.cfa(0xf) == 8);
  for (const std::uintptr_t at : {std::uintptr_t{0x10}, std::uintptr_t{0x1f}}) {
    const unwind_rule* const wide = f.table->wide_sig(f.table->find_sig(at));
    REQUIRE(wide != nullptr);
    CHECK(wide->offset == 1 << 30);
  }
  CHECK(f.cfa(0x20) == 8);
}

TEST_CASE("without a search header the section is listed, in any order") {
  fixture f;
  for (const unsigned i : {3u, 0u, 4u, 1u, 2u}) f.add(0x100 * i, 0x100, 16 + 8 * i);
  REQUIRE(f.build());
  for (std::uintptr_t at = 0; at < 0x500; at += 0x3f) {
    CHECK(f.cfa(at) == 16 + 8 * static_cast<std::int32_t>(at / 0x100));
  }
}

TEST_CASE("entries that cannot be read are left out, those behind them are not") {
  fixture f;
  f.add(0, 0x100, 16);
  f.eh.entry(cfi_text{0xff, 0xff, 0xff, 0x7f, 1, 2, 3});
  f.add(0x100, 0, 24);  // of no code
  f.add(0x200, 0x100, 32);
  f.eh.terminator();
  f.add(0x400, 0x100, 40);
  REQUIRE(f.build());
  CHECK(f.cfa(0x80) == 16);
  CHECK(f.cfa(0x100) == 0);
  CHECK(f.cfa(0x280) == 32);
  CHECK(f.cfa(0x480) == 0);
}

TEST_CASE("two functions at one address: the first stands") {
  fixture f;
  f.add(0x100, 0x100, 16);
  f.add(0x100, 0x100, 16);
  f.add(0x180, 0x10, 24);
  f.add(0x200, 0x10, 32);
  REQUIRE(f.build());
  CHECK(f.cfa(0x180) == 16);
  CHECK(f.cfa(0x1ff) == 16);
  CHECK(f.cfa(0x200) == 32);
}

TEST_CASE(".debug_frame tells what .eh_frame does not") {
  fixture f;
  f.add(0x200, 0x100, 16);
  f.add_debug(0x100, 0x80, 104);
  f.add_debug(0x200, 0x100, 112);
  f.add_debug(0x300, 0x100, 120);
  REQUIRE(f.build());
  CHECK(f.cfa(0x17f) == 104);
  CHECK(f.cfa(0x180) == 0);
  CHECK(f.cfa(0x200) == 16);
  CHECK(f.cfa(0x2ff) == 16);
  CHECK(f.cfa(0x300) == 120);
}

// --gc-sections leaves the entries of what it drops, at address 0, where the file's first bytes are.
TEST_CASE(".debug_frame's functions that were dropped, or that .eh_frame knows, hide nothing") {
  fixture f;
  f.add(0x1000, 0x100, 16);
  f.add(0x1200, 0x100, 24);
  f.add_debug(0, 0xc000, 32);       // dropped
  f.add_debug(0, 0x700, 64);        // and one that would fit
  f.add_debug(0x600, 0x80, 72);
  f.add_debug(0x900, 0x800, 40);    // overlaps what .eh_frame knows
  f.add_debug(0x1100, 0x80, 48);    // between
  f.add_debug(0x2000, 0x100, 56);
  REQUIRE(f.build());
  CHECK(f.cfa(0x1000) == 16);
  CHECK(f.cfa(0x10ff) == 16);
  CHECK(f.cfa(0x1100) == 48);
  CHECK(f.cfa(0x1180) == 0);
  CHECK(f.cfa(0x1200) == 24);
  CHECK(f.cfa(0x2000) == 56);
  CHECK(f.cfa(0x500) == 0);
  CHECK(f.cfa(0x600) == 72);
  CHECK(f.cfa(0x3000) == 0);
}

TEST_CASE("a search header and .debug_frame together") {
  loaded_cfi loaded;
  loaded.add(0x200, 0x100, {0x0e, 16});
  loaded.add(0x500, 0x100, {0x0e, 24});
  loaded.load();
  cfi_section_text debug;
  debug.is_debug_frame = true;
  debug.cie();
  debug.fde(loaded_cfi::code() + 0x300, 0x100, {0x0e, 120});
  debug.fde(loaded_cfi::code() + 0x500, 0x100, {0x0e, 112});
  cfi_source source;
  source.origin = loaded_cfi::code();
  source.header = loaded_cfi::header();
  source.most_entries = 2;
  source.eh_frame.begin = loaded_cfi::bytes() + loaded.eh_frame_at();
  source.eh_frame.end = reinterpret_cast<const cfi_byte*>(loaded.limit());
  source.debug_frame = debug.section();
  arena scratch(os_pages);
  fixture f;
  f.table = unwind_table_builder(source, scratch).build();
  REQUIRE(f.table != nullptr);
  CHECK(f.cfa(0x280) == 16);
  CHECK(f.cfa(0x380) == 120);
  CHECK(f.cfa(0x480) == 0);
  CHECK(f.cfa(0x580) == 24);
}

// Its count decides how far it is read: a file cut short, or no such header at all.
TEST_CASE("a search header is used only if its segment has room for all that it counts") {
  loaded_cfi loaded;
  loaded.add(0x200, 0x100, {0x0e, 16});
  loaded.text.fde(loaded_cfi::code() + 0x500, 0x100, {0x0e, 24});  // the header does not list it
  loaded.load();
  cfi_source source;
  source.origin = loaded_cfi::code();
  source.header = loaded_cfi::header();
  source.eh_frame.begin = loaded_cfi::bytes() + loaded.eh_frame_at();
  source.eh_frame.end = reinterpret_cast<const cfi_byte*>(loaded.limit());
  for (const std::size_t room : {1u, 0u}) {
    CAPTURE(room);
    source.most_entries = room;
    arena scratch(os_pages);
    fixture f;
    f.table = unwind_table_builder(source, scratch).build();
    REQUIRE(f.table != nullptr);
    CHECK(f.cfa(0x280) == 16);
    CHECK(f.cfa(0x580) == (room == 0 ? 24 : 0));
  }
}

TEST_CASE("functions before the origin or 4 GiB behind it are not in the table") {
  fixture f;
  f.eh.fde(origin - 0x100, 0x80, {0x0e, 16});
  f.add(0x100, 0x100, 24);
  f.add(std::uintptr_t{1} << 32, 0x100, 32);
  REQUIRE(f.build());
  CHECK(f.cfa(0x180) == 24);
  CHECK(f.cfa(0x200) == 0);
  CHECK(f.cfa(std::uintptr_t{1} << 32) == 0);
}

TEST_CASE("more rules than numbers: the rest is interpreted") {
  fixture f;
  cfi_text instructions;
  constexpr std::uint32_t count = 66000;
  for (std::uint32_t i = 0; i < count; ++i) instructions.u8(0x0e).uleb(16 + 8 * i).u8(0x41);
  f.eh.fde(origin, count, instructions);
  REQUIRE(f.build());
  CHECK(f.table->rules == 0xffff);
  std::size_t wrong = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    const packed_rule rule = f.table->find_sig(i);
    const bool numbered = i < 0xffff - 2;
    if (numbered)
      wrong += f.cfa(i) == static_cast<std::int32_t>(16 + 8 * i) ? 0u : 1u;
    else
      wrong += rule == static_cast<packed_rule>(rule_kind::unpackable) ? 0u : 1u;
  }
  CHECK(wrong == 0);
}

// ---- without memory
// ------------------------------------------------------------------------------

namespace {

std::size_t g_pages_left = 0;

void* map_some(std::size_t size) noexcept {
  const std::size_t pages = (size + 4095) / 4096;
  if (pages > g_pages_left) return nullptr;
  g_pages_left -= pages;
  return os_map_sig(size);
}

}  // namespace

TEST_CASE("without memory for the work there is no table, whenever it runs out") {
  fixture f;
  cfi_text instructions;
  for (std::uint32_t i = 0; i < 5000; ++i) instructions.u8(0x0e).uleb(16 + 8 * i).u8(0x41);
  f.eh.fde(origin, 5000, instructions);
  const pid_t child = fork();  // which a search without end cannot hold
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(10);
    bool built = false;
    int refused = 0;
    for (std::size_t pages = 0; pages < 400 && !built; pages += 4) {
      g_pages_left = pages;
      built = f.build({&map_some, &os_unmap_sig});
      refused += built ? 0 : 1;
    }
    _exit(built && refused > 4 && f.cfa(4999) == 16 + 8 * 4999 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(status == 0);
}

// ---- the code that runs here
// ---------------------------------------------------------------------

#if PROF_DETAIL_OS_LINUX

namespace {

struct own_memory {
  bool readable(std::uintptr_t, std::size_t) { return true; }
};

// Compares a module's table with its call frame information at every `step`th address.
struct comparison {
  std::size_t compared = 0;
  std::size_t known = 0;
  std::size_t different = 0;

  comparison(const code_range& range, std::uintptr_t step) {
    const unwind_table* const table = build_module_table(image_of(range));
    REQUIRE(table != nullptr);
    own_memory memory;
    for (std::uintptr_t pc = range.start; pc < range.limit; pc += step) {
      cfi_scratch scratch;
      cfi_search<own_memory> search(range.cfi, memory);
      unwind_rule rule;
      if (search.find_fde_sig(pc, scratch.fde)) rule = find_row_sig(scratch, pc);
      ++compared;
      known += rule.kind == rule_kind::none ? 0u : 1u;
      const packed_rule packed = table->find_sig(pc - range.header);
      const unwind_rule* const wide = table->wide_sig(packed);
      different += (wide != nullptr ? *wide == rule : packed == pack_rule_sig(rule)) ? 0u : 1u;
    }
    os_unmap_sig(const_cast<unwind_table*>(table), table->bytes);
  }
};

}  // namespace

TEST_CASE("the tables of all modules here agree with their call frame information") {
  const code_map* const map = read_code_map();
  REQUIRE(map != nullptr);
  std::size_t modules = 0;
  std::size_t compared = 0;
  std::size_t known = 0;
  for (std::size_t i = 0; i < map->current; ++i) {
    const code_range& range = map->ranges[i];
    if (range.cfi.header == 0) continue;
    CAPTURE(range.path);
    const comparison both(range, (range.limit - range.start) / 20000 + 1);
    CHECK(both.different == 0);
    compared += both.compared;
    known += both.known;
    ++modules;
  }
  CHECK(modules >= 4);
  CHECK(compared > 40000);
  CHECK(known > compared / 2);
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

TEST_CASE("without its search header the same module has the same table") {
  const code_map* const map = read_code_map();
  const code_range* const range = map->find(reinterpret_cast<std::uintptr_t>(&map_some));
  REQUIRE(range != nullptr);
  const unwind_table* const table = build_module_table(image_of(*range));
  module_image headless = image_of(*range);
  headless.place = {};
  const unwind_table* const listed = build_module_table(headless);
  REQUIRE(table != nullptr);
  REQUIRE(listed != nullptr);
  CHECK(listed->rows == table->rows);
  std::size_t different = 0;
  for (std::uintptr_t pc = range->start; pc < range->limit; pc += 7) {
    const std::uintptr_t offset = pc - range->header;
    different += listed->find_sig(offset) == table->find_sig(offset) ? 0u : 1u;
  }
  CHECK(different == 0);
  os_unmap_sig(const_cast<unwind_table*>(table), table->bytes);
  os_unmap_sig(const_cast<unwind_table*>(listed), listed->bytes);
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

#endif

#endif
