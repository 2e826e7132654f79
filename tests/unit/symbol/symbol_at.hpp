// tests/unit/symbol/symbol_at.hpp - the symbol of one address or place of an ELF image.
#ifndef PROF_TESTS_UNIT_SYMBOL_SYMBOL_AT_HPP
#define PROF_TESTS_UNIT_SYMBOL_SYMBOL_AT_HPP

#include "prof/os/os.hpp"
#include "prof/symbol/elf.hpp"

PROF_DETAIL_BEGIN

struct found_symbol {
  bool is_found = false;
  elf_symbol symbol{};
  text_view name{};  // in the image
};

inline found_symbol symbol_at(const elf_image& image, std::uint64_t address) {
  arena memory(os_pages);
  symbol_search search(image, memory);
  search.find(&address, 1);
  const elf_symbol* const found = search.symbol_of(0);
  return found == nullptr ? found_symbol{} : found_symbol{true, *found, search.name_of(*found)};
}
inline found_symbol symbol_at_offset(const elf_image& image, std::uint64_t offset) {
  std::uint64_t address = 0;
  return image.address_of(offset, address) ? symbol_at(image, address) : found_symbol{};
}

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_SYMBOL_SYMBOL_AT_HPP
