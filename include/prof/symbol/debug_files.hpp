// prof/symbol/debug_files.hpp - the separate debug file of an ELF file, and the file that several debug files share.
// Floor 9 (symbol). Used by the symbolizer where a file has not all names and lines itself.
// Safety: ordinary context; thread-compatible. One open(2) for each place that is looked at, no network. Only regular files
//         are mapped; one that does not prove to belong to the other is given back.
// Memory: the file found, mapped read-only until close_debug_file; paths in the arena.
// Source: GDB 13 manual, "Debugging Information in Separate Files" (build-id folders, .gnu_debuglink and its CRC);
//         dwz(1) (.gnu_debugaltlink, /usr/lib/debug/.dwz); DWARF 5, 7.3.6 (.debug_sup); debuginfod-find(1) (caches).
//         libbacktrace febbb9b: a debug file may name itself, so what was found is not asked for one again.
#ifndef PROF_SYMBOL_DEBUG_FILES_HPP
#define PROF_SYMBOL_DEBUG_FILES_HPP

#include "prof/base/gzip.hpp"
#include "prof/base/memory.hpp"
#include "prof/code/elf_image.hpp"

PROF_DETAIL_BEGIN

// One that was found, with its path in the arena: a file that it names may lie beside it.
struct debug_file {
  const void* pages = nullptr;
  std::size_t size = 0;
  elf_image image;
  text_view path;

  text_view mapped() const noexcept { return {static_cast<const char*>(pages), size}; }
};

inline void close_debug_file(debug_file& file) noexcept {
  if (file.pages != nullptr) os_unmap_sig(const_cast<void*>(file.pages), file.size);
  file = {};
}

#if PROF_DETAIL_OS_LINUX

// ---- what a file says of the other one ---------------------------------------------------------------

// By its file name, and the CRC-32 of all of it.
struct debug_link {
  text_view name;
  std::uint32_t crc = 0;
};

inline debug_link debug_link_of(const elf_image& image) noexcept {
  Elf64_Shdr head{};
  debug_link link;
  const text_view content = image.find_section(".gnu_debuglink", head) != 0 ? image.content(head) : text_view();
  const std::size_t end = content.find('\0');
  const std::size_t crc_at = (end + 4) & ~std::size_t{3};  // behind the zero, at a multiple of four
  if (end == 0 || crc_at > content.size || content.size - crc_at < sizeof link.crc) return {};
  // A name with a folder would lead out of those that are searched.
  if (text_view(content.data, end).find('/') != end) return {};
  link.name = {content.data, end};
  std::memcpy(&link.crc, content.data + crc_at, sizeof link.crc);
  return link;
}

// The file of what several debug files have in common, by its path and its build id.
struct supplement_link {
  text_view path;
  text_view id;
  bool is_supplement = false;  // this is such a file itself
};

inline supplement_link supplement_link_of(const elf_image& image) noexcept {
  Elf64_Shdr head{};
  supplement_link link;
  if (image.find_section(".gnu_debugaltlink", head) != 0) {
    const text_view content = image.content(head);
    const std::size_t end = content.find('\0');
    if (end != content.size) link = {{content.data, end}, content.from(end + 1), false};
    return link;
  }
  // DWARF 5's: version 5, is it a supplement, path, length of the checksum, checksum.
  if (image.find_section(".debug_sup", head) == 0) return link;
  text_view rest = image.content(head);
  if (rest.size < 4 || !rest.starts_with({"\5\0", 2})) return link;
  link.is_supplement = rest.data[2] != 0;
  rest = rest.from(3);
  const std::size_t end = rest.find('\0');
  if (rest.size - end < 2) return link;
  const auto length = static_cast<unsigned char>(rest.data[end + 1]);  // a LEB128 of one byte: none is longer
  if (length >= 0x80 || rest.size - end - 2 < length) return link;
  link.path = {rest.data, end};
  link.id = {rest.data + end + 2, length};
  return link;
}

// ---- where they are ----------------------------------------------------------------------------------

class debug_files {
 public:
  // Asks the environment once. Behind `deadline_ns`, on the monotonic clock, no file is checked by its CRC.
  explicit debug_files(arena& memory, text_view system_folder = {"/usr/lib/debug", 14},
                       std::uint64_t deadline_ns = ~std::uint64_t{0}) noexcept
      : memory_(memory),
        deadline_ns_(deadline_ns),
        system_folder_(system_folder),
        own_folders_(variable("PROF_DEBUG_PATH")),
        cache_(variable("DEBUGINFOD_CACHE_PATH")),
        xdg_cache_(variable("XDG_CACHE_HOME")),
        home_(variable("HOME")) {}
  debug_files(const debug_files&) = delete;
  debug_files& operator=(const debug_files&) = delete;

  // The debug file of the file at `path`, which has lines or symbols that this one has not. False: there is none.
  bool find(const elf_image& of, text_view path, debug_file& found) noexcept {
    const debug_link link = debug_link_of(of);
    wanted_ = {of.build_id(), &link, lacks(of, ".debug_info", ".zdebug_info"), lacks(of, ".symtab", ".symtab"), false};
    if (!wanted_.lines && !wanted_.symbols) return false;
    found_ = &found;
    return try_build_id(wanted_.id) || try_link(link.name, folder_of(path));
  }

  // The time was over before a file was checked.
  bool is_late() const noexcept { return is_late_; }

  // The file that the file at `path` shares with others; its build id must be the one that this names.
  bool find_supplement(const elf_image& of, text_view path, debug_file& found) noexcept {
    const supplement_link link = supplement_link_of(of);
    if (link.path.size == 0 || link.id.size == 0 || link.is_supplement) return false;
    wanted_ = {link.id, nullptr, true, false, true};
    found_ = &found;
    return try_path_of_supplement(link.path, path) || try_build_id(link.id);
  }

 private:
  static constexpr std::size_t max_path = 4096;
  static constexpr std::size_t max_checked_file = std::size_t{512} << 20;  // a second of CRC
  struct wanted_file {
    text_view id;
    const debug_link* link = nullptr;
    bool lines = false;
    bool symbols = false;
    bool is_supplement = false;
  };

  text_view variable(const char* name) noexcept {
    char* const room = static_cast<char*>(memory_.allocate(max_path));
    return room == nullptr ? text_view() : text_view(room, os_environment(name, room, max_path));
  }

  static bool lacks(const elf_image& image, const char* section, const char* other_name) noexcept {
    Elf64_Shdr head{};
    const bool has = image.find_section(section, head) != 0 || image.find_section(other_name, head) != 0;
    return !has || image.content(head).size == 0;
  }
  // With the slash at its end; empty where the path has none.
  static text_view folder_of(text_view path) noexcept {
    const std::size_t slash = path.rfind('/');
    return slash == path.size ? text_view() : text_view(path.data, slash + 1);
  }

  // ---- one place -------------------------------------------------------------------------------------

  bool try_place(text_view a, text_view b, text_view c = {}, text_view d = {}) noexcept {
    const text_view parts[] = {a, b, c, d};
    std::size_t size = 0;
    for (const text_view part : parts) size += part.size;
    // A relative folder would be another one wherever the program goes to.
    if (size >= max_path || a.size == 0 || a.data[0] != '/') return false;
    if (path_ == nullptr) path_ = static_cast<char*>(memory_.allocate(max_path));
    if (path_ == nullptr) return false;
    char* end = path_;
    for (const text_view part : parts) {
      std::memcpy(end, part.data, part.size);
      end += part.size;
    }
    *end = '\0';
    debug_file made;
    made.path = {path_, size};
    made.pages = os_map_file(path_, made.size, nullptr);
    made.image = elf_image(made.pages, made.size);
    if (made.pages == nullptr || !made.image.usable() || !is_wanted(made)) {
      close_debug_file(made);
      return false;
    }
    *found_ = made;
    path_ = nullptr;  // it stays
    return true;
  }

  bool is_wanted(const debug_file& file) noexcept {
    const text_view id = file.image.build_id();
    if (wanted_.is_supplement) {
      const supplement_link link = supplement_link_of(file.image);
      return id.equals(wanted_.id) || (link.is_supplement && link.id.equals(wanted_.id));
    }
    const bool has_more = (wanted_.lines && !lacks(file.image, ".debug_info", ".zdebug_info")) ||
                          (wanted_.symbols && !lacks(file.image, ".symtab", ".symtab"));
    if (!has_more) return false;
    if (wanted_.id.size != 0) return id.equals(wanted_.id);
    return wanted_.link->name.size != 0 && file.size <= max_checked_file && has_crc(file, wanted_.link->crc);
  }

  // All of the file is read for it, and given back piece by piece.
  bool has_crc(const debug_file& file, std::uint32_t wanted) noexcept {
    constexpr std::size_t piece = std::size_t{4} << 20;
    const auto* at = static_cast<const unsigned char*>(file.pages);
    std::uint32_t crc = 0;
    for (std::size_t left = file.size; left != 0;) {
      is_late_ = is_late_ || os_monotonic_ns_sig() >= deadline_ns_;
      if (is_late_) return false;
      const std::size_t size = left < piece ? left : piece;
      crc = gzip_crc32(crc, at, size);
      at += size;
      left -= size;
      os_forget_pages(file.mapped());
    }
    return crc == wanted;
  }

  // ---- all places ------------------------------------------------------------------------------------

  // Calls visit(folder) for the system's and those of PROF_DEBUG_PATH until it returns true.
  template <class Visit>
  bool in_folders(Visit visit) noexcept {
    if (visit(system_folder_)) return true;
    for (text_view rest = own_folders_; rest.size != 0;) {
      const std::size_t end = rest.find(':');
      if (end != 0 && visit(text_view(rest.data, end))) return true;
      rest = rest.from(end < rest.size ? end + 1 : end);
    }
    return false;
  }

  // <folder>/.build-id/xx/yyyy.debug, then <cache>/xxyyyy/debuginfo.
  bool try_build_id(text_view id) noexcept {
    constexpr std::size_t longest = 64;
    if (id.size < 2 || id.size > longest) return false;
    char hex[2 * longest];
    format_hex_bytes(id, hex);
    const text_view digits{hex, 2 * id.size};
    bounded_text<2 * longest + 32> in_folder;
    in_folder.put("/.build-id/").put({hex, 2}).put("/").put(digits.from(2)).put(".debug");
    if (in_folders([&](text_view folder) { return try_place(folder, in_folder.view()); })) return true;
    return try_cache(digits);
  }

  // Of the caches that debuginfod's clients may have: the one that is told, or those that are usual.
  bool try_cache(text_view id) noexcept {
    if (cache_.size != 0) return try_place(cache_, "/", id, "/debuginfo");
    if (try_place(xdg_cache_, "/debuginfod_client/", id, "/debuginfo")) return true;
    return try_place(home_, "/.cache/debuginfod_client/", id, "/debuginfo") ||
           try_place(home_, "/.debuginfod_client_cache/", id, "/debuginfo");
  }

  bool try_link(text_view name, text_view folder) noexcept {
    if (name.size == 0) return false;
    if (try_place(folder, name) || try_place(folder, ".debug/", name)) return true;
    if (folder.starts_with({"/", 1}) && try_place(system_folder_, folder, name)) return true;
    return in_folders([&](text_view other) { return other.data != system_folder_.data && try_place(other, "/", name); });
  }

  // As it is, or from the folder of the file that names it: a file found by a symbolic link is where that leads. Else by
  // what follows ".dwz" in the path, wherever debug files are.
  bool try_path_of_supplement(text_view path, text_view of) noexcept {
    if (path.data[0] == '/') {
      if (try_place(path, "")) return true;
    } else {
      if (try_place(folder_of(of), path) || try_beside_target(path, of)) return true;
    }
    for (std::size_t at = 0; at + 6 < path.size; ++at) {
      const text_view tail = path.from(at);
      if (!tail.starts_with({"/.dwz/", 6}) && !(at == 0 && tail.starts_with({".dwz/", 5}))) continue;
      const text_view between = tail.data[0] == '/' ? "" : "/";
      return in_folders([&](text_view folder) { return try_place(folder, between, tail); });
    }
    return false;
  }
  bool try_beside_target(text_view path, text_view of) noexcept {
    char* const target = static_cast<char*>(memory_.allocate(max_path));
    const char* const link = memory_.copy(of.data, of.size);
    if (target == nullptr || link == nullptr) return false;
    const text_view folder = folder_of({target, os_read_link_sig(link, target, max_path)});
    if (folder.size == 0) return false;
    return folder.data[0] == '/' ? try_place(folder, path) : try_place(folder_of(of), folder, path);
  }

  arena& memory_;
  std::uint64_t deadline_ns_;
  bool is_late_ = false;
  text_view system_folder_;
  text_view own_folders_;
  text_view cache_;
  text_view xdg_cache_;
  text_view home_;
  wanted_file wanted_;
  debug_file* found_ = nullptr;
  char* path_ = nullptr;
};

#else

class debug_files {
 public:
  explicit debug_files(arena&, text_view = {}, std::uint64_t = 0) noexcept {}
  bool is_late() const noexcept { return false; }
  bool find(const elf_image&, text_view, debug_file&) noexcept { return false; }
  bool find_supplement(const elf_image&, text_view, debug_file&) noexcept { return false; }
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DEBUG_FILES_HPP
