// prof/process/versions.hpp - whether all files of the process that include prof have the same one.
// Floor 7 (process). Asked before the first profile and by the server's start.
// Safety: ordinary context.
// Memory: none.
// Source: design rule "only a version mismatch is an error, reported by file name from a per-file record".
#ifndef PROF_PROCESS_VERSIONS_HPP
#define PROF_PROCESS_VERSIONS_HPP

#include "prof/process/attach.hpp"

PROF_DETAIL_BEGIN

// The first file of another version, and the first of this one.
struct version_search {
  bounded_text<100> other;
  bounded_text<100> same;
  std::uint32_t other_version = 0;
};

inline void see_version_sig(void* context, const prof_note& note) PROF_DETAIL_SIG {
  auto& found = *static_cast<version_search*>(context);
  if (note.type != file_note_type) return;
  const bool same = note.version == PROF_VERSION;
  bounded_text<100>& name = same ? found.same : found.other;
  if (name.size() != 0) return;
  name.put(note.text);
  if (!same) found.other_version = note.version;
}

inline bounded_text<24> version_text(std::uint32_t version) noexcept {
  bounded_text<24> text;
  text.decimal(version / 1000000).put(".").decimal(version / 1000 % 1000).put(".").decimal(version % 1000);
  return text;
}

inline result check_versions() noexcept {
  version_search found;
  for_each_note_sig({&see_version_sig, &found});
  if (found.other.size() == 0) return {};
  bounded_text<300> text;
  text.put(found.other.view()).put(" has ").put(version_text(found.other_version).view());
  text.put(", ").put(found.same.view()).put(" has ").put(version_text(PROF_VERSION).view());
  return result(error::version_mismatch, text.c_str());
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_VERSIONS_HPP
