// prof/process/annotation.hpp - what annotated code hands over: labels, where it was called, and the countdown to
// its thread's next sampled allocation.
// Floor 7 (process). Part of the thin header: api.hpp needs no more of this floor than this and file_note.hpp.
// Safety: types, and one thread-local word, which hooks and record_alloc count down.
// Memory: 8 bytes per thread and object, the only ones of prof. They are of the initial-exec model, whose room
//         (some 1.6 KB in glibc 2.36) all libraries of a process share: what else belongs to a thread is in
//         process/thread_state.hpp and process/gap_table.hpp.
// Source: ELF Handling For Thread-Local Storage (Drepper, 2013), 4.3.6; GCC manual, "Return Address".
#ifndef PROF_PROCESS_ANNOTATION_HPP
#define PROF_PROCESS_ANNOTATION_HPP

#include "prof/base/poisson.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

using label_set_id = std::uint32_t;  // 0: no labels
inline constexpr label_set_id no_labels = 0;

struct label_pair {
  text_view key;
  text_view value;
};

// Bytes that this thread may still allocate before this object asks for a sample: see gap_table.hpp. 0 at the start
// of a thread, so that its first allocation asks.
inline PROF_DETAIL_TLS std::int64_t alloc_countdown PROF_DETAIL_TLS_MODEL = 0;

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

PROF_DETAIL_END

#endif  // PROF_PROCESS_ANNOTATION_HPP
