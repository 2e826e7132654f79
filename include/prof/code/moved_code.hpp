// prof/code/moved_code.hpp - whose code lies on pages that belong to no file.
// Floor 5 (code). Used by modules.hpp. Programs copy their code to anonymous memory, for the sake of huge pages, and
//          move that over the place it came from: /proc/self/maps names no file there any more. The loader still knows
//          whose place that is, and the program headers in memory say which part of the file.
// Safety: async-signal-safe: the loader is asked without its lock, memory is copied by system calls.
// Memory: none.
// Source: mremap(2), MREMAP_FIXED; System V gABI ch. 5 (program header); proc(5), /proc/pid/maps; what huge pages without
//         a file are called there: kernel 6.1, fs/hugetlbfs/inode.c (anon_hugepage), mm/shmem.c (dev/zero).
#ifndef PROF_CODE_MOVED_CODE_HPP
#define PROF_CODE_MOVED_CODE_HPP

#include "prof/code/loaded_image.hpp"

PROF_DETAIL_BEGIN

// What of the loader's objects stays for ever: those that were there before the program's first code ran.
struct never_unloaded_objects {
  const std::uintptr_t* headers = nullptr;  // where their first bytes are mapped
  std::size_t count = 0;
  std::uint64_t loaded = 0;  // how often the loader has loaded one: what comes back may be another

  bool has_sig(std::uintptr_t header) const PROF_DETAIL_SIG {
    for (std::size_t i = 0; i < count; ++i) {
      if (headers[i] == header) return true;
    }
    return false;
  }
};

#if PROF_DETAIL_OS_LINUX

// The part of [start, limit) that is code of one object.
struct moved_code {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uintptr_t header = 0;  // where the object's first byte is mapped
  std::uint64_t offset = 0;   // of start in its file
};

// Cuts `code` to the executable segment that holds `address`; false: no segment of the object does.
PROF_DETAIL_NOINLINE inline bool cut_to_segment_sig(moved_code& code, std::uintptr_t address,
                                                    elf_room& room) PROF_DETAIL_SIG {
  struct search {
    moved_code& code;
    const std::uintptr_t address;
    bool found = false;
  } in{code, address};
  const bool is_image = for_each_segment_sig(
      code.header,
      [](void* context, const ElfW(Phdr)& segment, std::uintptr_t bias) {
        search& to = *static_cast<search*>(context);
        if (to.found || segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) return;
        constexpr std::uintptr_t in_page = 4095;
        const std::uintptr_t begin = (bias + segment.p_vaddr) & ~in_page;
        const std::uintptr_t end = (bias + segment.p_vaddr + segment.p_filesz + in_page) & ~in_page;
        if (to.address < begin || to.address >= end) return;
        if (to.code.start < begin) to.code.start = begin;
        if (to.code.limit > end) to.code.limit = end;
        to.code.offset = (segment.p_offset & ~std::uint64_t{in_page}) + (to.code.start - begin);
        to.found = true;
      },
      &in, room);
  return is_image && in.found;
}

// Where the first byte of the object is mapped to which an address belongs; 0: to none. Where the loader cannot be asked
// that, of the objects that never go the last one before the address: whether it reaches so far the segments tell.
inline std::uintptr_t header_at_sig(std::uintptr_t address, const never_unloaded_objects& known) PROF_DETAIL_SIG {
  os_object object;
  if (os_answers_for_objects()) return os_find_object_sig(address, object) ? object.start : 0;
  const std::uintptr_t program = os_program_header_sig();
  std::uintptr_t last = program <= address ? program : 0;
  for (std::size_t i = 0; i < known.count; ++i) {
    if (known.headers[i] <= address && known.headers[i] > last) last = known.headers[i];
  }
  return last;
}

// Of pages without a file: whose code is it? One line may hold a file's code and what lies beside it, or only a part of
// a segment. False: nobody's that is known.
PROF_DETAIL_NOINLINE inline bool find_moved_code_sig(moved_code& code, const never_unloaded_objects& known,
                                                     elf_room& room) PROF_DETAIL_SIG {
  const std::uintptr_t ends[] = {code.start, code.limit - 1};
  for (const std::uintptr_t address : ends) {
    code.header = header_at_sig(address, known);
    if (code.header != 0 && cut_to_segment_sig(code, address, room)) return true;
  }
  return false;
}

// ---- the file ----------------------------------------------------------------------------------------

struct image_file {
  std::uintptr_t header = 0;
  char* path = nullptr;  // room for it
  std::size_t room = 0;
  std::size_t path_size = 0;  // 0: unknown
  std::uint64_t device = 0;   // 0, as the inode, where the header has been moved, too
  std::uint64_t inode = 0;
};

inline void take_image_path_sig(image_file& file, const os_mapping& mapping) PROF_DETAIL_SIG {
  const text_view path = without_deleted_sig(mapping.path);
  if (is_without_file_sig(mapping) || mapping.offset != 0 || path.size > file.room) return;
  std::memcpy(file.path, path.data, path.size);
  file.path_size = path.size;
  file.device = mapping.device;
  file.inode = mapping.inode;
}

// What the loader calls it, where that is a whole path; the program it calls nothing at all.
PROF_DETAIL_NOINLINE inline void take_loader_name_sig(image_file& file) PROF_DETAIL_SIG {
  os_object object;
  std::uintptr_t name = 0;
  if (os_find_object_sig(file.header, object) && object.name_at != 0 &&
      os_copy_sig(&name, object.name_at, sizeof name)) {
    file.path_size = os_copy_text_sig(file.path, name, file.room);
  }
  if (file.path_size == 0 && file.header == os_program_header_sig()) {
    file.path_size = os_read_link_sig("/proc/self/exe", file.path, file.room);
    if (file.path_size == file.room) file.path_size = 0;  // it is cut
    file.path_size = without_deleted_sig({file.path, file.path_size}).size;
  }
  if (file.path_size != 0 && file.path[0] != '/') file.path_size = 0;
}

// The file whose first byte is mapped at file.header, by that line of /proc/self/maps, or by the loader's word.
PROF_DETAIL_NOINLINE inline void find_image_file_sig(image_file& file) PROF_DETAIL_SIG {
  os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        image_file& to = *static_cast<image_file*>(context);
        if (mapping.start < to.header) return true;
        if (mapping.start == to.header) take_image_path_sig(to, mapping);
        return false;
      },
      &file);
  if (file.path_size == 0) take_loader_name_sig(file);
}

#endif

PROF_DETAIL_END

#endif  // PROF_CODE_MOVED_CODE_HPP
