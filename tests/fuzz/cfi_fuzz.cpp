// tests/fuzz/cfi_fuzz.cpp - any bytes as a section of call frame information: rows follow one another from
// a function's begin to its end, each survives packing, and the compiled table says what they say.
//
// The first byte chooses between .eh_frame and .debug_frame; the rest is the section.

#include "prof/code/module_cfi.hpp"

#include "fuzz.hpp"

#include <memory>

namespace {

using namespace prof::detail;

// Rows of the FDE up to a limit, as the program gives them.
void check_rows(cfi_scratch& scratch, std::size_t bytes) {
  const cfi_fde fde = scratch.fde;
  cfi_program program(fde);
  std::uintptr_t begin = 0;
  std::uintptr_t limit = 0;
  std::uintptr_t expected = fde.begin;
  unwind_rule rule;
  for (std::size_t rows = 0; program.next_sig(begin, limit, rule); ++rows) {
    FUZZ_REQUIRE(rows <= bytes);  // each takes an instruction
    FUZZ_REQUIRE(begin == expected && begin < limit && limit <= fde.limit);
    expected = limit;
    const packed_rule packed = pack_rule_sig(rule);
    FUZZ_REQUIRE(kind_of_sig(packed) == rule_kind::unpackable || unpack_rule_sig(packed) == rule);
    if (rows < 8) FUZZ_REQUIRE(find_row_sig(scratch, begin) == rule);
  }
  FUZZ_REQUIRE(expected == fde.limit);
}

// One that does not fit 64 bits is kept whole.
bool says(const unwind_table& table, std::uintptr_t offset, const unwind_rule& rule) {
  const packed_rule packed = table.find_sig(offset);
  const unwind_rule* const wide = table.wide_sig(packed);
  const bool fits = kind_of_sig(pack_rule_sig(rule)) != rule_kind::unpackable;
  return fits ? packed == pack_rule_sig(rule) : wide != nullptr && *wide == rule;
}

// Of sections with one function at most, since another may overlap it.
void check_table(const cfi_source& source, const cfi_fde& fde) {
  fuzz::pages pages;
  arena memory(fuzz::pages::from(), fuzz::pages::first_chunk);
  cfi_source shifted = source;
  shifted.origin = fde.begin;
  const unwind_table* const table = unwind_table_builder(shifted, memory).build();
  if (source.debug_frame.begin != nullptr && fde.begin == source.debug_frame.bias) {
    FUZZ_REQUIRE(table == nullptr);  // of a function that the linker dropped
    return;
  }
  FUZZ_REQUIRE(table != nullptr);
  cfi_program program(fde);
  std::uintptr_t begin = 0;
  std::uintptr_t limit = 0;
  unwind_rule rule;
  while (program.next_sig(begin, limit, rule)) {
    if ((limit - fde.begin) >> 32 != 0) break;  // rows are 32 bits
    FUZZ_REQUIRE(says(*table, begin - fde.begin, rule));
    FUZZ_REQUIRE(says(*table, limit - 1 - fde.begin, rule));
  }
  os_unmap_sig(const_cast<unwind_table*>(table), table->bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 4096) return 0;
  const std::unique_ptr<cfi_byte[]> bytes(new cfi_byte[size]);  // ends where a sanitizer sees it
  std::memcpy(bytes.get(), data + 1, size - 1);
  cfi_section section;
  section.begin = bytes.get();
  section.end = bytes.get() + size - 1;
  section.is_debug_frame = (data[0] & 1) != 0;
  section.bias = data[0] & 2 ? 0x10000 : 0;
  cfi_source source;
  (section.is_debug_frame ? source.debug_frame : source.eh_frame) = section;
  static cfi_scratch scratch;
  byte_reader rest(section.begin, section.end);
  byte_reader body;
  std::size_t functions = 0;
  cfi_fde only;
  for (const cfi_byte* entry = rest.at(); next_entry_sig(rest, body); entry = rest.at()) {
    scratch.fde = cfi_fde{};
    if (!parse_fde_sig(entry, section, scratch.fde)) continue;
    ++functions;
    only = scratch.fde;
    check_rows(scratch, size);
  }
  const bool fits = only.limit - only.begin < (std::uintptr_t{1} << 24);  // the table has an index by page
  if (functions == 1 && fits) check_table(source, only);
  return 0;
}
