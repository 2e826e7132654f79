// prof/code/modules.hpp - which file's code lies where: the loaded executable segments with their
// build ids.
// Floor 5 (code). Read by unwind (is this code?), by the profile builder (mappings).
// Safety: everything ending in _sig runs in a hook's slow path, register_code_at_sig in a handler:
//         /proc/self/maps and mapped ELF headers by raw system calls, no loader lock, no allocation
//         but pages.
// Memory: one immutable code_map per change of the address space, published by pointer; capture.hpp
//         gives an old one back when no walk can hold it. Ranges that are gone stay listed as unloaded.
// Source: proc(5); System V gABI ch. 5 (program header, note section); build id: ld --build-id.
#ifndef PROF_CODE_MODULES_HPP
#define PROF_CODE_MODULES_HPP

#include "prof/base/guard.hpp"
#include "prof/base/table.hpp"
#include "prof/base/text.hpp"
#include "prof/os/os.hpp"
#include "prof/code/code_map.hpp"
#include "prof/code/moved_code.hpp"
#include "prof/code/still_loaded.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_OS_LINUX

// Moved code whose file has a longer path has no name.
inline constexpr std::size_t max_moved_path = 1024;

// What a walk that registers new code works with: too much for a handler's stack.
struct registration_scratch {
  spin_lock lock;
  std::uintptr_t address;
  bool again;  // what was at that address is there still
  latest_image image;
  code_range range;
  elf_room room;
  bool is_without_file;
  char path[max_moved_path];
};

#else

struct registration_scratch {
  spin_lock lock;
};

#endif

// All code that this process ever had.
struct code_registry {
  void bind(table_memory& memory) noexcept { ranges.bind(memory); }

  module_registry modules;
  range_registry ranges;
  registration_scratch scratch[4];  // as many walks at once register; one may have interrupted another in a hook
  std::atomic<bool> unread;  // the last map could not be read
  std::atomic<std::uint64_t> registration_paid_at;  // os_monotonic_ns_sig: see range_lookup's charge_sig

  registration_scratch* take_scratch_sig() PROF_DETAIL_SIG {
    for (registration_scratch& one : scratch) {
      if (one.lock.try_lock()) return &one;
    }
    return nullptr;
  }
};

#if PROF_DETAIL_OS_LINUX

// ---- building the map --------------------------------------------------------------------------------

struct code_map_builder {
  code_registry* registry = nullptr;
  never_unloaded_objects never_unloaded;
  code_map* map = nullptr;  // null while counting
  std::size_t count = 0;
  std::size_t described = 0;  // how many there are to confirm; 0: they are being described
  std::size_t next = 0;       // of the map's ranges: to describe, then to confirm
  std::uint64_t fingerprint = 0;
  latest_image image;
};

inline std::uint64_t mapping_hash_sig(const os_mapping& mapping) PROF_DETAIL_SIG {
  std::uint64_t hash = mix_bits(mapping.start) ^ mapping.limit;
  hash = mix_bits(hash ^ mapping.offset) ^ mapping.inode ^ mapping.device << 8;
  for (std::size_t i = 0; i < mapping.path.size; ++i) {
    hash = mix_bits(hash ^ static_cast<unsigned char>(mapping.path.data[i]));
  }
  return hash;
}

inline void take_build_id_sig(void* context, const elf_note& note) PROF_DETAIL_SIG {
  code_range& range = *static_cast<code_range*>(context);
  if (note.type != NT_GNU_BUILD_ID || !note.owner.equals({"GNU", 3})) return;
  range.build_id_length =
      static_cast<std::uint32_t>(note.size < build_id_size ? note.size : build_id_size);
  std::memcpy(range.build_id, note.data, range.build_id_length);
  range.build_id_at = note.address;
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
  hash = mix_bits(hash ^ range.cfi_hash);
  return hash | 1;
}

// The program stays, and so does the vdso. Of an image only: what a JIT has mapped from a file may go anywhere.
inline bool may_be_unloaded_sig(const code_range& range) PROF_DETAIL_SIG {
  if (range.header != 0 && range.header == os_program_header_sig()) return false;
  return os_unloads_objects && !text_view(range.path, range.path_size).equals({"[vdso]", 6});
}

// How a file without build id will be known.
PROF_DETAIL_NOINLINE inline void find_fallback_id_sig(code_range& range) PROF_DETAIL_SIG {
  os_object object;
  if (range.build_id_length >= sizeof(std::uint64_t)) return;
  if (os_answers_for_objects() && !os_find_object_sig(range.start, object)) return;
  range.fallback_id = fallback_id_sig(range, object);
}

// What /proc/self/maps says of it. The path stays the mapping's.
inline void place_range_sig(code_range& range, const os_mapping& mapping, std::uintptr_t header)
    PROF_DETAIL_SIG {
  const text_view path = without_deleted_sig(mapping.path);
  range.start = mapping.start;
  range.limit = mapping.limit;
  range.offset = mapping.offset;
  range.header = header;
  range.mapping = mapping_hash_sig(mapping);
  range.device = mapping.device;
  range.inode = mapping.inode;
  range.path = path.data;
  range.path_size = static_cast<std::uint32_t>(path.size);
}

// Makes a range of pages without a file the object's whose code they hold; false: it is as it was.
inline bool place_moved_code_sig(code_range& range, const never_unloaded_objects& known, elf_room& room)
    PROF_DETAIL_SIG {
  moved_code code;
  code.start = range.start;
  code.limit = range.limit;
  range.moved = find_moved_code_sig(code, known, room);
  if (!range.moved) return false;
  range.start = code.start;
  range.limit = code.limit;
  range.header = code.header;
  range.offset = code.offset;
  range.device = range.inode = 0;
  range.path_size = 0;
  return true;
}

// Its file, into room for a path.
inline void name_moved_code_sig(code_range& range, char* path, std::size_t room) PROF_DETAIL_SIG {
  image_file file;
  file.header = range.header;
  file.path = path;
  file.room = room;
  find_image_file_sig(file);
  range.path = path;
  range.path_size = static_cast<std::uint32_t>(file.path_size);
  range.device = file.device;
  range.inode = file.inode;
}

// The rest, from memory and from the loader.
inline void describe_range_sig(code_registry& registry, code_range& range, elf_room& room) PROF_DETAIL_SIG {
  range.image = range.header != 0 && walk_image_sig(range.header, {&take_build_id_sig, &range}, room);
  range.never_unloaded = range.image && !may_be_unloaded_sig(range);
  if (range.image) {
    range.cfi = find_cfi_sig(range.header, room);
    if (!range.never_unloaded && range.build_id_length == 0) {
      range.cfi_hash = hash_cfi_sig(range.cfi, range.header, room);
    }
    range.module = registry.modules.find_or_add_sig(identity_of_sig(range));
  }
  if (!range.never_unloaded) find_fallback_id_sig(range);
}

// What was there in between may have been another file, with the same line before and after it.
inline bool still_has_build_id_sig(const code_range& range) PROF_DETAIL_SIG {
  return range.never_unloaded || range.build_id_length < sizeof(std::uintptr_t) || has_build_id_sig(range);
}

inline void describe_mapping_sig(code_map_builder& build, const os_mapping& mapping) PROF_DETAIL_SIG {
  // The maps may have changed since the first pass: what does not fit waits for the next refresh.
  if (build.next >= build.count) return;
  code_range& range = build.map->ranges[build.next++];
  elf_room room;
  range = code_range{};
  place_range_sig(range, mapping, build.image.header);
  if (is_without_file_sig(mapping)) place_moved_code_sig(range, build.never_unloaded, room);
  describe_range_sig(*build.registry, range, room);
}

// A hook holds no lock of the loader: another file may have come before its memory was read, and must not get the
// name of the one before. So what was described is registered only if its line is still there.
inline void confirm_mapping_sig(code_map_builder& build, const os_mapping& mapping) PROF_DETAIL_SIG {
  code_map& map = *build.map;
  while (build.next < build.described && map.ranges[build.next].start < mapping.start) ++build.next;
  if (build.next == build.described || map.ranges[build.next].mapping != mapping_hash_sig(mapping)) return;
  code_range& range = map.ranges[build.next++];
  if (!still_has_build_id_sig(range)) return;
  char path[max_moved_path];
  range.path = mapping.path.data;
  if (range.moved) name_moved_code_sig(range, path, sizeof path);
  const code_range* const known = build.registry->ranges.find_or_add_sig(range);
  if (known == nullptr) return;
  code_range& listed = map.ranges[map.count++];  // at most as many as were looked at
  listed = *known;
  listed.never_unloaded = known->never_unloaded || build.never_unloaded.has_sig(known->header);
}

// Of what has no name only what is code of an object: the other code is a JIT compiler's, and comes and goes.
PROF_DETAIL_NOINLINE inline bool is_listed_sig(const code_map_builder& build,
                                               const os_mapping& mapping) PROF_DETAIL_SIG {
  if (mapping.path.size != 0 || mapping.inode != 0) return mapping.path.size != 0;
  elf_room room;
  moved_code code;
  code.start = mapping.start;
  code.limit = mapping.limit;
  return find_moved_code_sig(code, build.never_unloaded, room);
}

inline bool see_mapping_sig(void* context, const os_mapping& mapping) PROF_DETAIL_SIG {
  code_map_builder& build = *static_cast<code_map_builder*>(context);
  see_header_sig(build.image, mapping);
  if (!mapping.executable) return true;
  if (build.described != 0) {
    confirm_mapping_sig(build, mapping);
    return true;
  }
  if (!is_listed_sig(build, mapping)) return true;
  if (build.map != nullptr) {
    describe_mapping_sig(build, mapping);
    return true;
  }
  build.count++;
  build.fingerprint = mix_bits(build.fingerprint ^ mapping.start) + mapping.limit + mapping.inode + mapping.device;
  return true;
}

// Appends what is registered and not mapped now.
inline void list_history_sig(code_map& map, const range_registry& ranges, std::size_t room)
    PROF_DETAIL_SIG {
  for (range_number number = 1; number <= max_ranges && map.count < room; ++number) {
    const code_range* const range = ranges.at(number);
    if (range == nullptr) continue;
    const code_range* const now = map.find_current(range->start);
    if (now != nullptr && now->number == number) continue;
    code_range& kept = map.ranges[map.count++];
    kept = *range;
    kept.current = false;
  }
}

// The address space as it is now, with all that was registered and has vanished; null when the maps
// cannot be read. Returns `before` itself when nothing changed.
PROF_DETAIL_COLD inline const code_map* read_code_map_sig(
    const code_map* before, code_registry& registry, const never_unloaded_objects& never_unloaded = {})
    PROF_DETAIL_SIG {
  code_map_builder build;
  build.registry = &registry;
  build.never_unloaded = never_unloaded;
  build.fingerprint = mix_bits(never_unloaded.loaded) + never_unloaded.count;  // a hook's first map does not know them yet
  const bool could_read = os_for_each_mapping_sig(&see_mapping_sig, &build);
  registry.unread.store(!could_read, std::memory_order_relaxed);
  if (!could_read) return before;
  if (before != nullptr && before->fingerprint == build.fingerprint &&
      before->registered == registry.ranges.size()) {
    return before;
  }
  const std::size_t room = 2 * build.count + registry.ranges.size();  // they may be new ones
  const std::size_t bytes = sizeof(code_map) + room * sizeof(code_range);
  char* const pages = static_cast<char*>(os_map_sig(bytes));
  if (pages == nullptr) return before;
  build.map = new (pages) code_map;
  build.map->bytes = bytes;
  build.map->fingerprint = build.fingerprint;
  build.map->ranges = reinterpret_cast<code_range*>(pages + sizeof(code_map));
  build.image = {};
  os_for_each_mapping_sig(&see_mapping_sig, &build);
  build.described = build.next;
  build.next = 0;
  if (build.described != 0) os_for_each_mapping_sig(&see_mapping_sig, &build);
  build.map->current = build.map->count;
  sort_ranges_sig(build.map->ranges, build.map->current);
  build.map->registered = registry.ranges.size();  // before they are listed: others may be added
  list_history_sig(*build.map, registry.ranges, room);
  sort_ranges_sig(build.map->ranges + build.map->current, build.map->count - build.map->current);
  return build.map;
}

// Finds what /proc/self/maps says of an address; false: it is not executable, or its path is too long.
PROF_DETAIL_NOINLINE inline bool find_mapping_sig(registration_scratch& scratch,
                                                  std::uintptr_t address) PROF_DETAIL_SIG {
  scratch.address = address;
  scratch.image = {};
  scratch.range = code_range{};
  os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        auto& to = *static_cast<registration_scratch*>(context);
        see_header_sig(to.image, mapping);
        if (to.address >= mapping.limit) return true;
        if (to.address < mapping.start) return false;  // they are sorted
        if (!mapping.executable || mapping.path.size > sizeof to.path) return false;
        place_range_sig(to.range, mapping, to.image.header);
        std::memcpy(to.path, mapping.path.data, to.range.path_size);
        to.range.path = to.path;
        to.is_without_file = is_without_file_sig(mapping);
        return false;
      },
      &scratch);
  if (scratch.range.limit == 0) return false;
  if (scratch.is_without_file && place_moved_code_sig(scratch.range, {}, scratch.room)) {
    name_moved_code_sig(scratch.range, scratch.path, sizeof scratch.path);
  }
  return true;
}

// Whether that is there still: no lock of the loader is held, and what came there since must not get its name.
PROF_DETAIL_NOINLINE inline bool is_still_mapped_sig(registration_scratch& scratch) PROF_DETAIL_SIG {
  scratch.again = false;
  os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        auto& to = *static_cast<registration_scratch*>(context);
        if (to.address >= mapping.limit) return true;
        to.again = mapping.executable && mapping_hash_sig(mapping) == to.range.mapping;
        return false;
      },
      &scratch);
  return scratch.again;
}

// Registers the code at an address. Nothing when too many walks are doing the same.
PROF_DETAIL_COLD inline void register_code_at_sig(code_registry& registry, std::uintptr_t address)
    PROF_DETAIL_SIG {
  registration_scratch* const scratch = registry.take_scratch_sig();
  if (scratch == nullptr) return;
  const code_range* known = nullptr;
  if (find_mapping_sig(*scratch, address)) {
    describe_range_sig(registry, scratch->range, scratch->room);
    if (is_still_mapped_sig(*scratch) && still_has_build_id_sig(scratch->range)) {
      known = registry.ranges.find_or_add_sig(scratch->range);
    }
  }
  if (known != nullptr && !os_answers_for_objects()) registry.ranges.remember_recent_sig(known);
  scratch->lock.unlock();
}

inline module_image image_of(const code_range& range) noexcept {
  module_image image;
  image.place = range.cfi;
  image.base = range.header;
  image.path = range.path;
  image.code = {reinterpret_cast<const char*>(range.start), range.limit - range.start};
  image.code_offset = range.offset;
  image.build_id = {reinterpret_cast<const char*>(range.build_id), range.build_id_length};
  return image;
}

#else

inline void register_code_at_sig(code_registry&, std::uintptr_t) PROF_DETAIL_SIG {}
inline const code_map* read_code_map_sig(const code_map* before, code_registry&,
                                         const never_unloaded_objects& = {}) PROF_DETAIL_SIG {
  return before;
}

#endif

PROF_DETAIL_END

#endif  // PROF_CODE_MODULES_HPP
