// prof/process/anchor.hpp - the words by which the objects of a process agree on one process state.
// Floor 7 (process). Used by process/process.hpp; emitted by every file that includes the whole.
// Safety: attached_sig is one load.
// Memory: 32 bytes per object.
// Source: see file_note.hpp for why notes; design decision "several DSOs with the header".
#ifndef PROF_PROCESS_ANCHOR_HPP
#define PROF_PROCESS_ANCHOR_HPP

#include "prof/process/file_note.hpp"

PROF_DETAIL_BEGIN

// The beginning of process_state, whatever its layout.
struct process_head {
  std::uint64_t magic;
  std::uint32_t layout;
  std::uint32_t version;
};

// One per object that includes the whole; anchor notes lead to it. Others read it by copying, and write `offered` only.
struct object_anchor {
  std::atomic<process_head*> process;  // what this object uses; stored by itself
  std::atomic<process_head*> offered;  // where first comers agree: the one with the lowest address of equal layout
  std::uint32_t version;
  std::uint32_t layout;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_ANCHOR_HPP
