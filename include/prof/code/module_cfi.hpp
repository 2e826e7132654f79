// prof/code/module_cfi.hpp - the unwind rules of one loaded module: from its table when that is built,
// else straight from its call frame information.
// Floor 5 (code). Modules are registered with the code map; walks ask; tables are built between profiles.
// Safety: functions ending in _sig are async-signal-safe; they read a module's sections through the
//         walk's reader. Building a table is for ordinary context while no object can be unloaded,
//         except for modules without a search header (-static): a hook's slow path builds those.
// Memory: an entry per distinct module and process, never freed, nor are tables: a library that comes
//         back has its table at once, and a walk may hold one for ever.
// Source: LSB 5.0 Core 10.6.2 (search table of .eh_frame_hdr).
#ifndef PROF_CODE_MODULE_CFI_HPP
#define PROF_CODE_MODULE_CFI_HPP

#include "prof/code/elf_image.hpp"
#include "prof/unwind/unwind_table.hpp"

PROF_DETAIL_BEGIN

struct module_cfi {
  std::atomic<std::uint64_t> identity;  // hash of build id, path and layout; 0: free
  std::atomic<const unwind_table*> table;
  std::atomic<bool> wanted;  // a walk came through while there was no table
  std::atomic<bool> tried;   // to build it
};

inline constexpr std::size_t max_modules = 1024;
inline constexpr std::size_t max_table_bytes = std::size_t{12} << 20;  // of all tables

struct module_registry {
  module_cfi modules[max_modules];
  std::atomic<std::size_t> table_bytes;

  // Null when full: such a module's rules are interpreted every time.
  module_cfi* find_or_add_sig(std::uint64_t identity) PROF_DETAIL_SIG {
    for (std::size_t step = 0; step < max_modules; ++step) {
      module_cfi& place = modules[(identity + step) % max_modules];
      std::uint64_t there = place.identity.load(std::memory_order_acquire);
      if (there == 0 && place.identity.compare_exchange_strong(there, identity)) return &place;
      if (there == identity) return &place;
    }
    return nullptr;
  }
};

// Where one module's call frame information is in memory.
struct cfi_place {
  std::uintptr_t header = 0;  // .eh_frame_hdr; 0: none
  std::uintptr_t limit = 0;   // end of the loaded segment that holds it and .eh_frame
  std::size_t most_entries() const PROF_DETAIL_SIG {
    return limit < header + cfi_header_size ? 0 : (limit - header - cfi_header_size) / 8;
  }
};

// ---- interpreting ---------------------------------------------------------------------------------

// Memory: bool read_word(address, word&); bool readable(address, size).
template <class Memory>
class cfi_search {
 public:
  cfi_search(cfi_place place, Memory& memory) PROF_DETAIL_SIG : place_(place), memory_(memory) {}

  // The FDE that holds pc.
  bool find_fde_sig(std::uintptr_t pc, cfi_fde& fde) PROF_DETAIL_SIG {
    std::size_t entry = 0;
    if (!find_entry_sig(pc, entry)) return false;
    section_.begin = header_.eh_frame;
    section_.end = reinterpret_cast<const cfi_byte*>(place_.limit);
    const cfi_byte* const at = header_.fde(entry);
    fde.cie_at = nullptr;  // what was there may be another module's
    return entry_readable_sig(at) && parse_fde_sig(at, section_, fde) && pc >= fde.begin &&
           pc < fde.limit;
  }

 private:
  // The last entry that begins at or before pc.
  PROF_DETAIL_NOINLINE bool find_entry_sig(std::uintptr_t pc, std::size_t& entry)
      PROF_DETAIL_SIG {
    if (place_.header == 0 || !memory_.readable(place_.header, 12)) return false;
    if (!parse_header_sig(place_.header, header_)) return false;
    if (header_.count > place_.most_entries()) return false;
    const auto start_of = [this](std::size_t i, std::uintptr_t& begin) PROF_DETAIL_SIG {
      if (!memory_.readable(place_.header + cfi_header_size + 8 * i, 8)) return false;
      begin = header_.start(i);
      return true;
    };
    return find_last_start_sig(header_.count, pc, start_of, entry);
  }

  // An entry and its CIE lie in the section and can be read.
  PROF_DETAIL_NOINLINE bool entry_readable_sig(const cfi_byte* at) PROF_DETAIL_SIG {
    std::uint32_t cie = 0;
    if (!body_readable_sig(at)) return false;
    std::memcpy(&cie, at + 4, sizeof cie);
    const cfi_byte* const here = at + 4;
    if (cie == 0 || cie > static_cast<std::size_t>(here - section_.begin)) return false;
    return body_readable_sig(here - cie);
  }
  bool body_readable_sig(const cfi_byte* at) PROF_DETAIL_SIG {
    const auto address = reinterpret_cast<std::uintptr_t>(at);
    if (at < section_.begin || at >= section_.end || section_.end - at < 8) return false;
    if (!memory_.readable(address, 8)) return false;
    std::uint32_t length = 0;
    std::memcpy(&length, at, sizeof length);
    // Longer ones exist only in theory; 4 covers the CIE pointer.
    return length >= 4 && length <= max_entry &&
           length <= static_cast<std::size_t>(section_.end - at) - 4 &&
           memory_.readable(address, length + std::size_t{4});
  }

  static constexpr std::size_t max_entry = std::size_t{64} * 1024;
  const cfi_place place_;
  Memory& memory_;
  cfi_header header_;
  cfi_section section_;
};

// ---- building ----------------------------------------------------------------------------------------

#if PROF_DETAIL_OS_LINUX

// A module as the code map knows it.
struct module_image {
  cfi_place place;
  std::uintptr_t base = 0;  // where its first byte is mapped; addresses of tables are relative to it
  const char* path = "";
  text_view build_id;  // of what is loaded, bytes; empty: none
  text_view code;      // as it is loaded, and where it is in the file
  std::uint64_t code_offset = 0;
};

// Whether a file is the one that is loaded: it may have been replaced since. Without build ids, by its code.
inline bool is_file_of(const elf_image& file, std::size_t size, const module_image& image) noexcept {
  if (!file.build_id().equals(image.build_id)) return false;
  if (image.build_id.size != 0) return true;
  if (image.code.size == 0 || image.code_offset >= size) return false;
  const std::uint64_t rest = size - image.code_offset;  // the last page is the kernel's to fill
  const text_view code = file.bytes(image.code_offset, rest < image.code.size ? rest : image.code.size);
  return std::memcmp(code.data, image.code.data, code.size) == 0;
}

// Whether all of a section is mapped, which it need not be.
inline bool is_mapped(const cfi_section& section) noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(section.begin);
  for (std::uintptr_t page = begin & ~std::uintptr_t{4095}; page < begin + section.size();
       page += 4096) {
    if (!os_readable_sig(page)) return false;
  }
  return true;
}

// Finds in the file what is not loaded or has no header. `bias` is what the loader added.
inline void add_file_sections(const elf_image& file, std::uintptr_t bias, cfi_source& source)
    noexcept {
  Elf64_Shdr section{};
  if (source.header == 0 && file.find_section({".eh_frame", 9}, section) != 0) {
    source.eh_frame.begin = reinterpret_cast<const cfi_byte*>(section.sh_addr + bias);
    source.eh_frame.end = source.eh_frame.begin + section.sh_size;
    if (!is_mapped(source.eh_frame)) source.eh_frame = {};
  }
  if (file.find_section({".debug_frame", 12}, section) == 0) return;
  if ((section.sh_flags & SHF_COMPRESSED) != 0) return;
  const text_view bytes = file.content(section);
  source.debug_frame.begin = reinterpret_cast<const cfi_byte*>(bytes.data);
  source.debug_frame.end = source.debug_frame.begin + bytes.size;
  source.debug_frame.is_debug_frame = true;
  source.debug_frame.bias = bias;
}

inline const unwind_table* build_module_table(const module_image& image) noexcept {
  std::size_t size = 0;
  const bool has_file = image.path[0] == '/';  // "[vdso]" is none
  const void* const pages = has_file ? os_map_file(image.path, size) : nullptr;
  const elf_image file(pages, size);
  cfi_source source;
  source.origin = image.base;
  source.header = image.place.header;
  cfi_header header;
  if (source.header != 0 && parse_header_sig(source.header, header)) {
    source.eh_frame.begin = header.eh_frame;
    source.eh_frame.end = reinterpret_cast<const cfi_byte*>(image.place.limit);
    source.most_entries = image.place.most_entries();
  }
  std::uint64_t first = 0;
  Elf64_Shdr debug{};
  const bool has_more = file.usable() && (source.header == 0 || file.find_section({".debug_frame", 12}, debug) != 0);
  if (has_more && is_file_of(file, size, image) && file.address_of(0, first)) {
    add_file_sections(file, image.base - static_cast<std::uintptr_t>(first), source);
  }
  arena scratch(os_pages);
  const unwind_table* const table = unwind_table_builder(source, scratch).build();
  if (pages != nullptr) os_unmap_sig(const_cast<void*>(pages), size);
  return table;
}

// Builds a module's table once; false: there is no room within the budget of all tables.
inline bool build_table_once(module_registry& registry, module_cfi& module,
                             const module_image& image) noexcept {
  if (module.tried.exchange(true)) return true;
  if (registry.table_bytes.load() >= max_table_bytes) return false;
  const unwind_table* const table = build_module_table(image);
  if (table == nullptr) return true;
  if (registry.table_bytes.fetch_add(table->bytes) + table->bytes > max_table_bytes) {
    registry.table_bytes.fetch_sub(table->bytes);
    os_unmap_sig(const_cast<unwind_table*>(table), table->bytes);
    return false;
  }
  module.table.store(table, std::memory_order_release);
  return true;
}

#endif

PROF_DETAIL_END

#endif  // PROF_CODE_MODULE_CFI_HPP
