// prof/process/file_note.hpp - the note that each file which includes prof leaves in its object.
// Floor 7 (process). Part of the thin header. Read by process/versions.hpp and by whoever offers the API's table.
// Safety: declarations and data only.
// Memory: one pointer per object, some 50 bytes of note per file.
// Source: ELF notes survive -fvisibility=hidden, --gc-sections, LTO, -static and RTLD_LOCAL, where
//         symbols do not: verified with g++ 12, clang 14, GNU ld 2.40. System V gABI ch. 5, "Note Section".
#ifndef PROF_PROCESS_FILE_NOTE_HPP
#define PROF_PROCESS_FILE_NOTE_HPP

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// Types of prof's notes. 1 was version 0.1's of November 2026, which meant another layout.
inline constexpr std::uint32_t file_note_type = 2;    // version, offset of api_in_use, file name
inline constexpr std::uint32_t anchor_note_type = 3;  // version, offset of the object's anchor: process/anchor.hpp
inline constexpr std::uint32_t api_note_type = 4;     // version, offset of the API's table: collect/api_functions.hpp

// The table of another object that this object's public calls go through: an api_table, see collect/api_table.hpp. One
// per object, whether it needs one or not.
__attribute__((__used__)) inline std::atomic<const void*> api_in_use __asm__("prof_api_in_use_v1"){};

PROF_DETAIL_END

// A note that holds the version, how far the symbol is from there, and what `more` puts behind it.
#define PROF_DETAIL_TEXT_(...) #__VA_ARGS__
#define PROF_DETAIL_TEXT(...) PROF_DETAIL_TEXT_(__VA_ARGS__)
#if PROF_DETAIL_ELF
#define PROF_DETAIL_NOTE(type, symbol, more)          \
  __asm__(                                            \
      ".pushsection .note.prof,\"a\",%note\n"         \
      ".balign 4\n"                                   \
      ".long 5, 2f - 1f, " #type "\n"                 \
      ".asciz \"prof\"\n"                             \
      ".balign 4\n"                                   \
      "1: .long " PROF_DETAIL_TEXT(PROF_VERSION) "\n" \
      ".long " symbol " - .\n" more                   \
      "2: .balign 4\n"                                \
      ".popsection\n")
#else
#define PROF_DETAIL_NOTE(type, symbol, more) static_assert(true, "no notes here")
#endif

// The literal itself, with its escapes.
PROF_DETAIL_NOTE(2, "prof_api_in_use_v1", ".asciz " PROF_DETAIL_TEXT(__BASE_FILE__) "\n");

#endif  // PROF_PROCESS_FILE_NOTE_HPP
