// prof/symbol/symbolizer.hpp - gives every location of a profile a function.
// Floor 9 (symbol). Used by whoever writes or serves a profile; reads the files named in it.
// Safety: ordinary context; thread-compatible (one symbolizer, one thread). Opens files, and calls
//         malloc through the demangler: never from a hook or handler.
// Memory: the symbol tables of the files that are met, in the arena; each file is mapped read-only
//         until the symbolizer goes. Names it returns live as long as the arena.
// Source: google/pprof profile.proto (has_functions; name and system_name); proc(5) for
//         /proc/self/exe; vdso(7).
#ifndef PROF_SYMBOL_SYMBOLIZER_HPP
#define PROF_SYMBOL_SYMBOLIZER_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/os/os.hpp"
#include "prof/profile/model.hpp"
#include "prof/code/modules.hpp"
#include "prof/symbol/demangle.hpp"
#include "prof/symbol/elf.hpp"

#include <new>

PROF_DETAIL_BEGIN

class symbolizer {
 public:
  explicit symbolizer(arena& memory) noexcept : memory_(memory), names_(memory), known_(memory) {}
  ~symbolizer() {
    for (; files_ != nullptr; files_ = files_->next) close(*files_);
  }
  symbolizer(const symbolizer&) = delete;
  symbolizer& operator=(const symbolizer&) = delete;

  // Gives every location that has an address and no line yet the line of its function. Where no
  // symbol is found the function is called "libfoo.so+0x1234" (offset in the file) or "0x1234",
  // because viewers drop frames without one. `map` may be null: then the vdso has no names.
  void symbolize(profile& p, const code_map* map) noexcept {
    arena_vector<place> places(memory_);
    if (!places.resize(p.mappings.size())) return;
    for (profile_location& location : p.locations) {
      if (location.address == 0) continue;
      place* const home = location.mapping < places.size() ? &places[location.mapping] : nullptr;
      const bool real = location.line_count != 0 ? !has_made_up_name(p, location)
                                                 : add_function(p, location, home, map);
      if (home != nullptr) (real ? home->named : home->unnamed) = true;
    }
    // A viewer does not look for symbols of a mapping that claims to have them: claim only all.
    for (std::size_t i = 0; i < places.size(); ++i) {
      p.mappings[i].has_functions = places[i].named && !places[i].unnamed;
    }
  }

  // The readable name of the function at an address, or an empty text.
  text_view name_of(std::uint64_t call_address, const code_map* map) noexcept {
    if (map == nullptr) return {};
    const code_range* const range = map->find(static_cast<std::uintptr_t>(call_address));
    if (range == nullptr) return {};
    const binary wanted{{range->path, range->path_size},
                        {reinterpret_cast<const char*>(range->build_id), range->build_id_length}};
    const file* const found = open(wanted, range);
    const names* const function =
        found == nullptr ? nullptr
                         : find_names(found->symbols, call_address - range->start + range->offset);
    return function == nullptr ? text_view() : function->readable;
  }

 private:
  struct binary {
    text_view path;
    text_view build_id;  // bytes; empty when unknown
  };
  struct file {
    file* next;
    binary identity;
    const void* pages;
    std::size_t size;
    bool in_memory;  // the vdso: part of this process, nothing to unmap
    elf_symbols symbols;
  };
  struct names {
    const elf_symbol* symbol;
    text_view readable;
    text_view linked;
  };
  // What is known of one mapping of the profile.
  struct place {
    const file* found;
    bool opened;
    bool named;
    bool unnamed;
  };

  // ---- files -----------------------------------------------------------------------------------

  const file* open(const binary& wanted, const code_range* range) noexcept {
    for (file* f = files_; f != nullptr; f = f->next) {
      if (f->identity.path.equals(wanted.path) && f->identity.build_id.equals(wanted.build_id)) {
        return f;
      }
    }
    void* const room = memory_.allocate(sizeof(file));
    const char* const path = memory_.copy(wanted.path.data, wanted.path.size);
    const char* const id = memory_.copy(wanted.build_id.data, wanted.build_id.size);
    if (room == nullptr || path == nullptr || id == nullptr) return nullptr;
    file* const made =
        new (room) file{files_,  {{path, wanted.path.size}, {id, wanted.build_id.size}},
                        nullptr, 0,
                        false,   elf_symbols(memory_)};
    files_ = made;
    load(*made, range);
    return made;
  }

  // A file that cannot be read, or is not the one that was loaded, stays without symbols.
  void load(file& f, const code_range* range) noexcept {
    if (f.identity.path.equals({"[vdso]", 6})) return load_vdso(f, range);
    if (!f.identity.path.starts_with({"/", 1})) return;  // "[heap]" is no file here
    if (try_file(f, f.identity.path.data, false)) return;
    // The program was replaced or deleted while it runs: the kernel still has what was started.
    try_file(f, "/proc/self/exe", true);
  }

  bool try_file(file& f, const char* path, bool need_build_id) noexcept {
    f.pages = os_map_file(path, f.size);
    if (f.pages == nullptr) return false;
    const elf_image image(f.pages, f.size);
    const text_view id = image.build_id();
    const text_view wanted = f.identity.build_id;
    const bool known = wanted.size != 0 && id.size != 0;
    // code_range keeps at most build_id_size bytes of a longer id.
    const bool same =
        known && (id.equals(wanted) || (wanted.size == build_id_size && id.starts_with(wanted)));
    if (image.usable() && (same || (!known && !need_build_id))) {
      f.symbols.load(image);
      return true;
    }
    close(f);
    return false;
  }

  // The kernel's own shared object is in memory only, whole and with its section table.
  static void load_vdso(file& f, const code_range* range) noexcept {
    if (range == nullptr || !range->current || range->header != range->start) return;
    if (!text_view(range->path, range->path_size).equals(f.identity.path)) return;
    f.pages = reinterpret_cast<const void*>(range->header);
    f.size = range->limit - range->start;
    f.in_memory = true;
    f.symbols.load(elf_image(f.pages, f.size));
  }

  static void close(file& f) noexcept {
    if (f.pages != nullptr && !f.in_memory) os_unmap_sig(const_cast<void*>(f.pages), f.size);
    f.pages = nullptr;
  }

  // ---- names -----------------------------------------------------------------------------------

  // Both names of the function at a file offset, demangled once; null when there is no symbol.
  const names* find_names(const elf_symbols& symbols, std::uint64_t offset) noexcept {
    const elf_symbol* const found = symbols.find(offset);
    if (found == nullptr) return nullptr;
    const auto fresh = static_cast<std::uint32_t>(names_.size());
    const std::uint32_t index =
        known_.find_or_add(reinterpret_cast<std::uintptr_t>(found), fresh, [&](std::uint32_t i) {
          return i < names_.size() && names_[i].symbol == found;  // a push may have failed
        });
    if (index == fresh) {
      const text_view tail = found->stub ? stub_suffix : text_view();
      const text_view linked = join_clean(memory_, symbols.name_of(*found), tail);
      names_.push({found, demangle(linked.data, memory_), linked});
    }
    if (index >= names_.size() || names_[index].readable.size == 0) return nullptr;  // no memory
    return &names_[index];
  }

  // True when the function is a symbol's, not a made-up one.
  bool add_function(profile& p, profile_location& location, place* home,
                    const code_map* map) noexcept {
    const names* function = nullptr;
    if (home != nullptr) {
      const profile_mapping& mapping = p.mappings[location.mapping];
      if (!home->opened) open_mapping(p, mapping, map, *home);
      if (home->found != nullptr && address_in(mapping, location.address)) {
        function =
            find_names(home->found->symbols, location.address - mapping.start + mapping.offset);
      }
    }
    made_up_name other;
    if (function == nullptr) make_up_name(p, location, other);
    const std::uint32_t index =
        function != nullptr ? p.add_function(function->readable, function->linked)
                            : p.add_function({other.text, other.size}, {other.text, other.size});
    if (index < p.functions.size()) p.add_line(location, {index, 0, 0});
    return function != nullptr;
  }

  void open_mapping(const profile& p, const profile_mapping& mapping, const code_map* map,
                    place& home) noexcept {
    unsigned char id[build_id_size];
    std::size_t id_size = 0;
    for (text_view hex = p.strings[mapping.build_id]; hex.size >= 2 && id_size < sizeof id;) {
      text_view two{hex.data, 2};
      id[id_size++] = static_cast<unsigned char>(take_hex(two));
      hex = hex.from(2);
    }
    const code_range* const range =
        map != nullptr ? map->find(static_cast<std::uintptr_t>(mapping.start)) : nullptr;
    home.found =
        open({p.strings[mapping.file], {reinterpret_cast<const char*>(id), id_size}}, range);
    home.opened = true;
  }

  static bool address_in(const profile_mapping& mapping, std::uint64_t address) noexcept {
    return address >= mapping.start && address < mapping.limit;
  }

  // ---- made-up names ---------------------------------------------------------------------------

  struct made_up_name {
    char text[256 + 3 + 16];
    std::size_t size = 0;
  };

  static void make_up_name(const profile& p, const profile_location& location,
                           made_up_name& out) noexcept {
    text_view base;
    std::uint64_t number = location.address;
    if (location.mapping < p.mappings.size()) {
      const profile_mapping& mapping = p.mappings[location.mapping];
      const text_view path = p.strings[mapping.file];
      const std::size_t slash = path.rfind('/');
      base = slash == path.size ? path : path.from(slash + 1);
      if (base.size > 256) base = base.from(base.size - 256);  // NAME_MAX is 255
      if (base.size != 0) number += mapping.offset - mapping.start;
    }
    std::memcpy(out.text, base.data, base.size);
    out.size = base.size;
    if (base.size != 0) out.text[out.size++] = '+';
    out.text[out.size++] = '0';
    out.text[out.size++] = 'x';
    out.size += format_hex(number, out.text + out.size);
    clean_utf8(out.text, out.size);
  }

  // So that symbolizing twice ends as symbolizing once.
  static bool has_made_up_name(const profile& p, const profile_location& location) noexcept {
    made_up_name name;
    make_up_name(p, location, name);
    const profile_function& function = p.functions[p.lines[location.first_line].function];
    return p.strings[function.name].equals({name.text, name.size});
  }

  arena& memory_;
  file* files_ = nullptr;
  arena_vector<names> names_;
  index_set known_;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_SYMBOLIZER_HPP
