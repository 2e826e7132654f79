// prof/http/pages.hpp - the pages that people read: the index.
// Floor 12 (http). Used by routes.hpp.
// Safety: ordinary context.
// Memory: writes into the response's arena.
// Source: layout of Go's net/http/pprof index (a table of counts and profiles, then descriptions);
//         unlike there, links of long-running profiles say how long they take.
#ifndef PROF_HTTP_PAGES_HPP
#define PROF_HTTP_PAGES_HPP

#include "prof/collect/collect.hpp"

PROF_DETAIL_BEGIN

inline std::uint64_t profile_count(const process_state& process, const known_profile& known) {
  const void* const state =
      process.part_states[static_cast<unsigned>(part::heap)].load(std::memory_order_acquire);
  if (known.provider != part::heap || state == nullptr) return 0;
  return heap_stack_count(*static_cast<const heap_state*>(state));
}

inline void write_index_row(text_writer& page, std::uint64_t count, text_view name,
                            text_view link, text_view note) {
  page.put("<tr><td>").decimal(count).put("</td><td><a href='").put(link).put("'>").put(name);
  page.put("</a>").put(note).put("</td></tr>\n");
}

inline void write_index(const process_state& process, output out) {
  text_writer page(out);
  page.put("<!DOCTYPE html>\n<html>\n<head>\n<meta charset='utf-8'>\n"
           "<title>/debug/pprof/</title>\n<style>td { padding-right: 1em }</style>\n</head>\n"
           "<body>\n<p>/debug/pprof/</p>\n"
           "<p>debug=1 in the query exports a profile as text, format=top as a table.</p>\n"
           "<p>Types of profiles available:</p>\n"
           "<table>\n<tr><td>Count</td><td>Profile</td></tr>\n");
  for (const known_profile& known : known_profiles) {
    if (!check_profile(process, known.name)) continue;
    const std::uint64_t count = profile_count(process, known);
    if (known.provider == part::cpu) {
      write_index_row(page, count, known.name, "profile?seconds=10", " (takes 10 s)");
      continue;
    }
    page.put("<tr><td>").decimal(count).put("</td><td><a href='").put(known.name);
    page.put("?debug=1'>").put(known.name).put("</a></td></tr>\n");
  }
  write_index_row(page, 0, "cmdline", "cmdline", "");
  write_index_row(page, 0, "status", "status", "");
  write_index_row(page, 0, "symbol", "symbol", "");
  page.put("</table>\n<p>Profile descriptions:</p>\n<ul>\n");
  for (const known_profile& known : known_profiles) {
    if (!check_profile(process, known.name)) continue;
    page.put("<li>").put(known.name).put(": ").put(known.description).put("</li>\n");
  }
  page.put("<li>cmdline: the command line of the process</li>\n"
           "<li>status: what runs, which hooks are live, what was lost</li>\n"
           "<li>symbol: function names of addresses, as pprof asks for them</li>\n"
           "</ul>\n</body>\n</html>\n");
}

PROF_DETAIL_END

#endif  // PROF_HTTP_PAGES_HPP
