// prof/part/symbolize_part.hpp - the symbolizer's descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_SYMBOLIZE is on.
// Safety: ordinary context, any thread.
// Memory: an arena per call, given back at its end.
// Source: see symbol/symbolizer.hpp.
#ifndef PROF_PART_SYMBOLIZE_PART_HPP
#define PROF_PART_SYMBOLIZE_PART_HPP

#include "prof/process/part.hpp"
#include "prof/symbol/symbolizer.hpp"

PROF_DETAIL_BEGIN

inline void symbolize_profile(profile& p, const code_map* code) {
  arena memory(os_pages);
  symbolizer names(memory);
  names.symbolize(p, code);
}

inline void name_addresses(const std::uint64_t* addresses, std::size_t count, const code_map* code,
                           void (*found)(void* context, std::uint64_t address, text_view name),
                           void* context) {
  arena memory(os_pages);
  symbolizer names(memory);  // one for all: it reads each file's symbols once
  for (std::size_t i = 0; i < count; ++i) {
    const text_view name = names.name_of(addresses[i], code);
    if (name.size != 0) found(context, addresses[i], name);
  }
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const symbolize_part
    prof_part_symbolize_v2 = {{sizeof(symbolize_part), 0}, &symbolize_profile, &name_addresses};

PROF_DETAIL_END

#endif  // PROF_PART_SYMBOLIZE_PART_HPP
