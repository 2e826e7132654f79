// prof/process/anchor.hpp - the pointer by which an object finds what is one per process, the note by
// which others find that pointer, and the calls behind annotations.
// Floor 7 (process). The cheap end of process/process.hpp: annotate.hpp needs no more than this.
// Safety: annotations_sig is two loads.
// Memory: one pointer per object.
// Source: ELF notes survive -fvisibility=hidden, --gc-sections, LTO, -static and RTLD_LOCAL, where
//         symbols do not: verified with g++ 12, clang 14, GNU ld 2.40.
#ifndef PROF_PROCESS_ANCHOR_HPP
#define PROF_PROCESS_ANCHOR_HPP

#include "prof/base/poisson.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

using label_set_id = std::uint32_t;  // 0: no labels
inline constexpr label_set_id no_labels = 0;

struct label_pair {
  text_view key;
  text_view value;
};

// Where a function of ours was called, as its caller's walk needs it. The CFA is the caller's sp.
struct call_frame {
  const void* frame;  // our frame record: the caller's fp, the return address
  const void* cfa;
  const void* return_address;
};
#if defined(__aarch64__)
#define PROF_DETAIL_CFA() __builtin_dwarf_cfa()  // the record is at either end of the frame
#else
#define PROF_DETAIL_CFA() (static_cast<void**>(__builtin_frame_address(0)) + 2)
#endif
// A macro, because the frame must be the function's own.
#define PROF_DETAIL_CALL_FRAME()                                        \
  ::prof::detail::call_frame {                                          \
    __builtin_frame_address(0), PROF_DETAIL_CFA(), __builtin_return_address(0) \
  }

// Of record_alloc on this thread; see hook_gap.
inline PROF_DETAIL_TLS poisson_gap explicit_gap PROF_DETAIL_TLS_MODEL = {0, 0, 0, false};

// What annotations do, by whoever has the whole. The labels of all objects are kept in one of them,
// so that the samplers, which may be in yet another one, have one place to look.
struct annotate_part {
  // Puts these labels on top of the calling thread's; returns the set in force before.
  label_set_id (*enter_labels)(const label_pair* pairs, std::size_t count);
  void (*leave_labels)(label_set_id before);
  label_set_id (*labels_sig)() PROF_DETAIL_SIG;  // of the calling thread
  // `gap` is used up; `call` is the call to record_alloc.
  void (*record_alloc_sig)(poisson_gap& gap, void* object, std::size_t size,
                           const call_frame& call) PROF_DETAIL_SIG;
  void (*record_free_sig)(void* object) PROF_DETAIL_SIG;
};

// The beginning of process_state.
struct process_head {
  std::uint64_t magic;
  std::uint32_t layout;
  std::uint32_t version;
  std::atomic<const annotate_part*> annotations;  // in an object that is pinned
};

// One per object that includes prof; notes point at it.
struct object_anchor {
  std::atomic<process_head*> process;
};
__attribute__((__used__)) inline object_anchor this_object __asm__("prof_object_anchor_v1"){};

inline constexpr std::uint32_t file_note_type = 1;

PROF_DETAIL_END

// The record of this file: PROF_VERSION, offset of the object's anchor, file name.
#define PROF_DETAIL_TEXT_(...) #__VA_ARGS__
#define PROF_DETAIL_TEXT(...) PROF_DETAIL_TEXT_(__VA_ARGS__)
#if PROF_DETAIL_ELF
__asm__(
    ".pushsection .note.prof,\"a\",%note\n"
    ".balign 4\n"
    ".long 5, 2f - 1f, 1\n"
    ".asciz \"prof\"\n"
    ".balign 4\n"
    "1: .long " PROF_DETAIL_TEXT(PROF_VERSION) "\n"
    ".long prof_object_anchor_v1 - .\n"
    ".asciz " PROF_DETAIL_TEXT(__BASE_FILE__) "\n"  // the literal itself, with its escapes
    "2: .balign 4\n"
    ".popsection\n");
#endif

PROF_DETAIL_BEGIN

// Absent unless a file of this object includes the whole; where it is absent its address is null
// in ELF, and must not be asked for elsewhere.
extern "C" const annotate_part prof_part_annotate_v1
    __attribute__((__weak__, __visibility__("hidden")));

// Null until somebody with the whole has told the object, or while nobody keeps labels yet.
inline const annotate_part* annotations_of_sig(const object_anchor& object) PROF_DETAIL_SIG {
  const process_head* const process = object.process.load(std::memory_order_acquire);
  return process == nullptr ? nullptr : process->annotations.load(std::memory_order_acquire);
}

// The calls behind this object's annotations: its own, if it has the whole, else the keeper's.
inline const annotate_part* annotations_sig() PROF_DETAIL_SIG {
#if PROF_DETAIL_ELF
  if (&prof_part_annotate_v1 != nullptr) return &prof_part_annotate_v1;
#endif
  return annotations_of_sig(this_object);
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_ANCHOR_HPP
