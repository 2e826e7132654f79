// tests/unit/code/module_cfi_test.cpp - one module's rules: found by hand, and when tables are
// built.

#include "prof/code/module_cfi.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../unwind/cfi_bytes.hpp"

#if PROF_DETAIL_OS_LINUX

extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));  // ld's and lld's: the first byte

namespace {

using namespace prof::detail;


// Memory of which one part may be forbidden; counts what it is asked.
struct partial_memory {
  std::uintptr_t from = 0;
  std::uintptr_t to = 0;
  std::size_t asked = 0;

  bool readable(std::uintptr_t address, std::size_t size) {
    ++asked;
    return address + size <= from || address >= to;
  }
};

struct fixture {
  loaded_cfi cfi;
  partial_memory memory;
  cfi_fde fde;

  explicit fixture(unsigned functions = 5) {
    for (unsigned i = 0; i < functions; ++i) cfi.add(0x100 * i, 0x80, {0x41, 0x0e, 16});
    cfi.load();
  }
  cfi_search<partial_memory> search() {
    return {cfi_place{loaded_cfi::header(), cfi.limit()}, memory};
  }
  bool find(std::uintptr_t offset) {
    return search().find_fde_sig(loaded_cfi::code() + offset, fde);
  }
  std::uintptr_t start(std::uintptr_t offset) {
    return find(offset) ? fde.begin - loaded_cfi::code() + 1 : 0;  // 0 stays apart from the first one
  }
  void put(std::size_t at, std::uint32_t value) {
    std::memcpy(loaded_cfi::bytes() + at, &value, sizeof value);
  }
  std::size_t entry_at(std::size_t n) const { return cfi.eh_frame_at() + cfi.functions[n].entry; }
};

}  // namespace

// ---- the registry
// --------------------------------------------------------------------------------

TEST_CASE("a search table has room behind its header's twelve bytes") {
  const auto most = [](std::uintptr_t limit) { return cfi_place{0x1000, limit}.most_entries(); };
  CHECK(most(0x1000) == 0);
  CHECK(most(0x100c) == 0);
  CHECK(most(0x1013) == 0);
  CHECK(most(0x1014) == 1);
  CHECK(most(0x101b) == 1);
  CHECK(most(0x2000) == (0x1000 - 12) / 8);
  CHECK(most(0) == 0);  // no segment
}

TEST_CASE("an identity has one entry; what hashes alike has others") {
  const auto registry = std::make_unique<module_registry>();
  module_cfi* const first = registry->find_or_add_sig(5);
  REQUIRE(first != nullptr);
  CHECK(registry->find_or_add_sig(5) == first);
  module_cfi* const second = registry->find_or_add_sig(5 + max_modules);
  CHECK(second != first);
  CHECK(registry->find_or_add_sig(5 + max_modules) == second);
  CHECK(registry->find_or_add_sig(5) == first);
  CHECK(first->identity.load() == 5);
}

TEST_CASE("a full registry knows its own and takes no more") {
  const auto registry = std::make_unique<module_registry>();
  for (std::uint64_t i = 1; i <= max_modules; ++i) {
    REQUIRE(registry->find_or_add_sig(i * 7) != nullptr);
  }
  CHECK(registry->find_or_add_sig(3) == nullptr);
  CHECK(registry->find_or_add_sig(7) != nullptr);
}

// ---- searching
// -----------------------------------------------------------------------------------

TEST_CASE("an address is found in its function, and not between functions") {
  fixture f;
  for (std::uintptr_t i = 0; i < 5; ++i) {
    CAPTURE(i);
    for (const std::uintptr_t at : {0x100 * i, 0x100 * i + 0x7f}) {
      REQUIRE(f.find(at));
      CHECK(f.fde.begin == loaded_cfi::code() + 0x100 * i);
      CHECK(f.fde.limit == loaded_cfi::code() + 0x100 * i + 0x80);
    }
    CHECK_FALSE(f.find(0x100 * i + 0x80));
    CHECK_FALSE(f.find(0x100 * i + 0xff));
  }
  CHECK_FALSE(f.find(~std::uintptr_t{0}));  // one byte before the first
}

TEST_CASE("only addresses in a function have a function") {
  fixture f;
  CHECK(f.start(0) == 1);
  CHECK(f.start(0x7f) == 1);
  CHECK(f.start(0xff) == 0);  // between two functions
  CHECK(f.start(0x100) == 0x101);
  CHECK(f.start(0x105) == 0x101);
  CHECK(f.start(0x90000) == 0);
  CHECK(f.start(~std::uintptr_t{0}) == 0);
  f.put(0, 0x3b031b02u);  // another version
  CHECK(f.start(0x100) == 0);
  CHECK_FALSE(f.find(0x100));
}

TEST_CASE("no header, no functions") {
  partial_memory memory;
  cfi_search<partial_memory> nothing(cfi_place{}, memory);
  cfi_fde fde;
  CHECK_FALSE(nothing.find_fde_sig(loaded_cfi::code(), fde));
  CHECK(memory.asked == 0);
  fixture empty(0);
  CHECK_FALSE(empty.find(0));
  CHECK(empty.start(0) == 0);
}

TEST_CASE("a header that counts more functions than its segment can hold is not believed") {
  fixture f;
  const auto room = static_cast<std::uint32_t>((f.cfi.limit() - loaded_cfi::header()) / 8);
  for (const std::uint32_t count : {room + 1, 0x7fffffffu, 0xffffffffu}) {
    f.put(8, count);
    CHECK_FALSE(f.find(0));
    CHECK(f.start(0) == 0);
  }
}

TEST_CASE("a search takes some steps only") {
  fixture f(400);
  CHECK(f.find(0x100 * 399));
  CHECK(f.memory.asked < 16);
}

TEST_CASE("nothing is read that cannot be") {
  fixture f;
  const std::uintptr_t header = loaded_cfi::header();
  const auto forbidden = [&](std::uintptr_t from, std::uintptr_t size) {
    f.memory.from = header + from;
    f.memory.to = header + from + size;
    return !f.find(0x200);
  };
  CHECK_FALSE(forbidden(0, 0));
  CHECK(forbidden(0, 1));
  CHECK(forbidden(11, 1));
  CHECK(forbidden(12 + 2 * 8, 8));           // the entry that is looked at first
  CHECK(forbidden(f.cfi.eh_frame_at(), 4));  // the CIE
  CHECK(forbidden(f.cfi.eh_frame_at() + 12, 1));
  CHECK(forbidden(f.entry_at(2), 1));
  CHECK(forbidden(f.entry_at(2) + 20, 1));
  CHECK_FALSE(forbidden(f.entry_at(3), 8));  // somebody else's
}

TEST_CASE("entries that lie are refused") {
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

TEST_CASE("an address before the function that a header lists for it has none") {
  fixture f;
  f.put(12 + 8 * 2, 0x100000 + 0x1c0);  // says that it begins where nothing does
  CHECK_FALSE(f.find(0x1c0));
  CHECK_FALSE(f.find(0x1ff));
  CHECK(f.find(0x200));
}

// ---- building
// ------------------------------------------------------------------------------------

TEST_CASE("a table is built once, and counted") {
  const fixture f;
  const auto registry = std::make_unique<module_registry>();
  module_cfi module{};
  module_image image;
  image.place = {loaded_cfi::header(), f.cfi.limit()};
  image.base = loaded_cfi::header();
  build_table_once(*registry, module, image);
  const unwind_table* const table = module.table.load();
  REQUIRE(table != nullptr);
  CHECK(registry->table_bytes.load() == table->bytes);
  CHECK(unpack_rule_sig(table->find_sig(0x100000 + 0x201)).offset == 16);
  build_table_once(*registry, module, image);
  CHECK(module.table.load() == table);
  CHECK(registry->table_bytes.load() == table->bytes);
}

TEST_CASE("a module without call frame information is tried once") {
  const auto registry = std::make_unique<module_registry>();
  module_cfi module{};
  build_table_once(*registry, module, module_image{});
  CHECK(module.table.load() == nullptr);
  CHECK(module.tried.load());
  const fixture f;
  module_image image;
  image.place = {loaded_cfi::header(), f.cfi.limit()};
  image.base = loaded_cfi::header();
  build_table_once(*registry, module, image);
  CHECK(module.table.load() == nullptr);
  CHECK(registry->table_bytes.load() == 0);
}

TEST_CASE("no tables beyond the limit of all of them") {
  const fixture f;
  module_image image;
  image.place = {loaded_cfi::header(), f.cfi.limit()};
  image.base = loaded_cfi::header();
  const auto build_beside = [&image](std::size_t others) {
    const auto registry = std::make_unique<module_registry>();
    registry->table_bytes.store(others);
    module_cfi module{};
    const bool has_room = build_table_once(*registry, module, image);
    const unwind_table* const table = module.table.load();
    const std::size_t size = table == nullptr ? 0 : table->bytes;
    CHECK(has_room == (table != nullptr));
    CHECK(registry->table_bytes.load() == others + size);
    if (table != nullptr) os_unmap_sig(const_cast<unwind_table*>(table), size);
    return size;
  };
  const std::size_t size = build_beside(0);
  REQUIRE(size > 0);
  CHECK(build_beside(max_table_bytes - size) == size);
  CHECK(build_beside(max_table_bytes - size + 1) == 0);
  CHECK(build_beside(max_table_bytes) == 0);
}

TEST_CASE("a section of the file that is not mapped is not read") {
  std::size_t size = 0;
  const void* const pages = os_map_file("/proc/self/exe", size);
  REQUIRE(pages != nullptr);
  const elf_image file(pages, size);
  Elf64_Shdr section{};
  REQUIRE(file.find_section({".eh_frame", 9}, section) != 0);
  std::uint64_t first = 0;
  REQUIRE(file.address_of(0, first));
  cfi_source loaded;
  const std::uintptr_t base = reinterpret_cast<std::uintptr_t>(__ehdr_start);
  add_file_sections(file, base - static_cast<std::uintptr_t>(first), loaded);
  CHECK(loaded.eh_frame.begin != nullptr);
  CHECK(loaded.eh_frame.size() == section.sh_size);
  cfi_source elsewhere;
  add_file_sections(file, std::uintptr_t{1} << 47, elsewhere);  // x86-64's addresses end there
  CHECK(elsewhere.eh_frame.begin == nullptr);
  CHECK(elsewhere.eh_frame.size() == 0);
  os_unmap_sig(const_cast<void*>(pages), size);
}

TEST_CASE("a file is what is loaded by its build id, or where there is none by its code") {
  Elf64_Ehdr head{};
  std::memcpy(head.e_ident, ELFMAG, SELFMAG);
  head.e_ident[EI_CLASS] = ELFCLASS64;
  head.e_ident[EI_DATA] = ELFDATA2LSB;
  std::string bytes(reinterpret_cast<const char*>(&head), sizeof head);
  bytes += "the code, to the end of the file";
  const elf_image file(bytes.data(), bytes.size());
  REQUIRE(file.usable());
  std::string loaded = "the code, to the end of the file";
  loaded.resize(4096, '\0');  // the kernel fills its last page
  module_image image;
  image.code = {loaded.data(), loaded.size()};
  image.code_offset = sizeof head;
  CHECK(is_file_of(file, bytes.size(), image));
  loaded[31] = '!';
  CHECK_FALSE(is_file_of(file, bytes.size(), image));
  loaded[31] = 'e';
  image.code_offset = bytes.size();
  CHECK_FALSE(is_file_of(file, bytes.size(), image));
  image.code_offset = sizeof head;
  image.code = {};
  CHECK_FALSE(is_file_of(file, bytes.size(), image));
  image.code = {loaded.data(), loaded.size()};
  image.build_id = {"12345678", 8};  // the file has none
  CHECK_FALSE(is_file_of(file, bytes.size(), image));
}

#endif
