// prof/process/http_part.hpp - the beginning of every part's descriptor, and the descriptor of the server.
// Floor 7 (process). Part of the thin header, whose http calls lead here.
// Safety: data.
// Memory: none.
// Source: see part.hpp, which lists all parts.
#ifndef PROF_PROCESS_HTTP_PART_HPP
#define PROF_PROCESS_HTTP_PART_HPP

#include "prof/base/result.hpp"

PROF_DETAIL_BEGIN

// The beginning of every descriptor.
struct part_head {
  std::uint32_t size;    // of the whole descriptor: later versions append
  std::uint32_t layout;  // of the state that the part's objects share; 0: it has none
};

// What prof::http calls lead to.
struct http_part {
  part_head head;
  result (*serve)(const char* address);
  void (*stop)();
  const char* (*address)();
};

extern "C" const http_part prof_part_http_v2 __attribute__((__weak__, __visibility__("hidden")));

// Null where no file of this object includes the whole with PROF_ENABLE_HTTP.
inline const http_part* own_http_part() noexcept {
  return &prof_part_http_v2 != nullptr ? &prof_part_http_v2 : nullptr;
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_HTTP_PART_HPP
