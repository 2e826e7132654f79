// prof/http/pages.hpp - the pages that people read: the index.
// Floor 12 (http). Used by routes.hpp.
// Safety: ordinary context.
// Memory: writes into the response's arena.
// Source: layout of Go's net/http/pprof index (a table of counts and profiles, then descriptions);
//         unlike there, links of long-running profiles say how long they take.
#ifndef PROF_HTTP_PAGES_HPP
#define PROF_HTTP_PAGES_HPP

#include "prof/collect/rows.hpp"
#include "prof/http/http.hpp"
#include "prof/http/http_response.hpp"

PROF_DETAIL_BEGIN

// What answers a path below /debug/pprof/ that is no profile: one row each, see routes.hpp.
struct http_page {
  text_view path;
  void (*answer)(process_state& process, const http_request& request, http_response& response);
  bool takes_time;        // more than the server's loop may
  text_view description;  // on the index; empty: not listed there
};
struct http_pages {
  const http_page* pages;
  std::size_t count;
};

inline void put_index_row(text_writer& page, std::uint64_t count, text_view name, text_view query, text_view note) {
  page.put("<tr><td>").decimal(count).put("</td><td><a href='").put(name).put(query).put("'>").put(name);
  page.put("</a>").put(note).put("</td></tr>\n");
}

inline void put_index_item(text_writer& page, text_view name, text_view description) {
  page.put("<li>").put(name).put(": ").put(description).put("</li>\n");
}

inline void put_profile_rows(text_writer& page, process_state& process, const arena_vector<listed_row>& rows) {
  for (const listed_row& listed : rows) {
    const known_row& known = listed.known;
    if (known.row == nullptr) continue;
    const std::uint64_t count = known.part->count != nullptr ? known.part->count(process) : 0;
    const bool takes_time = known.row->default_seconds != 0;
    const text_view query = takes_time ? "?seconds=10" : known.row->write_text != nullptr ? "?debug=1" : "";
    put_index_row(page, count, listed.name, query, takes_time ? " (takes 10 s)" : "");
  }
}

inline void write_index(process_state& process, http_pages others, output out) {
  arena memory(os_pages);
  arena_vector<listed_row> rows(memory);
  list_rows(process, rows);
  text_writer page(out);
  page.put("<!DOCTYPE html>\n<html>\n<head>\n<meta charset='utf-8'>\n"
           "<title>/debug/pprof/</title>\n<style>td { padding-right: 1em }</style>\n</head>\n"
           "<body>\n<p>/debug/pprof/</p>\n"
           "<p>debug=1 in the query exports a profile as text, format=top as a table.</p>\n"
           "<p>Types of profiles available:</p>\n"
           "<table>\n<tr><td>Count</td><td>Profile</td></tr>\n");
  put_profile_rows(page, process, rows);
  for (std::size_t i = 0; i < others.count; ++i) {
    if (others.pages[i].description.size != 0) put_index_row(page, 0, others.pages[i].path, "", "");
  }
  page.put("</table>\n");
  for (const listed_row& listed : rows) {
    if (listed.known.row != nullptr && listed.known.row->write_full_text != nullptr) {
      page.put("<p><a href='").put(listed.name).put("?debug=2'>full ").put(listed.name).put(" stack dump</a></p>\n");
    }
  }
  page.put("<p>Profile descriptions:</p>\n<ul>\n");
  for (const listed_row& listed : rows) {
    if (listed.known.row != nullptr) put_index_item(page, listed.name, listed.known.row->description);
  }
  for (std::size_t i = 0; i < others.count; ++i) {
    if (others.pages[i].description.size != 0) put_index_item(page, others.pages[i].path, others.pages[i].description);
  }
  page.put("</ul>\n</body>\n</html>\n");
}

PROF_DETAIL_END

#endif  // PROF_HTTP_PAGES_HPP
