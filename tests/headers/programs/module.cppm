// A module that profiles, and offers it to those who import it.
module;

#include <prof/prof.hpp>

export module profiled;

// Only declared for the importers; the code is in this unit.
export void count_everything() { prof::set_mem_profile_rate(1); }

export bool write_heap(const char* path) {
  const prof::label_scope labels{{"written", "by the module"}};
  return static_cast<bool>(prof::write_heap_profile(path));
}

// The code is in every unit that imports.
export inline void labelled(void (*work)()) {
  const prof::label_scope labels{{"where", "module"}};
  work();
}

export inline bool write_heap_inline(const char* path) {
  return static_cast<bool>(prof::write_heap_profile(path));
}
