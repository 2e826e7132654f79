// prof/collect/rows.hpp - the profiles of this process by name, whichever parts bring them.
// Floor 11 (collect). Used by collections, the index and for_each_profile.
// Safety: ordinary context.
// Memory: none.
// Source: process/part.hpp, whose list is the only one.
#ifndef PROF_COLLECT_ROWS_HPP
#define PROF_COLLECT_ROWS_HPP

#include "prof/process/enter.hpp"

PROF_DETAIL_BEGIN

// A profile and the part that brings it; both null: none has that name.
struct known_row {
  const profile_part* part = nullptr;
  const profile_row* row = nullptr;
};

// Calls visit(known_row) for every profile that some part of the process brings, part by part.
template <class Visit>
inline void for_each_row(process_state& process, Visit visit) {
  struct call {
    const profile_part* part;
    Visit& visit;
  };
  for (unsigned i = 0; i < max_parts; ++i) {
    call at{profile_part_at(process, i), visit};
    if (at.part == nullptr) continue;
    at.part->visit_rows(process, {[](void* context, const profile_row& row) {
                                    const call& to = *static_cast<call*>(context);
                                    to.visit(known_row{to.part, &row});
                                  },
                                  &at});
  }
}

inline known_row find_row(process_state& process, text_view name) noexcept {
  known_row found;
  for_each_row(process, [&](const known_row& known) {
    if (found.row == nullptr && known.row->name.equals(name)) found = known;
  });
  return found;
}

// ---- what this version knows, whether it is there or not ---------------------------------------------------

// A profile that a switch brings. available: in this version.
struct switch_row {
  text_view name;
  text_view needs;  // the switch
  bool available = false;
};

// What part.hpp's list says: the profiles of a part, separated by blanks, and its switch.
struct switch_names {
  text_view names;
  text_view needs;
  bool available;
};
#define PROF_DETAIL_VIEW(text) text_view((text), sizeof(text) - 1)
inline constexpr switch_names all_switch_names[] = {
#define PROF_DETAIL_PART(identifier, type, needs, names) {PROF_DETAIL_VIEW(names), PROF_DETAIL_VIEW(needs), true},
    PROF_DETAIL_PARTS(PROF_DETAIL_PART)
#undef PROF_DETAIL_PART
        {{"trace", 5}, {"PROF_ENABLE_TRACE", 17}, false},  // parts that this version does not have
};
#undef PROF_DETAIL_VIEW

template <class Visit>
inline void for_each_switch_row(Visit visit) {
  for (const switch_names& part : all_switch_names) {
    for (text_view rest = part.names; rest.size != 0;) {
      const std::size_t end = rest.find(' ');
      visit(switch_row{{rest.data, end}, part.needs, part.available});
      rest = rest.from(end == rest.size ? end : end + 1);
    }
  }
}

// Why a name is no profile of this process.
inline result explain_missing(text_view name) noexcept {
  switch_row known;
  for_each_switch_row([&](const switch_row& row) {
    if (row.name.equals(name)) known = row;
  });
  bounded_text<160> what;
  if (known.name.size == 0) return result(error::unknown_profile, what.put(name).c_str());
  what.put("profile \"").put(known.name).put("\" needs ").put(known.needs).put(", which");
  return result(known.available ? error::profile_off : error::not_in_version, what.c_str());
}

// ---- in order --------------------------------------------------------------------------------------------------

inline bool name_before(text_view a, text_view b) noexcept {
  const std::size_t shared = a.size < b.size ? a.size : b.size;
  const int order = shared == 0 ? 0 : std::memcmp(a.data, b.data, shared);
  return order != 0 ? order < 0 : a.size < b.size;
}

// All names that this version or a part of this process knows, sorted; a row is null where nothing brings it.
struct listed_row {
  text_view name;
  known_row known;
};
inline void list_rows(process_state& process, arena_vector<listed_row>& rows) noexcept {
  for_each_row(process, [&](const known_row& known) {
    // Of two parts that bring one name the first is the one that answers.
    if (find_row(process, known.row->name).part == known.part) rows.push({known.row->name, known});
  });
  for_each_switch_row([&](const switch_row& row) {
    if (find_row(process, row.name).row == nullptr) rows.push({row.name, {}});
  });
  heap_sort(rows.data(), rows.size(), [](const listed_row& a, const listed_row& b) { return name_before(a.name, b.name); });
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_ROWS_HPP
