// prof/stack/still_loaded.hpp - is a code range still the one that is loaded there?
// Floor 3 (stack). Asked by range_lookup.hpp once per walk and module, by modules.hpp and capture.hpp before
//          they read a module.
// Safety: async-signal-safe; memory is read through the walk's reader.
// Memory: none.
// Source: two files of one layout are told apart by their build id, or, without one, by l_name of link_map
//         (<link.h>), which is what dlopen(3) was given.
#ifndef PROF_STACK_STILL_LOADED_HPP
#define PROF_STACK_STILL_LOADED_HPP

#include "prof/stack/code_range.hpp"
#include "prof/stack/probed_memory.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t max_loader_name = 4096;  // PATH_MAX

// A hash of what the loader calls the object; 0: cannot be read.
template <class Memory>
PROF_DETAIL_COLD inline std::uint64_t loader_name_sig(const os_object& object, Memory& memory)
    PROF_DETAIL_SIG {
  std::uintptr_t name = 0;
  if (object.name_at == 0 || !memory.read_word(object.name_at, name)) return 0;
  std::uint64_t hash = 1;
  for (std::size_t i = 0; i < max_loader_name; ++i) {
    if (!memory.readable(name + i, 1)) return 0;
    const unsigned char c = *reinterpret_cast<const unsigned char*>(name + i);
    if (c == 0) break;
    hash = mix_bits(hash ^ c);
  }
  return hash | 1;
}

template <class Memory>
inline bool has_build_id_sig(const code_range& range, Memory& memory) PROF_DETAIL_SIG {
  std::uintptr_t loaded = 0;
  return memory.read_word(range.build_id_at, loaded) &&
         std::memcmp(&loaded, range.build_id, sizeof loaded) == 0;
}

// `object` is what the loader has at an address of the range.
template <class Memory>
inline bool is_range_of_sig(const os_object& object, const code_range& range, Memory& memory)
    PROF_DETAIL_SIG {
  if (object.start != range.header || object.cfi_header != range.cfi.header) return false;
  if (range.build_id_length >= sizeof(std::uintptr_t)) return has_build_id_sig(range, memory);
  return loader_name_sig(object, memory) == range.loader_name;
}

// Where the loader cannot be asked (glibc before 2.35), only a build id tells. `object` is room for what it
// answers.
template <class Memory>
inline bool still_loaded_sig(const code_range& range, os_object& object, Memory& memory)
    PROF_DETAIL_SIG {
  if (range.lasting) return true;
  if (os_find_object_sig(range.start, object)) return is_range_of_sig(object, range, memory);
  return !os_answers_for_objects() &&
         (range.build_id_at == 0 || has_build_id_sig(range, memory));
}

PROF_DETAIL_END

#endif  // PROF_STACK_STILL_LOADED_HPP
