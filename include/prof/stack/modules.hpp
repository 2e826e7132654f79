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

PROF_DETAIL_BEGIN

inline constexpr std::size_t build_id_size = 32;  // sha1 is 20, sha256 would be 32

// One executable segment of one file (or of the vdso).
struct code_range {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uint64_t offset = 0;   // of start in the file
  std::uintptr_t header = 0;  // where the file's ELF header is mapped, 0 when unknown
  std::uintptr_t functions = 0;  // its .eh_frame_hdr in memory: a sorted table of function starts
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
    const code_range* const now = find_in(0, current, 1, address);
    return now != nullptr ? now : find_in(current, count, max_overlaps, address);
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

// ---- notes of a mapped ELF image ------------------------------------------------------------------

struct elf_note {
  text_view owner;
  std::uint32_t type = 0;
  std::uintptr_t address = 0;  // of the descriptor in memory
  const unsigned char* data = nullptr;  // a copy of it
  std::size_t size = 0;
};

struct note_visitor {
  void (*visit)(void* context, const elf_note& note);
  void* context;
};

// Walks one PT_NOTE segment. Notes longer than the buffer end the walk: none of ours is.
inline void walk_notes_sig(std::uintptr_t address, std::size_t size, note_visitor visitor)
    PROF_DETAIL_SIG {
  alignas(8) unsigned char copy[1024];
  while (size >= 12) {
    const std::size_t want = size < sizeof copy ? size : sizeof copy;
    if (!os_copy_sig(copy, address, want)) return;
    std::uint32_t head[3];
    std::memcpy(head, copy, sizeof head);
    const std::size_t owner_size = (std::size_t{head[0]} + 3) & ~std::size_t{3};
    const std::size_t data_size = (std::size_t{head[1]} + 3) & ~std::size_t{3};
    const std::size_t whole = 12 + owner_size + data_size;
    if (whole > want || head[0] == 0) return;
    elf_note note;
    note.owner = {reinterpret_cast<const char*>(copy) + 12, head[0] - 1};
    note.type = head[2];
    note.address = address + 12 + owner_size;
    note.data = copy + 12 + owner_size;
    note.size = head[1];
    visitor.visit(visitor.context, note);
    address += whole;
    size -= whole;
  }
}

// Visits the notes of the ELF image whose header is mapped at `header`, and finds its
// .eh_frame_hdr if `functions` is given; false: no ELF image.
inline bool walk_image_sig(std::uintptr_t header, note_visitor visitor,
                           std::uintptr_t* functions = nullptr) PROF_DETAIL_SIG {
  ElfW(Ehdr) elf;
  if (!os_copy_sig(&elf, header, sizeof elf)) return false;
  if (std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0) return false;
  if (elf.e_phentsize != sizeof(ElfW(Phdr)) || elf.e_phnum > 64) return false;
  std::uintptr_t bias = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (std::size_t i = 0; i < elf.e_phnum; ++i) {
      ElfW(Phdr) segment;
      if (!os_copy_sig(&segment, header + elf.e_phoff + i * sizeof segment, sizeof segment)) break;
      if (pass == 0 && segment.p_type == PT_LOAD && segment.p_offset == 0) {
        bias = header - segment.p_vaddr;
      }
      if (pass == 1 && segment.p_type == PT_NOTE) {
        walk_notes_sig(bias + segment.p_vaddr, segment.p_filesz, visitor);
      }
      if (pass == 1 && segment.p_type == PT_GNU_EH_FRAME && functions != nullptr) {
        *functions = bias + segment.p_vaddr;
      }
    }
  }
  return true;
}

// ---- building the map --------------------------------------------------------------------------------

struct code_map_builder {
  code_map* map = nullptr;  // null while counting
  std::size_t count = 0;
  std::size_t path_bytes = 0;  // counted by the first pass, what is left of them in the second
  char* paths = nullptr;
  std::uint64_t fingerprint = 0;
  // The image whose header was mapped last: later segments of the same file belong to it.
  std::uintptr_t header = 0;
  std::uint64_t header_inode = 0;
  code_range* filling = nullptr;
};

inline void take_build_id_sig(void* context, const elf_note& note) PROF_DETAIL_SIG {
  code_range& range = *static_cast<code_range*>(context);
  if (note.type != NT_GNU_BUILD_ID || !note.owner.equals({"GNU", 3})) return;
  range.build_id_length =
      static_cast<std::uint32_t>(note.size < build_id_size ? note.size : build_id_size);
  std::memcpy(range.build_id, note.data, range.build_id_length);
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
  if (range.header != 0) {
    walk_image_sig(range.header, {&take_build_id_sig, &range}, &range.functions);
  }
}

inline void see_mapping_sig(void* context, const os_mapping& mapping) PROF_DETAIL_SIG {
  code_map_builder& build = *static_cast<code_map_builder*>(context);
  const bool own_image = mapping.path.equals({"[vdso]", 6});
  if (mapping.readable && mapping.offset == 0 && (mapping.inode != 0 || own_image)) {
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
PROF_DETAIL_COLD inline const code_map* read_code_map_sig(const code_map* before) PROF_DETAIL_SIG {
  code_map_builder build;
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
  os_for_each_mapping_sig(&see_mapping_sig, &build);
  build.map->current = build.map->count;
  if (before != nullptr) keep_history_sig(*build.map, *before, history);
  sort_ranges_sig(build.map->ranges, build.map->current);
  sort_ranges_sig(build.map->ranges + build.map->current, build.map->count - build.map->current);
  return build.map;
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

inline const code_map* read_code_map_sig(const code_map* before) PROF_DETAIL_SIG { return before; }

#endif

PROF_DETAIL_END

#endif  // PROF_STACK_MODULES_HPP
