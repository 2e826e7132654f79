// prof/part/symbolize_part.hpp - the symbolizer's descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_SYMBOLIZE is on.
// Safety: ordinary context, any thread.
// Memory: an arena per call, given back at its end; the cache of names.
// Source: see symbol/symbolizer.hpp.
#ifndef PROF_PART_SYMBOLIZE_PART_HPP
#define PROF_PART_SYMBOLIZE_PART_HPP

#include "prof/process/attach.hpp"
#include "prof/process/profile_builder.hpp"
#include "prof/symbol/symbolizer.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint32_t name_cache_layout = layout_of({sizeof(name_cache), sizeof(cached_name), sizeof(module_remark)});

// Null when no memory can be mapped: then names are looked up each time.
inline name_cache* names_of(process_state& process) noexcept {
  return part_state_sig<name_cache>(
      process, part::symbolize,
      [](process_state& of) PROF_DETAIL_SIG { return static_cast<name_cache*>(of.memory.take_sig(sizeof(name_cache))); },
      [](process_state& of, name_cache* spare) PROF_DETAIL_SIG { of.memory.give_back_sig(spare, sizeof(name_cache)); });
}

inline name_detail detail_of(const process_state& process, symbols wanted) noexcept {
  if (wanted == symbols::standard) wanted = process.detail_of_names.load();
  return wanted == symbols::functions ? name_detail::functions
         : wanted == symbols::lines   ? name_detail::lines
                                      : name_detail::inlines;
}

inline void symbolize_profile(process_state& process, profile& p, const code_map* code, symbols wanted) {
  if (wanted == symbols::standard && process.detail_of_names.load() == symbols::none) return;
  arena memory(os_pages);
  name_limits limits;
  limits.deadline_ns = os_monotonic_ns_sig() + process.time_for_names.load();
  limits.memory = static_cast<std::size_t>(process.memory_for_names.load());
  symbolizer(memory, names_of(process), limits, detail_of(process, wanted)).symbolize(p, code);
}

// By a profile of the addresses alone.
inline void name_addresses(process_state& process, const std::uint64_t* addresses, std::size_t count, const code_map* code,
                           void (*found)(void* context, std::uint64_t address, text_view name), void* context) {
  if (code == nullptr) return;
  arena memory(os_pages);
  profile p(memory);
  for (std::size_t i = 0; i < code->count; ++i) add_mapping(p, code->ranges[i]);
  arena_vector<std::uint32_t> places(memory);
  for (std::size_t i = 0; i < count; ++i) {
    const code_range* const range = code->find(static_cast<std::uintptr_t>(addresses[i]));
    places.push(range == nullptr ? no_index : p.add_location(static_cast<std::uint32_t>(range - code->ranges), addresses[i]));
  }
  symbolize_profile(process, p, code, symbols::functions);
  for (std::size_t i = 0; i < places.size() && p.complete(); ++i) {
    if (places[i] == no_index || p.locations[places[i]].line_count == 0) continue;
    const profile_function& function = p.functions[p.lines[p.locations[places[i]].first_line].function];
    if (!function.is_made_up) found(context, addresses[i], p.strings[function.name]);
  }
}

inline void forget_parents_names(process_state& process, bool) {
  auto* const cache = state_of_sig<name_cache>(process, part::symbolize);
  if (cache != nullptr) cache->forget_parent();
}

// Of which files names are missing, as far as any profile met them.
inline void report_names(process_state& process, visitor<status_value> visit) {
  auto* const cache = state_of_sig<name_cache>(process, part::symbolize);
  if (cache == nullptr) return;
  arena memory(os_pages);
  arena_vector<const char*> texts(memory);
  std::size_t kept = 0;
  {
    const spin_guard guard(cache->lock);  // not while others are told
    const name_store& store = cache->store();
    kept = store.size();
    for (const module_remark& remark : store.remarks()) {
      const text_view text = store.lines().strings[remark.text];
      texts.push(memory.copy(text.data, text.size));
    }
  }
  visit({"names kept", kept, nullptr});
  for (const char* const text : texts) {
    if (text != nullptr) visit({"names are missing", 0, text});
  }
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const symbolize_part prof_part_symbolize_v2 = {
    {sizeof(symbolize_part), name_cache_layout}, &symbolize_profile, &name_addresses, &forget_parents_names, &report_names};

PROF_DETAIL_END

#endif  // PROF_PART_SYMBOLIZE_PART_HPP
