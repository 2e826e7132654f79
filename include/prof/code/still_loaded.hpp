// prof/code/still_loaded.hpp - is a code range still the one that is loaded there?
// Floor 5 (code). Asked by range_lookup.hpp once per walk and module (of the sixteen it met last), by modules.hpp
//          and capture.hpp before they read a module.
// Safety: async-signal-safe; what is read may be unloaded meanwhile, so it is copied by system calls.
// Memory: none.
// Source: two files of one layout are told apart by their build id, or, without one, by l_name of link_map
//         (<link.h>), which is what dlopen(3) was given, or, where the loader cannot be asked (glibc before
//         2.35), by their first 2 KiB: ELF header, program headers, hashes of symbols.
#ifndef PROF_CODE_STILL_LOADED_HPP
#define PROF_CODE_STILL_LOADED_HPP

#include "prof/code/code_range.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t max_loader_name = 4096;  // PATH_MAX
inline constexpr std::size_t identity_bytes = 2048;

// A hash of what the loader calls the object; 0: cannot be read.
PROF_DETAIL_COLD inline std::uint64_t loader_name_sig(const os_object& object) PROF_DETAIL_SIG {
  std::uintptr_t name = 0;
  if (object.name_at == 0 || !os_copy_sig(&name, object.name_at, sizeof name)) return 0;
  char copy[64];
  std::uint64_t hash = 1;
  for (std::size_t done = 0; done < max_loader_name; done += sizeof copy - (name + done) % sizeof copy) {
    const std::uintptr_t at = name + done;
    const std::size_t size = sizeof copy - at % sizeof copy;  // to the end of its part of a page
    if (name == 0 || !os_copy_sig(copy, at, size)) return 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (copy[i] == 0) return hash | 1;
      hash = mix_bits(hash ^ static_cast<unsigned char>(copy[i]));
    }
  }
  return hash | 1;
}

// A hash of an image's first bytes; 0: cannot be read. Copied, 5 us: where the loader cannot be asked, they
// may be another library's that is being unloaded.
PROF_DETAIL_COLD inline std::uint64_t first_bytes_sig(std::uintptr_t header) PROF_DETAIL_SIG {
  std::uintptr_t copy[32];  // a handler's stack
  std::uint64_t hash = 1;
  for (std::size_t at = 0; at < identity_bytes; at += sizeof copy) {
    if (header == 0 || !os_copy_sig(copy, header + at, sizeof copy)) return 0;
    for (const std::uintptr_t word : copy) hash = mix_bits(hash ^ word);
  }
  return hash | 1;
}

// What tells a file without build id from others; `object` is what the loader has at the range.
inline std::uint64_t fallback_id_sig(const code_range& range, const os_object& object) PROF_DETAIL_SIG {
  return os_answers_for_objects() ? loader_name_sig(object) : first_bytes_sig(range.header);
}

inline bool has_build_id_sig(const code_range& range) PROF_DETAIL_SIG {
  std::uintptr_t loaded = 0;
  return os_copy_sig(&loaded, range.build_id_at, sizeof loaded) &&
         std::memcmp(&loaded, range.build_id, sizeof loaded) == 0;
}

inline bool is_same_file_sig(const os_object& object, const code_range& range) PROF_DETAIL_SIG {
  if (range.build_id_length >= sizeof(std::uintptr_t)) return has_build_id_sig(range);
  return range.fallback_id != 0 && fallback_id_sig(range, object) == range.fallback_id;
}

// `object` is what the loader has at an address of the range.
inline bool is_range_of_sig(const os_object& object, const code_range& range) PROF_DETAIL_SIG {
  return object.start == range.header && (object.cfi_header == range.cfi.header || range.cfi.header == 0) &&
         is_same_file_sig(object, range);
}

// `object` is room for what the loader answers.
inline bool still_loaded_sig(const code_range& range, os_object& object) PROF_DETAIL_SIG {
  if (range.never_unloaded) return true;
  if (!os_answers_for_objects()) return is_same_file_sig(object, range);
  return os_find_object_sig(range.start, object) && is_range_of_sig(object, range);
}

PROF_DETAIL_END

#endif  // PROF_CODE_STILL_LOADED_HPP
