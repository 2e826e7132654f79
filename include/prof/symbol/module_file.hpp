// prof/symbol/module_file.hpp - the file of a module, and the proof that it is the one that runs.
// Floor 9 (symbol). Used by the symbolizer, once per module.
// Safety: ordinary context; thread-compatible. Opens files, only regular ones are mapped, none is waited for.
// Memory: the file mapped read-only until close(); a path, or what of the file is in memory, in the arena.
// Source: proc(5) for /proc/self/exe and /proc/self/map_files; ld(1) --build-id. A program or a library may be replaced
//         while it runs: by rename(2), so that its path leads to another file, or by unlinking it.
#ifndef PROF_SYMBOL_MODULE_FILE_HPP
#define PROF_SYMBOL_MODULE_FILE_HPP

#include "prof/code/elf_image.hpp"
#include "prof/symbol/memory_image.hpp"

PROF_DETAIL_BEGIN

// What is known of a module. A file with another build id is another file. Where there is none, device and inode decide,
// which no other file has as long as the module is mapped; afterwards it may get them, but then it has been changed since.
struct module_identity {
  text_view path;
  text_view build_id;  // its bytes, at most build_id_size of them; empty: unknown
  std::uint64_t device = 0;  // as in os_mapping; 0, as the inode: unknown
  std::uint64_t inode = 0;
  std::uint64_t seen_ns = 0;  // since 1970: when it was mapped
  const code_range* range = nullptr;  // null: it is not mapped any more
};

inline module_identity identity_of(const code_range& range) noexcept {
  module_identity made;
  made.path = {range.path, range.path_size};
  made.build_id = {reinterpret_cast<const char*>(range.build_id), range.build_id_length};
  made.device = range.device;
  made.inode = range.inode;
  made.seen_ns = range.seen_ns;
  made.range = range.current ? &range : nullptr;
  return made;
}

// Why the path of a module does not lead to its file.
enum class file_lack : std::uint8_t {
  none,        // it does, or there is no such path: "[vdso]", code of a JIT compiler
  replaced,    // it leads to another file
  deleted,     // to none
  unreadable,  // to one that may not be read, or to what is no file
};

// A code_range keeps at most build_id_size bytes of a longer one.
inline bool is_same_build_id(text_view of_file, text_view kept) noexcept {
  return kept.size != 0 && (of_file.equals(kept) || (kept.size == build_id_size && of_file.starts_with(kept)));
}

#if PROF_DETAIL_OS_LINUX

// Trivial to destroy: close() gives the file back.
class module_file {
 public:
  // False: the file is not to be had, in no way.
  bool open(const module_identity& wanted, arena& memory) noexcept {
    if (wanted.path.equals({"[vdso]", 6})) return take_vdso(wanted);
    const char* const path = memory.copy(wanted.path.data, wanted.path.size);
    if (path == nullptr) return false;
    if (path[0] == '/' && try_file(path, wanted, &lack_)) return true;
    if (may_be_program(wanted) && try_file("/proc/self/exe", wanted, nullptr)) return true;
    return wanted.range != nullptr && (try_mapped_file(wanted) || take_memory(*wanted.range, memory));
  }
  void close() noexcept {
    if (pages_ != nullptr) os_unmap_sig(const_cast<void*>(pages_), size_);
    pages_ = nullptr;
    image_ = {};
  }

  const elf_image& image() const noexcept { return image_; }
  // All of it, if it is a file that is mapped.
  text_view mapped() const noexcept { return {static_cast<const char*>(pages_), pages_ != nullptr ? size_ : 0}; }
  file_lack lack() const noexcept { return lack_; }
  // Only what a loader needs is there: no local symbols, no lines. Debug files may be found all the same.
  bool is_from_memory() const noexcept { return is_from_memory_; }

 private:
  // Maps a file; keeps it if it is the one. `lack` may be null.
  bool try_file(const char* path, const module_identity& wanted, file_lack* lack) noexcept {
    os_file_facts facts;
    pages_ = os_map_file(path, size_, &facts);
    image_ = elf_image(pages_, size_);
    if (pages_ != nullptr && image_.usable() && is_wanted(wanted, facts)) return true;
    if (lack != nullptr) {
      *lack = pages_ != nullptr ? file_lack::replaced : facts.is_absent ? file_lack::deleted : file_lack::unreadable;
    }
    close();
    return false;
  }

  bool is_wanted(const module_identity& wanted, const os_file_facts& facts) const noexcept {
    if (wanted.build_id.size != 0) return is_same_build_id(image_.build_id(), wanted.build_id);
    if (wanted.inode == 0) return is_program(wanted) && has_same_begin(wanted.range->header);
    if (wanted.range == nullptr && facts.changed_ns > wanted.seen_ns) return false;
    if (facts.device == wanted.device && facts.inode == wanted.inode) return true;
    // Of a file on overlayfs or btrfs the system says another device here than it says of mappings.
    os_mapping ours;
    return os_find_mapping_sig(reinterpret_cast<std::uintptr_t>(pages_), ours) && ours.device == wanted.device &&
           ours.inode == wanted.inode;
  }

  static bool is_program(const module_identity& wanted) noexcept {
    return wanted.range != nullptr && wanted.range->header == os_program_header_sig();
  }
  static bool may_be_program(const module_identity& wanted) noexcept {
    return is_program(wanted) || (wanted.range == nullptr && wanted.build_id.size != 0);
  }
  // Where all of the program was copied to other memory its file is /proc/self/exe, unless ld.so was told to run it.
  bool has_same_begin(std::uintptr_t header) const noexcept {
    Elf64_Phdr last{};
    std::size_t count = 0;
    while (image_.segment(count, last)) ++count;
    constexpr std::size_t block = 512;
    char copy[block];
    std::size_t size = sizeof(Elf64_Ehdr) + count * sizeof last;
    if (size > block) size = block;
    const text_view begin = image_.bytes(0, size);
    return begin.size != 0 && os_copy_sig(copy, header, size) && begin.equals({copy, size});
  }

  // Readable with CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN only.
  bool try_mapped_file(const module_identity& wanted) noexcept {
    if (wanted.range->moved) return false;
    char digits[16];
    bounded_text<64> path;
    path.put("/proc/self/map_files/").put({digits, format_hex(wanted.range->start, digits)});
    path.put("-").put({digits, format_hex(wanted.range->limit, digits)});
    return try_file(path.c_str(), wanted, nullptr);
  }

  bool take_memory(const code_range& range, arena& memory) noexcept {
    void* const room = memory.allocate(sizeof(memory_image));
    if (room == nullptr) return false;
    image_ = (new (room) memory_image(memory))->copy(range);
    is_from_memory_ = image_.usable();
    return is_from_memory_;
  }

  // The kernel's own shared object is in memory only, whole and with its section table.
  bool take_vdso(const module_identity& wanted) noexcept {
    const code_range* const range = wanted.range;
    if (range == nullptr || range->header != range->start) return false;
    if (!text_view(range->path, range->path_size).equals(wanted.path)) return false;
    image_ = elf_image(reinterpret_cast<const void*>(range->header), range->limit - range->start);
    return image_.usable();
  }

  const void* pages_ = nullptr;
  std::size_t size_ = 0;
  elf_image image_;
  file_lack lack_ = file_lack::none;
  bool is_from_memory_ = false;
};

#else

class module_file {
 public:
  bool open(const module_identity&, arena&) noexcept { return false; }
  void close() noexcept {}
  elf_image image() const noexcept { return {}; }
  file_lack lack() const noexcept { return file_lack::none; }
  bool is_from_memory() const noexcept { return false; }
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_MODULE_FILE_HPP
