// prof/symbol/symbolizer.hpp - gives every location of a profile its functions, files and lines.
// Floor 9 (symbol). Used by whoever writes or serves a profile; reads the files of the code in it.
// Safety: ordinary context; thread-compatible (one symbolizer, one thread); the cache is shared, and locked for moments only.
//         Opens files: never from a hook or handler.
// Memory: in the arena; each file is mapped read-only while its names are looked up, one after the other. What is named stays
//         in the profile and in the cache.
// Source: google/pprof profile.proto (has_functions; name and system_name; several lines of a location are inlined calls,
//         innermost first); vdso(7).
#ifndef PROF_SYMBOL_SYMBOLIZER_HPP
#define PROF_SYMBOL_SYMBOLIZER_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/code/modules.hpp"
#include "prof/os/os.hpp"
#include "prof/process/own_code.hpp"
#include "prof/profile/model.hpp"
#include "prof/symbol/debug_files.hpp"
#include "prof/symbol/demangle.hpp"
#include "prof/symbol/module_file.hpp"
#include "prof/symbol/module_names.hpp"
#include "prof/symbol/name_cache.hpp"

#include <new>

PROF_DETAIL_BEGIN

// "libfoo.so+0x1234" by the offset in the file, or "0x1234": what code without a name is called, because viewers drop frames
// without one.
class made_up_name {
 public:
  made_up_name(text_view path, std::uint64_t number) noexcept {
    const std::size_t slash = path.rfind('/');
    text_view base = slash == path.size ? path : path.from(slash + 1);
    if (base.size > max_base) base = base.from(base.size - max_base);
    std::memcpy(text_, base.data, base.size);
    size_ = base.size;
    if (base.size != 0) text_[size_++] = '+';
    text_[size_++] = '0';
    text_[size_++] = 'x';
    size_ += format_hex(number, text_ + size_);
    clean_utf8(text_, size_);
  }
  text_view view() const noexcept { return {text_, size_}; }

 private:
  static constexpr std::size_t max_base = 256;  // NAME_MAX is 255
  char text_[max_base + 3 + 16];
  std::size_t size_ = 0;
};

// What a comment says of debug information that was there and was not read.
inline text_view text_of(unread why) noexcept {
  switch (why) {
    case unread::zstd: return "its debug information is compressed by zstd, which is not read";
    case unread::damaged: return "its debug information is damaged";
    case unread::too_large: return "its debug information is larger than options::symbolize_memory";
    case unread::split: return "inlined calls are in .dwo or .dwp files, which are not read";
    case unread::alternative: return "a part of its debug information is in a file made by dwz, which was not found";
    default: return {};
  }
}
// And of a file that is not the one that runs.
inline text_view text_of(file_lack why) noexcept {
  switch (why) {
    case file_lack::replaced: return "another file has taken its place";
    case file_lack::deleted: return "it was deleted";
    case file_lack::unreadable: return "it cannot be read";
    default: return {};
  }
}

// One line of a location that has no name. Code between functions may have a place in a source file.
inline void add_made_up_line(profile& p, profile_location& location, const made_up_name& name, text_view file = {},
                             std::int64_t line = 0, std::int64_t column = 0) noexcept {
  const std::uint32_t function = p.add_function(name.view(), name.view(), file);
  if (function >= p.functions.size()) return;
  p.functions[function].is_made_up = true;
  p.add_line(location, {function, line, column});
}

#if PROF_DETAIL_OS_LINUX

class symbolizer {
 public:
  // `cache` may be null.
  symbolizer(arena& memory, name_cache* cache, const name_limits& limits, name_detail detail) noexcept
      : memory_(memory), cache_(cache), limits_(limits), detail_(detail), places_(memory), used_(memory),
        modules_(memory), missing_(memory), names_(memory), known_(memory), demangler_(memory) {}

  // Names every location that has an address and no line yet. `map` may be null: then code that has no file has no names.
  void symbolize(profile& p, const code_map* map) noexcept {
    places_.resize(p.mappings.size());
    find_used(p);
    collect(p, map);
    take_known(p);
    heap_sort(missing_.data(), missing_.size(), [](const missing_name& a, const missing_name& b) {
      return a.module != b.module ? a.module < b.module : a.offset < b.offset;
    });
    for (std::size_t first = 0; first < missing_.size();) first = name_module(p, first);
    for (missing_name& unnamed : missing_) {
      if (p.locations[unnamed.location].line_count == 0) add_made_up(p, unnamed, unnamed.offset);
    }
    keep_named(p);
    name_lost(p);
    if (cut_ != 0) say_cut(p);
    claim(p);
  }

 private:
  // Who has no name or no line may have one when its debug file is installed.
  static constexpr std::uint64_t look_again_ns = std::uint64_t{60} * 1000000000u;

  struct module {
    module_identity identity;
    std::uint64_t key;
    text_view remark;  // of debug information that was not read
  };
  // What is known of one mapping of the profile.
  struct place {
    std::uint32_t module_and_1;
    bool is_named;
    bool is_unnamed;
    bool has_lines;
    bool has_inlines;
  };
  struct readable_name {
    const char* symbol;  // where it stands in its file
    bool is_stub;
    text_view linked;
    text_view name;
  };
  struct missing_name {
    std::uint64_t offset;   // in the file
    std::uint64_t address;  // as linked
    std::uint32_t module;
    std::uint32_t location;
    bool is_made_up;
    bool is_passing;  // it may be known better another time
  };

  // ---- what there is to name -------------------------------------------------------------------------

  // Samples of zeros are not written: what only they have says nothing of its mapping. Without samples all is used.
  void find_used(const profile& p) noexcept {
    if (!used_.resize(p.locations.size())) return;
    for (const profile_sample& sample : p.samples) {
      bool is_written = false;
      for (std::size_t i = 0; i < p.value_types.size(); ++i) is_written = is_written || p.values_of(sample)[i] != 0;
      for (std::size_t i = 0; is_written && i < sample.depth; ++i) {
        if (p.frames_of(sample)[i] < used_.size()) used_[p.frames_of(sample)[i]] = true;
      }
    }
    if (p.samples.empty()) for (bool& is_used : used_) is_used = true;
  }
  void collect(profile& p, const code_map* map) noexcept {
    for (std::size_t i = 0; i < p.locations.size(); ++i) {
      profile_location& location = p.locations[i];
      if (location.address == 0 || location.line_count != 0) continue;
      if (location.mapping >= places_.size()) {
        add_made_up(p, location, {}, location.address);
        continue;
      }
      const profile_mapping& mapping = p.mappings[location.mapping];
      missing_name wanted{};
      wanted.offset = location.address - mapping.start + mapping.offset;
      if (location.address < mapping.start || location.address >= mapping.limit) {
        add_made_up(p, location, p.strings[mapping.file], wanted.offset);
        continue;
      }
      wanted.module = module_of(p, location.mapping, map);
      wanted.location = static_cast<std::uint32_t>(i);
      if (wanted.module != no_index) missing_.push(wanted);
    }
  }
  std::uint32_t module_of(const profile& p, std::uint32_t mapping, const code_map* map) noexcept {
    place& home = places_[mapping];
    if (home.module_and_1 != 0) return home.module_and_1 - 1;
    const module_identity wanted = identity_of_mapping(p, p.mappings[mapping], map);
    const std::uint64_t key = key_of(wanted);
    std::uint32_t found = 0;
    while (found < modules_.size() && modules_[found].key != key) ++found;
    if (found == modules_.size() && !modules_.push({wanted, key, {}})) return no_index;
    home.module_and_1 = found + 1;
    return found;
  }

  module_identity identity_of_mapping(const profile& p, const profile_mapping& mapping, const code_map* map) noexcept {
    module_identity made;
    made.path = p.strings[mapping.file];
    made.build_id = bytes_of(p.strings[mapping.build_id]);
    const code_range* const range = range_of(mapping, map);
    if (range == nullptr) return made;
    const module_identity real = identity_of(*range);
    return real.path.equals(made.path) && real.build_id.equals(made.build_id) ? real : made;
  }
  static const code_range* range_of(const profile_mapping& mapping, const code_map* map) noexcept {
    if (map == nullptr) return nullptr;
    const auto start = static_cast<std::uintptr_t>(mapping.start);
    return mapping.range != 0 ? map->find_numbered(static_cast<range_number>(mapping.range), start) : map->find(start);
  }
  text_view bytes_of(text_view hex) noexcept {
    char* const bytes = static_cast<char*>(memory_.allocate(build_id_size));
    if (bytes == nullptr) return {};
    std::size_t size = 0;
    for (; hex.size >= 2 && size < build_id_size; hex = hex.from(2)) {
      text_view two{hex.data, 2};
      bytes[size++] = static_cast<char>(take_hex(two));
    }
    return {bytes, size};
  }

  // The path is in it, for made-up names show it. A file without a build id may be changed: when it was mapped tells.
  static std::uint64_t key_of(const module_identity& of) noexcept {
    std::uint64_t key = mix_bits(hash_text(of.path)) ^ hash_text(of.build_id);
    if (of.build_id.size == 0) key = mix_bits(mix_bits(key ^ of.device) ^ of.inode) ^ mix_bits(of.seen_ns);
    return key;
  }

  // ---- the cache -------------------------------------------------------------------------------------

  name_key key_of(const missing_name& wanted) const noexcept {
    return {modules_[wanted.module].key, wanted.offset, static_cast<std::uint8_t>(detail_)};
  }

  // What is found again is no longer missing.
  void take_known(profile& p) noexcept {
    if (cache_ == nullptr || missing_.empty()) return;
    const std::uint64_t now = os_monotonic_ns_sig();
    const spin_guard guard(cache_->lock);
    name_store& store = cache_->store();
    arena_vector<std::uint32_t> copies(memory_);  // of the store's functions: their index here, plus 1
    if (!copies.resize(store.lines().functions.size())) return;
    std::size_t left = 0;
    for (const missing_name& wanted : missing_) {
      const cached_name* const found = store.find(key_of(wanted), now);
      if (found == nullptr) missing_[left++] = wanted;
      else copy_lines(p, p.locations[wanted.location], store.lines(), *found, copies);
    }
    found_again_ = missing_.size() - left;
    missing_.resize(left);
    for (const module_remark& remark : store.remarks()) {
      for (module& used : modules_) {
        if (used.key == remark.module) add_remark(p, used, store.lines().strings[remark.text]);
      }
    }
  }
  void copy_lines(profile& p, profile_location& location, const profile& store, const cached_name& found,
                  arena_vector<std::uint32_t>& copies) noexcept {
    for (std::uint32_t i = 0; i < found.line_count; ++i) {
      profile_line line = store.lines[found.first_line + i];
      std::uint32_t& copy = copies[line.function];
      if (copy == 0) {
        const profile_function& function = store.functions[line.function];
        copy = add_function(p, store.strings[function.name], store.strings[function.system_name],
                            store.strings[function.file], function.start_line) + 1;
      }
      line.function = copy - 1;
      if (copy != 0) p.add_line(location, line);
    }
    see_named(p, location, found.is_made_up);
  }

  void keep_named(const profile& p) noexcept {
    if (cache_ == nullptr || missing_.empty() || !p.complete()) return;
    const std::uint64_t later = os_monotonic_ns_sig() + look_again_ns;
    const spin_guard guard(cache_->lock);
    const bool is_stale = cache_->store().is_full() && missing_.size() > found_again_;
    name_store& store = is_stale ? cache_->renew() : cache_->store();
    for (const missing_name& named : missing_) {
      if (store.is_full()) break;
      if (named.is_passing) continue;
      const profile_location& location = p.locations[named.location];
      const bool is_whole = !named.is_made_up && (detail_ == name_detail::functions || has_line(p, location));
      store.add(key_of(named), p, location, named.is_made_up, is_whole ? ~std::uint64_t{0} : later);
    }
    for (const module& of : modules_) {
      if (of.remark.size != 0) store.add_remark(of.key, of.remark);
    }
  }

  static bool has_line(const profile& p, const profile_location& location) noexcept {
    return location.line_count != 0 && p.lines[location.first_line].line != 0;
  }

  // ---- one module ------------------------------------------------------------------------------------

  // Names all locations of the module that missing_[first] is in; returns where the next one begins.
  std::size_t name_module(profile& p, std::size_t first) noexcept {
    std::size_t end = first;
    while (end < missing_.size() && missing_[end].module == missing_[first].module) ++end;
    module& of = modules_[missing_[first].module];
    module_file file;
    arena scratch(os_pages);
    const bool is_open = file.open(of.identity, scratch);
    if (is_open) name_from(p, file, of, &missing_[first], end - first, scratch);
    for (std::size_t i = first; !is_open && i < end; ++i) missing_[i].is_passing = true;  // no descriptor, say
    if (!is_open || file.is_from_memory()) remark(p, of, text_of(file.lack()));
    file.close();
    return end;
  }

  // `scratch` has what is needed for this module only.
  void name_from(profile& p, const module_file& file, module& of, missing_name* wanted, std::size_t count,
                 arena& scratch) noexcept {
    arena_vector<std::uint64_t> addresses(scratch);
    for (std::size_t i = 0; i < count; ++i) {
      if (!file.image().address_of(wanted[i].offset, wanted[i].address)) wanted[i].address = 0;
    }
    heap_sort(wanted, count, [](const missing_name& a, const missing_name& b) { return a.address < b.address; });
    for (std::size_t i = 0; i < count; ++i) addresses.push(wanted[i].address);
    if (addresses.size() != count) return;
    debug_files* const places = find_debug_files();
    if (places == nullptr) return;
    debug_file debug;
    debug_file shared;
    const bool has_debug = places->find(file.image(), of.identity.path, debug);
    const elf_image& with_lines = has_debug ? debug.image : file.image();
    const bool has_shared = detail_ != name_detail::functions &&
                            places->find_supplement(with_lines, has_debug ? debug.path : of.identity.path, shared);
    names_.clear();  // the files of the module before are closed, and others may lie at their place
    known_.clear();
    name_limits limits = limits_;
    const text_view mapped[] = {file.mapped(), debug.mapped(), shared.mapped()};
    limits.mapped = mapped;
    limits.mapped_count = 3;
    module_names names(scratch, limits);
    if (names.find(file.image(), with_lines, has_shared ? &shared.image : nullptr, addresses.data(), count, detail_)) {
      for (std::size_t i = 0; i < count; ++i) add_names(p, wanted[i], names, i, scratch);
      remark(p, of, text_of(names.problem()));
    }
    if (detail_ != name_detail::functions && !has_shared && needs_supplement(with_lines)) {
      remark(p, of, text_of(unread::alternative));
    }
    if (!has_debug && has_packed_symbols(file.image())) remark(p, of, "its symbols are in .gnu_debugdata, which is not read");
    close_debug_file(debug);
    close_debug_file(shared);
  }

  debug_files* find_debug_files() noexcept {
    void* const room = debug_files_ == nullptr ? memory_.allocate(sizeof(debug_files)) : nullptr;
    if (room != nullptr) debug_files_ = new (room) debug_files(memory_, {"/usr/lib/debug", 14}, limits_.deadline_ns);
    return debug_files_;
  }

  void add_names(profile& p, missing_name& wanted, const module_names& names, std::size_t i, arena& scratch) noexcept {
    profile_location& location = p.locations[wanted.location];
    const bool is_cut = names.is_cut() || (detail_ != name_detail::functions && debug_files_->is_late());
    wanted.is_passing = is_cut && names.lacks_line(i);
    cut_ += wanted.is_passing ? 1 : 0;
    std::uint64_t begin = 0;
    const bool has_begin = names.begin_of(i, begin) && begin <= wanted.address;
    const std::uint64_t offset = has_begin ? wanted.offset - (wanted.address - begin) : wanted.offset;
    const text_view path = modules_[wanted.module].identity.path;
    names.for_each_frame(i, [&](const named_frame& frame) {
      wanted.is_made_up = frame.linkage.size == 0;  // the outermost is the last one
      if (wanted.is_made_up) add_made_up_line(p, location, made_up_name(path, offset), frame.file, frame.line, frame.column);
      else add_frame(p, location, frame, scratch);
    });
    see_named(p, location, wanted.is_made_up);
  }
  void add_frame(profile& p, profile_location& location, const named_frame& frame, arena& scratch) noexcept {
    const readable_name* const known = readable_of(frame, scratch);
    if (known == nullptr) return;
    const std::uint32_t function = add_function(p, known->name, known->linked, frame.file, frame.start_line);
    if (function != no_index) p.add_line(location, {function, frame.line, frame.column});
  }
  // Each symbol is demangled once. Null when there is no memory.
  const readable_name* readable_of(const named_frame& frame, arena& scratch) noexcept {
    const bool is_stub = frame.tail.size != 0;
    const std::uint64_t hash = reinterpret_cast<std::uintptr_t>(frame.linkage.data) ^ std::uint64_t{is_stub} << 63;
    const auto fresh = static_cast<std::uint32_t>(names_.size());
    const std::uint32_t found = known_.find_or_add(hash, fresh, [&](std::uint32_t i) {
      return i < names_.size() && names_[i].symbol == frame.linkage.data && names_[i].is_stub == is_stub;
    });
    if (found == fresh) {
      const text_view linked = join_clean(scratch, frame.linkage, frame.tail);
      const text_view name = demangle_within_limit(linked, scratch);
      names_.push({frame.linkage.data, is_stub, is_cut_by_pprof(name, linked) ? text_view() : linked, name});
    }
    return found < names_.size() && names_[found].name.size != 0 ? &names_[found] : nullptr;
  }
  text_view demangle_within_limit(text_view linked, arena& scratch) noexcept {
    if (demangler_steps_ >= limits_.demangler_steps) return linked;
    const text_view name = demangler_.demangle(linked, scratch);
    demangler_steps_ += demangler_.steps();
    return name;
  }
  // A local function has only its name in the source in debug information, "f<int>". Where both names are the same pprof
  // takes it for one to be shortened; it leaves one alone that is linked by none.
  static bool is_cut_by_pprof(text_view name, text_view linked) noexcept {
    return name.equals(linked) && (name.find('<') != name.size || name.find('(') != name.size);
  }
  static std::uint32_t add_function(profile& p, text_view name, text_view linked, text_view file,
                                    std::int64_t start_line) noexcept {
    const std::uint32_t made = p.add_function(name, linked, file);
    if (made < p.functions.size() && p.functions[made].start_line == 0) p.functions[made].start_line = start_line;
    return made < p.functions.size() ? made : no_index;
  }

  void add_made_up(profile& p, missing_name& wanted, std::uint64_t offset) noexcept {
    wanted.is_made_up = true;
    const text_view path = modules_[wanted.module].identity.path;
    profile_location& location = p.locations[wanted.location];
    add_made_up(p, location, path, path.size != 0 ? offset : location.address);
  }
  void add_made_up(profile& p, profile_location& location, text_view path, std::uint64_t number) noexcept {
    add_made_up_line(p, location, made_up_name(path, number));
    see_named(p, location, true);
  }

  // Where there was no memory to look at them.
  void name_lost(profile& p) noexcept {
    for (profile_location& location : p.locations) {
      if (location.address != 0 && location.line_count == 0) add_made_up(p, location, {}, location.address);
    }
  }

  // ---- what is said of it ----------------------------------------------------------------------------

  void see_named(const profile& p, const profile_location& location, bool is_made_up) noexcept {
    const auto index = static_cast<std::size_t>(&location - p.locations.data());
    if (location.mapping >= places_.size() || index >= used_.size() || !used_[index]) return;
    place& home = places_[location.mapping];
    (is_made_up ? home.is_unnamed : home.is_named) = true;
    home.has_inlines = home.has_inlines || location.line_count > 1;
    for (std::uint32_t i = 0; i < location.line_count; ++i) {
      const std::uint32_t function = p.lines[location.first_line + i].function;
      home.has_lines = home.has_lines || p.functions[function].file != 0;
    }
  }
  // A viewer does not look for symbols of a mapping that claims to have them: claim only all.
  void claim(profile& p) noexcept {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      const place& home = places_[i];
      if (!home.is_named && !home.is_unnamed) continue;
      profile_mapping& mapping = p.mappings[i];
      mapping.has_functions = home.is_named && !home.is_unnamed;
      mapping.has_filenames = mapping.has_line_numbers = mapping.has_functions && home.has_lines;
      mapping.has_inline_frames = mapping.has_functions && home.has_inlines;
    }
  }

  static bool needs_supplement(const elf_image& image) noexcept {
    Elf64_Shdr head{};
    return supplement_link_of(image).path.size != 0 && image.find_section(".debug_info", head) != 0;
  }
  static bool has_packed_symbols(const elf_image& image) noexcept {
    Elf64_Shdr head{};
    return image.find_section(".gnu_debugdata", head) != 0 && image.find_section(SHT_SYMTAB, head) == 0;
  }
  // Why a module has fewer names than it could have; the first reason is said, in every profile that it is in.
  void remark(profile& p, module& of, text_view why) noexcept {
    if (why.size == 0 || of.remark.size != 0) return;
    bounded_text<512> line;
    line.put("names of ").put(of.identity.path).put(": ").put(why);
    add_remark(p, of, line.view());
  }
  void add_remark(profile& p, module& of, text_view line) noexcept {
    const char* const kept = memory_.copy(line.data, line.size);
    if (kept == nullptr) return;
    of.remark = {kept, line.size};
    p.add_comment(of.remark);
  }
  void say_cut(profile& p) noexcept {
    bounded_text<160> line;
    line.decimal(cut_).put(" addresses have no line: the time or the memory for names was used up");
    p.add_comment(line.view());
  }

  arena& memory_;
  name_cache* cache_;
  name_limits limits_;
  name_detail detail_;
  arena_vector<place> places_;
  arena_vector<bool> used_;  // of the locations: by a sample that is written
  arena_vector<module> modules_;
  arena_vector<missing_name> missing_;
  arena_vector<readable_name> names_;
  index_set known_;  // of names_
  demangler demangler_;
  std::uint64_t demangler_steps_ = 0;
  debug_files* debug_files_ = nullptr;  // made when the first file is read: it asks the environment
  std::size_t found_again_ = 0;  // in the cache
  std::uint64_t cut_ = 0;
};

#else

// Where no files of code are known, code is called by its place.
class symbolizer {
 public:
  symbolizer(arena&, name_cache*, const name_limits&, name_detail) noexcept {}
  void symbolize(profile& p, const code_map*) noexcept {
    for (profile_location& location : p.locations) {
      if (location.address == 0 || location.line_count != 0) continue;
      add_made_up_line(p, location, made_up_name({}, location.address));
    }
  }
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_SYMBOLIZER_HPP
