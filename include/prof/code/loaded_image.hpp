// prof/code/loaded_image.hpp - which of the mapped files are images that a loader has mapped, to run them.
// Floor 5 (code). Used by modules.hpp (whose header belongs to this code?) and process.hpp (prof's own notes).
// Safety: async-signal-safe: /proc/self/maps and mapped headers by raw system calls, no loader lock.
// Memory: none but pages while it reads.
// Source: proc(5), /proc/pid/maps; <dlfcn.h> _dl_find_object (glibc 2.35). A program that maps a whole ELF file to
//         read or patch it (symbolizers do, so does symbol/) has its header and its notes in memory as well, but at
//         the places that they point to there are other bytes, or none, or the file's own, to be written to disk.
#ifndef PROF_CODE_LOADED_IMAGE_HPP
#define PROF_CODE_LOADED_IMAGE_HPP

#include "prof/os/os.hpp"
#include "prof/code/mapped_image.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_OS_LINUX

// Memory that no file is mapped to, or huge pages without one. What memfd_create(2) makes is a file: a loader may have
// loaded it.
inline bool is_without_file_sig(const os_mapping& mapping) PROF_DETAIL_SIG {
  const text_view path = mapping.path;
  return (path.size == 0 && mapping.inode == 0) || path.starts_with({"[anon", 5}) || path.starts_with({"/anon_hugepage", 14}) ||
         path.starts_with({"/dev/zero", 9});
}

inline text_view without_deleted_sig(text_view path) PROF_DETAIL_SIG {
  constexpr std::size_t deleted_size = 10;  // proc(5): " (deleted)" follows an unlinked file
  const bool is_deleted = path.size > deleted_size && path.from(path.size - deleted_size)
                                                          .equals({" (deleted)", deleted_size});
  return is_deleted ? text_view(path.data, path.size - deleted_size) : path;
}

// The image whose header was mapped last: later segments of the same file belong to it.
struct latest_image {
  std::uintptr_t header = 0;
  std::uint64_t inode = 0;
  std::uintptr_t limit = 0;  // of the mapping seen last
};

inline void see_header_sig(latest_image& image, const os_mapping& mapping) PROF_DETAIL_SIG {
  // A hole between segments, which some loaders fill (qemu-user, Android's), or code that was moved.
  if (is_without_file_sig(mapping)) return;
  // lld maps a small file's first page twice: with the header, and behind it as code.
  const bool again = image.header != 0 && mapping.executable && mapping.inode == image.inode &&
                     mapping.start == image.limit;
  image.limit = mapping.limit;
  if (again) return;
  const bool is_file = mapping.inode != 0 || mapping.path.equals({"[vdso]", 6});
  const bool is_header = mapping.readable && mapping.offset == 0 && is_file;
  if (is_header) image.header = mapping.start;
  else if (mapping.inode != image.inode) image.header = 0;
  image.inode = mapping.inode;
}

// An image as /proc/self/maps shows it, line by line.
struct image_layout {
  latest_image image;
  std::uintptr_t header = 0;  // of the image whose lines are being seen; 0: none
  std::uint64_t inode = 0;    // of its file
  std::uintptr_t limit = 0;   // of the last of them
  bool has_parts = false;  // more than the header's
  bool has_code = false;
  bool has_data = false;
  note_visitor visitor;
  elf_room room;
};

// A loader maps a file in parts, one to run and one to write; .bss may be all there is of the latter.
inline void see_segment_sig(image_layout& layout, const os_mapping& mapping) PROF_DETAIL_SIG {
  const bool is_header = mapping.start == layout.header;
  const bool is_bss = layout.has_parts && mapping.inode == 0 && mapping.path.size == 0 && mapping.start == layout.limit;
  if (mapping.inode != layout.inode && !is_bss) return;
  layout.has_code = layout.has_code || mapping.executable;
  layout.has_data = layout.has_data || (mapping.writable && !is_header);
  layout.has_parts = layout.has_parts || !is_header;
  layout.limit = mapping.limit;
}

// Where there is a loader to ask, its word counts; elsewhere what a loaded image looks like.
PROF_DETAIL_NOINLINE inline bool is_loaded_sig(const image_layout& layout) PROF_DETAIL_SIG {
  os_object object;
  if (layout.header == 0) return false;
  if (layout.header == os_program_header_sig()) return true;
  if (!os_answers_for_objects()) return layout.has_code && layout.has_data;
  return os_find_object_sig(layout.header, object) && object.start == layout.header;
}

inline void end_image_sig(image_layout& layout) PROF_DETAIL_SIG {
  if (is_loaded_sig(layout)) walk_image_sig(layout.header, layout.visitor, layout.room);
  layout.header = 0;
}

inline void see_line_sig(image_layout& layout, const os_mapping& mapping) PROF_DETAIL_SIG {
  see_header_sig(layout.image, mapping);
  if (layout.image.header == mapping.start) {
    end_image_sig(layout);
    layout.has_parts = layout.has_code = layout.has_data = false;
    // Another process, or the disk, would see what is written to a shared mapping.
    layout.header = mapping.shared || mapping.inode == 0 ? 0 : mapping.start;
    layout.inode = mapping.inode;
    layout.limit = mapping.start;
  }
  if (layout.header != 0) see_segment_sig(layout, mapping);
}

// Calls visitor for every note of every image that is loaded now, in address order.
PROF_DETAIL_COLD inline void for_each_image_note_sig(note_visitor visitor) PROF_DETAIL_SIG {
  image_layout layout;
  layout.visitor = visitor;
  os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        see_line_sig(*static_cast<image_layout*>(context), mapping);
        return true;
      },
      &layout);
  end_image_sig(layout);
}

#endif

PROF_DETAIL_END

#endif  // PROF_CODE_LOADED_IMAGE_HPP
