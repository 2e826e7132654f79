// tests/fuzz/search_fuzz.cpp - any bytes as a module's .eh_frame_hdr and what lies behind it: the
// search for an address's FDE, which walks do in memory that nobody vouches for, reads only what it
// has asked about, and what it finds holds the address.
//
// Part of the bytes cannot be read, as if a page of them were gone: a sanitizer sees who reads it. Where all
// can be, the search that copies them first finds the same, and a table is built of them.

#include "prof/code/copied_cfi.hpp"
#include "prof/code/module_cfi.hpp"

#include "fuzz.hpp"

#if defined(__SANITIZE_ADDRESS__)
#define SEES_READS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEES_READS 1
#endif
#endif
#if !defined(SEES_READS)
#error "without the address sanitizer this target sees nothing"
#endif
#include <sanitizer/asan_interface.h>

namespace {

using namespace prof::detail;

constexpr std::size_t granule = 8;  // of what the sanitizer can poison

struct partly_readable {
  std::vector<std::uint64_t> words;
  std::size_t hole_begin = 0;  // in bytes, multiples of a granule
  std::size_t hole_end = 0;

  std::uintptr_t begin() const { return reinterpret_cast<std::uintptr_t>(words.data()); }
  std::size_t size() const { return words.size() * sizeof words[0]; }

  bool readable(std::uintptr_t address, std::size_t length) const noexcept {
    const std::uintptr_t at = address - begin();
    if (address < begin() || at > size() || length > size() - at) return false;
    return at + length <= hole_begin || at >= hole_end;
  }
  bool read_word(std::uintptr_t address, std::uintptr_t& word) const noexcept {
    if (!readable(address, sizeof word)) return false;
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
    return true;
  }
  const void* hole() const { return reinterpret_cast<const char*>(words.data()) + hole_begin; }
};

partly_readable draw_memory(fuzz::source& from) {
  partly_readable memory;
  const std::size_t hole_begin = granule * from.number<std::uint16_t>();
  const std::size_t hole_size = granule * from.byte();
  while (!from.empty()) memory.words.push_back(from.number<std::uint64_t>());
  memory.hole_begin = hole_begin < memory.size() ? hole_begin : memory.size();
  const std::size_t rest = memory.size() - memory.hole_begin;
  memory.hole_end = memory.hole_begin + (hole_size < rest ? hole_size : rest);
  return memory;
}

cfi_place place_of(const partly_readable& memory) {
  return {memory.begin(), memory.begin() + memory.size()};
}

void check(const partly_readable& memory, std::uintptr_t pc) {
  static cfi_scratch scratch;
  cfi_search<const partly_readable> search(place_of(memory), memory);
  scratch.fde = cfi_fde{};
  if (!search.find_fde_sig(pc, scratch.fde)) return;
  FUZZ_REQUIRE(pc >= scratch.fde.begin && pc < scratch.fde.limit);
  const unwind_rule rule = find_row_sig(scratch, pc);
  const packed_rule packed = pack_rule_sig(rule);
  FUZZ_REQUIRE(kind_of_sig(packed) == rule_kind::unpackable || unpack_rule_sig(packed) == rule);
}

// All that a copy holds is found by it, too.
void check_copied(const partly_readable& memory, std::uintptr_t pc) {
  static cfi_copy copy;
  cfi_fde copied;
  if (!copied_cfi_search(place_of(memory), copy).find_fde_sig(pc, copied)) return;
  FUZZ_REQUIRE(pc >= copied.begin && pc < copied.limit);
  cfi_fde fde;
  FUZZ_REQUIRE(cfi_search<const partly_readable>(place_of(memory), memory).find_fde_sig(pc, fde));
  FUZZ_REQUIRE(fde.begin == copied.begin && fde.limit == copied.limit);
  FUZZ_REQUIRE(fde.instructions.left() == copied.instructions.left());
}

// find_cfi_sig has seen to it that the header's pointer leads into the segment.
void check_table(const partly_readable& memory) {
  const cfi_place place = place_of(memory);
  cfi_header header;
  if (memory.size() < cfi_header_size || !parse_header_sig(place.header, header)) return;
  const auto frames = reinterpret_cast<std::uintptr_t>(header.eh_frame);
  if (frames < memory.begin() || frames >= place.limit) return;
  cfi_source source;
  source.origin = memory.begin();
  source.header = place.header;
  source.most_entries = place.most_entries();
  source.eh_frame.begin = header.eh_frame;
  source.eh_frame.end = reinterpret_cast<const cfi_byte*>(place.limit);
  fuzz::pages pages;
  arena scratch(fuzz::pages::from(), fuzz::pages::first_chunk);
  const unwind_table* const table = unwind_table_builder(source, scratch).build();
  if (table == nullptr) return;
  for (std::uintptr_t at = 0; at < 4096; at += 16) (void)table->find_sig(at);
  os_unmap_sig(const_cast<unwind_table*>(table), table->bytes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > 8192) return 0;
  fuzz::source from(data, size);
  const auto distance = static_cast<std::int32_t>(from.number<std::uint32_t>());
  partly_readable memory = draw_memory(from);
  const std::size_t hole_begin = memory.hole_begin;
  const std::size_t hole = memory.hole_end - hole_begin;
  const std::uintptr_t pc = memory.begin() + static_cast<std::uintptr_t>(std::intptr_t{distance});
  memory.hole_begin = memory.hole_end = memory.size();
  check_copied(memory, pc);
  check_table(memory);
  memory.hole_begin = hole_begin;
  memory.hole_end = hole_begin + hole;
  ASAN_POISON_MEMORY_REGION(memory.hole(), hole);
  check(memory, pc);
  ASAN_UNPOISON_MEMORY_REGION(memory.hole(), hole);
  return 0;
}
