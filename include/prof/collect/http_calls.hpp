// prof/collect/http_calls.hpp - the server as users call it.
// Floor 11 (collect). Public; part of the thin header: leads to the server's descriptor, wherever in the process it is.
// Safety: ordinary context, any thread.
// Memory: none.
// Source: Go's net/http.ListenAndServe with net/http/pprof.
#ifndef PROF_COLLECT_HTTP_CALLS_HPP
#define PROF_COLLECT_HTTP_CALLS_HPP

#include "prof/collect/api_table.hpp"

PROF_DETAIL_BEGIN

// This object's server, else another's; null where no file of the process brings one.
inline const http_part* find_http() noexcept {
  const http_part* const own = own_http_part();
  if (own != nullptr) return own;
  const api_table* const table = api();
  const http_part* const found = table != nullptr ? table->find_http() : nullptr;
  return found != nullptr && found->head.size >= sizeof(http_part) ? found : nullptr;
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

namespace http {

// Serves /debug/pprof/ on a thread of its own: "localhost:6060", ":6060", "127.0.0.1:0" (the system
// picks a port), "[::1]:6060", "unix:/path". Loopback and Unix sockets only. At most 8 connections
// and 300 s per profile. Errors: error::bad_address, not_loopback, address_in_use, listen_failed,
// server_running, profile_off, not_included.
PROF_DETAIL_LOCAL inline result serve(const char* address) {
  const detail::http_part* const server = detail::find_http();
  if (server != nullptr) return server->serve(address);
  return detail::api() == nullptr ? result(error::not_included)
                                  : result(error::profile_off, "the server needs PROF_ENABLE_HTTP, which");
}

// Ends the server: running requests are canceled, connections closed, the thread joined. Does
// nothing when none runs.
PROF_DETAIL_LOCAL inline void stop() {
  const detail::http_part* const server = detail::find_http();
  if (server != nullptr) server->stop();
}

// Where the server listens ("127.0.0.1:40123"), or "" when it does not. Lives until stop().
PROF_DETAIL_LOCAL inline const char* address() {
  const detail::http_part* const server = detail::find_http();
  return server != nullptr ? server->address() : "";
}

}  // namespace http

PROF_PUBLIC_END

#endif  // PROF_COLLECT_HTTP_CALLS_HPP
