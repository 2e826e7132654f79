// prof/serve/symbolize_part.hpp - the symbolizer's descriptor.
// Floor 9 (serve). Included by prof.hpp where PROF_ENABLE_SYMBOLIZE is on.
// Safety: ordinary context, any thread.
// Memory: an arena per call, given back at its end.
// Source: -
#ifndef PROF_SERVE_SYMBOLIZE_PART_HPP
#define PROF_SERVE_SYMBOLIZE_PART_HPP

#include "prof/serve/parts.hpp"
#include "prof/symbol/symbolizer.hpp"

PROF_DETAIL_BEGIN

inline void symbolize_profile(profile& p, const code_map* code, bool hide_allocators) {
  arena memory(os_pages);
  symbolizer names(memory);
  names.symbolize(p, code);
  if (hide_allocators) hide_leading_allocator_frames(p);
}

inline std::size_t name_address(std::uint64_t address, const code_map* code, char* buffer,
                                std::size_t size) {
  arena memory(os_pages);
  symbolizer names(memory);
  const text_view name = names.name_of(address, code);
  const std::size_t n = name.size < size ? name.size : size;
  std::memcpy(buffer, name.data, n);
  return n;
}

extern "C" __attribute__((weak, used, visibility("hidden"))) const symbolize_part
    prof_part_symbolize_v1 = {&symbolize_profile, &name_address};

PROF_DETAIL_END

#endif  // PROF_SERVE_SYMBOLIZE_PART_HPP
