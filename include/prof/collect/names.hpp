// prof/collect/names.hpp - function names of addresses, by whatever part symbolizes.
// Floor 11 (collect). Used by http/ (the symbol page).
// Safety: ordinary context, any thread.
// Memory: an arena per call.
// Source: Go's net/http/pprof.Symbol.
#ifndef PROF_COLLECT_NAMES_HPP
#define PROF_COLLECT_NAMES_HPP

#include "prof/collect/enter.hpp"

PROF_DETAIL_BEGIN

inline bool can_name(const process_state& process) noexcept {
  return find_part_sig<symbolize_part>(process, part::symbolize) != nullptr;
}

// Calls found(context, address, name) for each address whose function is known.
inline void name_all(process_state& process, const std::uint64_t* addresses, std::size_t count,
                     void (*found)(void* context, std::uint64_t address, text_view name), void* context) noexcept {
  const auto* const names = find_part_sig<symbolize_part>(process, part::symbolize);
  if (names == nullptr) return;
  const own_code_scope own(process);
  refresh_code_map(process, tables_made::next_time);
  const presence_guard reading(process.code_readers);
  names->name_all(process, addresses, count, process.code.load(), found, context);
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_NAMES_HPP
