// prof/collect/writers.hpp - the formats a profile can be written in: one row each.
// Floor 11 (collect). Used by collections and by http/, which takes the word of a query and the content type from here.
// Safety: ordinary context.
// Memory: the caller's scratch arena.
// Source: Go's net/http/pprof for the content types.
#ifndef PROF_COLLECT_WRITERS_HPP
#define PROF_COLLECT_WRITERS_HPP

#include "prof/base/short_name.hpp"
#include "prof/process/part.hpp"
#include "prof/write/pprof.hpp"
#include "prof/write/top.hpp"

PROF_DETAIL_BEGIN

struct profile_writer_row {
  format value;
  text_view word;  // of the query's format=
  const char* content_type;
  bool is_download;  // has a file name
  bool is_for_people;  // names are shortened
  bool (*write)(const profile& p, arena& scratch, output out, const profile_row& row, const profile_request& request);
};

inline bool write_as_pprof(const profile& p, arena& scratch, output out, const profile_row&, const profile_request&) {
  return write_pprof(p, scratch, out, true);
}
inline bool write_as_text(const profile& p, arena& scratch, output out, const profile_row& row,
                          const profile_request& request) {
  const bool is_full = request.debug >= 2 && row.write_full_text != nullptr;
  return (is_full ? row.write_full_text : row.write_text)(p, scratch, out);
}
inline bool write_as_top(const profile& p, arena& scratch, output out, const profile_row&,
                         const profile_request& request) {
  top_options table;
  if (request.top_type != nullptr) table.type = request.top_type;
  table.limit = request.top_rows;
  return write_top(p, scratch, out, table);
}

inline constexpr profile_writer_row profile_writers[] = {
    {format::pprof, {"pprof", 5}, "application/octet-stream", true, false, &write_as_pprof},
    {format::text, {"text", 4}, "text/plain; charset=utf-8", false, true, &write_as_text},
    {format::top, {"top", 3}, "text/plain; charset=utf-8", false, true, &write_as_top}};

// How a request for a row is answered. A row without a text is written as pprof where one is asked for, as Go does.
inline const profile_writer_row& writer_of(const profile_row& row, const profile_request& request) noexcept {
  const bool is_text = request.format == format::text || (request.format == format::pprof && request.debug != 0);
  const format wanted = !is_text ? request.format : row.write_text != nullptr ? format::text : format::pprof;
  for (const profile_writer_row& writer : profile_writers) {
    if (writer.value == wanted) return writer;
  }
  return profile_writers[0];
}

// Template arguments become <...>; functions that differ in them only become one.
inline void shorten_names(profile& p) noexcept {
  for (profile_function& function : p.functions) function.name = p.string(shorten(p.strings[function.name], p.memory));
}

// The format that a word stands for; `none` where none does.
inline format format_of(text_view word, format none) noexcept {
  for (const profile_writer_row& writer : profile_writers) {
    if (writer.word.equals(word)) return writer.value;
  }
  return none;
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_WRITERS_HPP
