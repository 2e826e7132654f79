// tests/fuzz/begin_fuzz.cpp - of any bytes taken for an ELF file: a function's begin lies at or before the address asked
// for, is that of an entry which a plain reading knows to hold the address, and is the same alone and among others; without
// a search header each address that an entry holds has one.
//
// The input is an ELF file.

#include "prof/symbol/function_begin.hpp"

#include "fuzz.hpp"

#include <algorithm>

namespace {

using namespace prof::detail;

// The functions of all readable entries, in order.
std::vector<cfi_fde> entries_of(const elf_image& image) {
  Elf64_Shdr head{};
  cfi_section frames;
  const bool is_eh_frame = image.find_section(".eh_frame", head) != 0;
  if (!is_eh_frame && image.find_section(".debug_frame", head) == 0) return {};
  const text_view bytes = image.content(head);
  frames.begin = reinterpret_cast<const cfi_byte*>(bytes.data);
  frames.end = frames.begin + bytes.size;
  frames.is_debug_frame = !is_eh_frame;
  frames.moved = (is_eh_frame ? head.sh_addr : 0) - reinterpret_cast<std::uintptr_t>(bytes.data);
  std::vector<cfi_fde> found;
  // By a header any byte may be taken for the begin of an entry.
  for (std::size_t at = 0; at < bytes.size && bytes.size < 8192; ++at) {
    cfi_fde fde;
    if (parse_fde_sig(frames.begin + at, frames, fde)) found.push_back(fde);
  }
  return found;
}

bool has_header(const elf_image& image) {
  Elf64_Phdr segment{};
  for (std::size_t i = 0; image.segment(i, segment); ++i) {
    if (segment.p_type == PT_GNU_EH_FRAME) return true;
  }
  return false;
}

void check(const elf_image& image) {
  const std::vector<cfi_fde> entries = entries_of(image);
  std::vector<std::uint64_t> addresses = {0, 0x1000, ~std::uint64_t{0}};
  for (const cfi_fde& one : entries) {
    for (const std::uint64_t address : {one.begin - 1, one.begin, one.limit - 1, one.limit}) addresses.push_back(address);
  }
  std::sort(addresses.begin(), addresses.end());
  std::vector<std::uint64_t> begins(addresses.size());
  const function_begins all(image);
  all.find(addresses.data(), addresses.size(), begins.data());
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    std::uint64_t alone = 0;
    if (i % (1 + addresses.size() / 16) == 0) {
      all.find(&addresses[i], 1, &alone);
      FUZZ_REQUIRE(alone == begins[i]);
    }
    if (begins[i] == 0) continue;
    FUZZ_REQUIRE(begins[i] <= addresses[i]);
    bool is_held = false;
    for (const cfi_fde& one : entries) is_held = is_held || (one.begin == begins[i] && addresses[i] < one.limit);
    FUZZ_REQUIRE(is_held);
  }
}

// The entries of a walk only, each of which must answer for its begin.
void check_walk(const elf_image& image) {
  Elf64_Shdr head{};
  if (has_header(image) || image.find_section(".eh_frame", head) == 0) return;
  const text_view bytes = image.content(head);
  cfi_section frames;
  frames.begin = reinterpret_cast<const cfi_byte*>(bytes.data);
  frames.end = frames.begin + bytes.size;
  frames.moved = head.sh_addr - reinterpret_cast<std::uintptr_t>(bytes.data);
  byte_reader rest(frames.begin, frames.end);
  byte_reader body;
  for (const cfi_byte* entry = rest.at(); next_entry_sig(rest, body); entry = rest.at()) {
    cfi_fde fde;
    if (!parse_fde_sig(entry, frames, fde) || fde.begin == 0) continue;
    const std::uint64_t address = fde.begin;
    std::uint64_t begin = 0;
    function_begins(image).find(&address, 1, &begin);
    FUZZ_REQUIRE(begin != 0 || fde.begin == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const elf_image image(data, size);
  check(image);
  check_walk(image);
  return 0;
}
