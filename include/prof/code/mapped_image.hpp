// prof/code/mapped_image.hpp - what an ELF image that is loaded says of itself: its notes, its segments,
// where its call frame information is.
// Floor 5 (code). Used by modules.hpp (build ids) for every mapped file, by loaded_image.hpp (prof's own notes).
// Safety: async-signal-safe: copies by system calls that fail where memory is gone; no loader lock.
// Memory: the caller's elf_room.
// Source: System V gABI ch. 5 (program header, note section); LSB 5.0 Core 10.6 (PT_GNU_EH_FRAME).
#ifndef PROF_CODE_MAPPED_IMAGE_HPP
#define PROF_CODE_MAPPED_IMAGE_HPP

#include "prof/base/text.hpp"
#include "prof/os/os.hpp"
#include "prof/code/module_cfi.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_OS_LINUX

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
// Where all is copied to: a handler's stack has no room for it.
struct elf_room {
  ElfW(Ehdr) header;
  ElfW(Phdr) segment;
  alignas(8) unsigned char note[1024];
};

// Walks one PT_NOTE segment. Of a note that is longer than the room as much as fits is seen, and a zero behind it;
// one whose owner does not fit is skipped. Packagers' notes are JSON of any length, and prof's own holds a path.
PROF_DETAIL_NOINLINE inline void walk_notes_sig(std::uintptr_t address, std::size_t size,
                                                note_visitor visitor, elf_room& room)
    PROF_DETAIL_SIG {
  unsigned char* const copy = room.note;
  constexpr std::size_t most = sizeof room.note - 1;
  while (size >= 12) {
    const std::size_t want = size < most ? size : most;
    if (!os_copy_sig(copy, address, want)) return;
    copy[want] = 0;
    std::uint32_t head[3];
    std::memcpy(head, copy, sizeof head);
    const std::size_t owner_size = (std::size_t{head[0]} + 3) & ~std::size_t{3};
    const std::size_t data_size = (std::size_t{head[1]} + 3) & ~std::size_t{3};
    const std::size_t whole = 12 + owner_size + data_size;
    if (whole > size || head[0] == 0) return;
    if (12 + owner_size <= want) {
      const std::size_t room_left = want - 12 - owner_size;
      elf_note note;
      note.owner = {reinterpret_cast<const char*>(copy) + 12, head[0] - 1};
      note.type = head[2];
      note.address = address + 12 + owner_size;
      note.data = copy + 12 + owner_size;
      note.size = head[1] < room_left ? head[1] : room_left;
      visitor.visit(visitor.context, note);
    }
    address += whole;
    size -= whole;
  }
}

// Calls visit(context, segment, bias) for every program header of the ELF image whose own header is
// mapped at `header`; false: no ELF image.
PROF_DETAIL_NOINLINE inline bool for_each_segment_sig(
    std::uintptr_t header, void (*visit)(void*, const ElfW(Phdr)&, std::uintptr_t), void* context,
    elf_room& room) PROF_DETAIL_SIG {
  ElfW(Ehdr)& elf = room.header;
  if (!os_copy_sig(&elf, header, sizeof elf)) return false;
  if (std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0) return false;
  if (elf.e_phentsize != sizeof(ElfW(Phdr)) || elf.e_phnum > 64) return false;
  std::uintptr_t bias = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (std::size_t i = 0; i < elf.e_phnum; ++i) {
      ElfW(Phdr)& segment = room.segment;
      if (!os_copy_sig(&segment, header + elf.e_phoff + i * sizeof segment, sizeof segment)) break;
      const bool is_first = segment.p_type == PT_LOAD && segment.p_offset == 0;
      if (pass == 0 && is_first) bias = header - segment.p_vaddr;
      if (pass == 1) visit(context, segment, bias);
    }
  }
  return true;
}

// Where an image has notes; binutils writes two or three such segments.
struct note_places {
  struct place {
    std::uintptr_t address;
    std::size_t size;
  } places[4];
  std::size_t count = 0;
};

// Adds `size` bytes, at most the room's, to a hash; false: they cannot be read.
PROF_DETAIL_NOINLINE inline bool add_to_hash_sig(std::uint64_t& hash, std::uintptr_t at, std::size_t size,
                                                 elf_room& room) PROF_DETAIL_SIG {
  std::memset(room.note, 0, sizeof room.note);
  if (!os_copy_sig(room.note, at, size)) return false;
  for (std::size_t i = 0; i < size; i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, room.note + i, sizeof word);
    hash = mix_bits(hash ^ word);
  }
  return true;
}

// Where .eh_frame is, by a copy of its search header; 0: that cannot be read, or has no table (both encodings
// DW_EH_PE_omit, which is legal), and is as good as none.
PROF_DETAIL_NOINLINE inline std::uintptr_t eh_frame_of_sig(std::uintptr_t header) PROF_DETAIL_SIG {
  cfi_byte bytes[cfi_header_size];
  cfi_header parsed;
  const bool is_header = os_copy_sig(bytes, header, sizeof bytes) && parse_header_sig(bytes, header, parsed);
  return is_header ? reinterpret_cast<std::uintptr_t>(parsed.eh_frame) : 0;
}

// A hash of a module's call frame information, and of what begins its file at `header`; 0: cannot be read. What
// was built again without a build id has another one, but for changes that move no code and no stack. A handler
// waits for it, so of more than 256 KiB only so many blocks are read, evenly spread; sizes of segments are in the
// file's begin.
PROF_DETAIL_NOINLINE inline std::uint64_t hash_cfi_sig(const cfi_place& place, std::uintptr_t header,
                                                       elf_room& room) PROF_DETAIL_SIG {
  constexpr std::size_t block = sizeof room.note;
  constexpr std::size_t most = 256;  // blocks, a microsecond each
  const std::uintptr_t frames = eh_frame_of_sig(place.header);
  const std::uintptr_t begin = frames != 0 && frames < place.header ? frames : place.header;  // gold's order
  const std::size_t all = place.header == 0 ? 0 : place.limit - begin;
  const std::size_t blocks = (all + block - 1) / block;
  const std::size_t count = blocks < most ? blocks : most;
  std::uint64_t hash = 1;
  if (count == 0 || !add_to_hash_sig(hash, header, sizeof(ElfW(Ehdr)) + 8 * sizeof(ElfW(Phdr)), room)) return 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t done = block * (blocks <= most ? i : i * (blocks - 1) / (most - 1));
    const std::size_t size = all - done < block ? all - done : block;
    if (!add_to_hash_sig(hash, begin + done, size, room)) return 0;
  }
  return hash | 1;
}

// Visits the notes of that image; false: no ELF image.
PROF_DETAIL_NOINLINE inline bool walk_image_sig(std::uintptr_t header, note_visitor visitor,
                                                elf_room& room) PROF_DETAIL_SIG {
  note_places found;
  const bool is_image = for_each_segment_sig(
      header,
      [](void* context, const ElfW(Phdr)& segment, std::uintptr_t bias) {
        note_places& to = *static_cast<note_places*>(context);
        if (segment.p_type != PT_NOTE || to.count == sizeof to.places / sizeof to.places[0]) return;
        to.places[to.count++] = {bias + segment.p_vaddr, segment.p_filesz};
      },
      &found, room);
  for (std::size_t i = 0; i < found.count; ++i) {
    walk_notes_sig(found.places[i].address, found.places[i].size, visitor, room);
  }
  return is_image;
}

// Its search header, and the end of the segment that holds it and .eh_frame.
PROF_DETAIL_NOINLINE inline cfi_place find_cfi_sig(std::uintptr_t header,
                                                   elf_room& room) PROF_DETAIL_SIG {
  struct segment_place {
    cfi_place cfi;
    std::uintptr_t begin = 0;
  } in;
  const auto take_header = [](void* found, const ElfW(Phdr)& segment, std::uintptr_t bias) {
    if (segment.p_type == PT_GNU_EH_FRAME) {
      static_cast<segment_place*>(found)->cfi.header = bias + segment.p_vaddr;
    }
  };
  const auto take_segment = [](void* found, const ElfW(Phdr)& segment, std::uintptr_t bias) {
    auto& to = *static_cast<segment_place*>(found);
    const std::uintptr_t begin = bias + segment.p_vaddr;
    const std::uintptr_t end = begin + segment.p_filesz;  // of a broken image it may wrap
    if (segment.p_type != PT_LOAD || to.cfi.header < begin || to.cfi.header >= end) return;
    to.begin = begin;
    to.cfi.limit = end;
  };
  for_each_segment_sig(header, take_header, &in, room);
  if (in.cfi.header != 0) for_each_segment_sig(header, take_segment, &in, room);
  const std::uintptr_t frames = in.cfi.limit != 0 ? eh_frame_of_sig(in.cfi.header) : 0;
  return frames != 0 && frames >= in.begin && frames < in.cfi.limit ? in.cfi : cfi_place{};
}

#endif

PROF_DETAIL_END

#endif  // PROF_CODE_MAPPED_IMAGE_HPP
