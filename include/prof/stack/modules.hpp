// prof/stack/modules.hpp - which file's code lies where: the loaded executable segments with their
// build ids, and the notes that prof leaves in every object.
// Floor 3 (stack). Read by unwind (is this code?), by the waist's builder (mappings), by
//          process.hpp (anchors).
// Safety: everything ending in _sig runs in a hook's slow path: /proc/self/maps and mapped ELF
//         headers by raw system calls, no loader lock, no allocation but pages. find() is
//         async-signal-safe.
// Memory: one immutable code_map per change of the address space, published by pointer; process.hpp
//         gives an old one back when no walk can hold it. Ranges that are gone stay listed as
//         historic, at most 4096 of them.
// Source: proc(5); System V gABI ch. 5 (program header, note section); build id: ld --build-id.
#ifndef PROF_STACK_MODULES_HPP
#define PROF_STACK_MODULES_HPP

#include "prof/base/table.hpp"
#include "prof/base/text.hpp"
#include "prof/os/os.hpp"
#include "prof/stack/mapped_image.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t build_id_size = 32;  // sha1 is 20, sha256 would be 32

// One executable segment of one file (or of the vdso).
struct code_range {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uint64_t offset = 0;   // of start in the file
  std::uintptr_t header = 0;  // where the file's ELF header is mapped, 0 when unknown
  cfi_place cfi;                 // its call frame information
  module_cfi* module = nullptr;  // what is known of it beyond this map; null: nothing
  const char* path = "";      // NUL-terminated, lives as long as the map
  std::uint32_t path_size = 0;
  std::uint32_t build_id_length = 0;
  unsigned char build_id[build_id_size] = {};
  bool current = true;  // false: was unmapped since it was first seen
};

struct code_map {
  std::size_t bytes = 0;
  std::uint64_t fingerprint = 0;
  std::size_t count = 0;
  std::size_t current = 0;        // ranges[0..current) are mapped now, the rest is historic
  code_range* ranges = nullptr;  // both parts sorted by start; current ranges never overlap

  const code_range* find(std::uintptr_t address) const PROF_DETAIL_SIG {
    const code_range* const now = find_current(address);
    return now != nullptr ? now : find_in(current, count, max_overlaps, address);
  }
  const code_range* find_current(std::uintptr_t address) const PROF_DETAIL_SIG {
    return find_in(0, current, 1, address);
  }

 private:
  // Historic ranges may overlap each other; this many neighbours are looked at.
  static constexpr std::size_t max_overlaps = 64;

  const code_range* find_in(std::size_t low, std::size_t high, std::size_t overlaps,
                            std::uintptr_t address) const PROF_DETAIL_SIG {
    const std::size_t first = low;
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (ranges[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    for (std::size_t i = low; i > first && overlaps != 0; --overlaps) {
      if (address < ranges[--i].limit) return &ranges[i];
    }
    return nullptr;
  }
};

#if PROF_DETAIL_OS_LINUX

// ---- building the map --------------------------------------------------------------------------------

struct code_map_builder {
  module_registry* modules = nullptr;
  code_map* map = nullptr;  // null while counting
  std::size_t count = 0;
  std::size_t path_bytes = 0;  // counted by the first pass, what is left of them in the second
  char* paths = nullptr;
  std::uint64_t fingerprint = 0;
  // The image whose header was mapped last: later segments of the same file belong to it.
  std::uintptr_t header = 0;
  std::uint64_t header_inode = 0;
  std::uintptr_t previous_limit = 0;  // of the mapping before
  code_range* filling = nullptr;
};

inline void take_build_id_sig(void* context, const elf_note& note) PROF_DETAIL_SIG {
  code_range& range = *static_cast<code_range*>(context);
  if (note.type != NT_GNU_BUILD_ID || !note.owner.equals({"GNU", 3})) return;
  range.build_id_length =
      static_cast<std::uint32_t>(note.size < build_id_size ? note.size : build_id_size);
  std::memcpy(range.build_id, note.data, range.build_id_length);
}

// The same for the same file wherever it is loaded; never 0.
inline std::uint64_t identity_of_sig(const code_range& range) PROF_DETAIL_SIG {
  std::uint64_t hash = range.cfi.header - range.header + (range.cfi.limit - range.header) * 31;
  const auto add = [&hash](const void* bytes, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) {
      hash = mix_bits(hash ^ static_cast<const unsigned char*>(bytes)[i]);
    }
  };
  add(range.build_id, range.build_id_length);
  if (range.build_id_length == 0) add(range.path, range.path_size);
  return hash | 1;
}

inline void fill_range_sig(code_map_builder& build, const os_mapping& mapping) PROF_DETAIL_SIG {
  text_view path = mapping.path;
  constexpr std::size_t deleted_size = 10;  // proc(5): " (deleted)" follows an unlinked file
  if (path.size > deleted_size &&
      path.from(path.size - deleted_size).equals({" (deleted)", deleted_size})) {
    path.size -= deleted_size;
  }
  code_range& range = build.map->ranges[build.map->count++];
  range = code_range{};
  range.start = mapping.start;
  range.limit = mapping.limit;
  range.offset = mapping.offset;
  range.header = build.header;
  range.path = build.paths;
  range.path_size = static_cast<std::uint32_t>(path.size);
  std::memcpy(build.paths, path.data, path.size);
  build.paths += path.size + 1;
  if (range.header == 0) return;
  walk_image_sig(range.header, {&take_build_id_sig, &range});
  range.cfi = find_cfi_sig(range.header);
  if (build.modules != nullptr) range.module = build.modules->find_or_add_sig(identity_of_sig(range));
}

inline void see_mapping_sig(void* context, const os_mapping& mapping) PROF_DETAIL_SIG {
  code_map_builder& build = *static_cast<code_map_builder*>(context);
  const bool own_image = mapping.path.equals({"[vdso]", 6});
  // lld maps a small file's first page twice: with the header, and behind it as code.
  const bool again = mapping.executable && mapping.inode == build.header_inode &&
                     mapping.start == build.previous_limit && build.header != 0;
  build.previous_limit = mapping.limit;
  if (again) {
    // Still the same image.
  } else if (mapping.readable && mapping.offset == 0 && (mapping.inode != 0 || own_image)) {
    build.header = mapping.start;
    build.header_inode = mapping.inode;
  } else if (mapping.inode != build.header_inode) {
    build.header = 0;
    build.header_inode = mapping.inode;
  }
  if (!mapping.executable || mapping.path.size == 0) return;
  if (build.map != nullptr) {
    // The maps may have changed since the first pass: what does not fit waits for the next refresh.
    if (build.map->count >= build.count || mapping.path.size + 1 > build.path_bytes) return;
    build.path_bytes -= mapping.path.size + 1;
    return fill_range_sig(build, mapping);
  }
  build.count++;
  build.path_bytes += mapping.path.size + 1;
  build.fingerprint = mix_bits(build.fingerprint ^ mapping.start) + mapping.limit + mapping.inode;
}

inline void sort_ranges_sig(code_range* ranges, std::size_t count) PROF_DETAIL_SIG {
  heap_sort(ranges, count, [](const code_range& a, const code_range& b) {
    return a.start != b.start ? a.start < b.start : a.limit < b.limit;
  });
}

inline bool same_range_sig(const code_range& a, const code_range& b) PROF_DETAIL_SIG {
  return a.start == b.start && a.limit == b.limit && a.offset == b.offset &&
         a.build_id_length == b.build_id_length &&
         std::memcmp(a.build_id, b.build_id, a.build_id_length) == 0 &&
         text_view(a.path, a.path_size).equals({b.path, b.path_size});
}

inline constexpr std::size_t max_historic_ranges = 4096;

inline std::size_t path_bytes_sig(const code_map& map) PROF_DETAIL_SIG {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < map.count; ++i) bytes += map.ranges[i].path_size + 1;
  return bytes;
}

// Appends the ranges of `before` that are gone, the ones that vanished now first, with copies of
// their paths: `paths` has room for all of them.
inline void keep_history_sig(code_map& map, const code_map& before, char* paths) PROF_DETAIL_SIG {
  const std::size_t current = map.current;
  for (std::size_t i = 0; i < before.count; ++i) {
    const code_range& old = before.ranges[i];
    bool still_there = false;
    for (std::size_t k = 0; k < current && !still_there; ++k) {
      still_there = same_range_sig(old, map.ranges[k]);
    }
    if (still_there || map.count - current >= max_historic_ranges) continue;
    code_range& kept = map.ranges[map.count++];
    kept = old;
    kept.current = false;
    kept.path = paths;
    std::memcpy(paths, old.path, old.path_size);  // the byte behind it is zero already
    paths += old.path_size + 1;
  }
}

// The address space as it is now, with `before`'s vanished ranges kept; null when the maps cannot
// be read. Returns `before` itself when nothing changed.
PROF_DETAIL_COLD inline const code_map* read_code_map_sig(
    const code_map* before, module_registry* modules = nullptr) PROF_DETAIL_SIG {
  code_map_builder build;
  build.modules = modules;
  if (!os_for_each_mapping_sig(&see_mapping_sig, &build)) return before;
  if (before != nullptr && before->fingerprint == build.fingerprint) return before;
  const std::size_t old_count = before != nullptr ? before->count : 0;
  const std::size_t old_paths = before != nullptr ? path_bytes_sig(*before) : 0;
  const std::size_t bytes = sizeof(code_map) + (build.count + old_count) * sizeof(code_range) +
                            build.path_bytes + old_paths;
  char* const pages = static_cast<char*>(os_map_sig(bytes));
  if (pages == nullptr) return before;
  build.map = new (pages) code_map;
  build.map->bytes = bytes;
  build.map->fingerprint = build.fingerprint;
  build.map->ranges = reinterpret_cast<code_range*>(pages + sizeof(code_map));
  char* const history = pages + bytes - old_paths;
  build.paths = history - build.path_bytes;
  build.header = 0;
  build.header_inode = 0;
  build.previous_limit = 0;
  os_for_each_mapping_sig(&see_mapping_sig, &build);
  build.map->current = build.map->count;
  if (before != nullptr) keep_history_sig(*build.map, *before, history);
  sort_ranges_sig(build.map->ranges, build.map->current);
  sort_ranges_sig(build.map->ranges + build.map->current, build.map->count - build.map->current);
  return build.map;
}

// For build_table_once.
inline module_image image_of(const code_range& range) noexcept {
  module_image image;
  image.place = range.cfi;
  image.base = range.header;
  image.path = range.path;
  image.build_id = {reinterpret_cast<const char*>(range.build_id), range.build_id_length};
  return image;
}
// While no object can be unloaded: whether the one of the map is there still. Where the loader cannot
// be asked (musl, which never unloads; glibc before 2.35), its header must be readable.
inline bool still_loaded(const code_range& range) noexcept {
  os_object object;
  if (os_find_object_sig(range.start, object)) return object.cfi_header == range.cfi.header;
  unsigned char magic[4];
  return os_copy_sig(magic, range.header, sizeof magic) && std::memcmp(magic, ELFMAG, 4) == 0;
}

// Calls visitor for every note of every image that is mapped now, in address order.
inline void for_each_image_note_sig(note_visitor visitor) PROF_DETAIL_SIG {
  os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        if (!mapping.readable || mapping.offset != 0 || mapping.inode == 0) return;
        walk_image_sig(mapping.start, *static_cast<note_visitor*>(context));
      },
      &visitor);
}

#else

inline const code_map* read_code_map_sig(const code_map* before,
                                         module_registry* = nullptr) PROF_DETAIL_SIG {
  return before;
}

#endif

PROF_DETAIL_END

#endif  // PROF_STACK_MODULES_HPP
