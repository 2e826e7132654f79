// prof/http/routes.hpp - what each path under /debug/pprof/ answers.
// Floor 12 (http). Called by the server's loop, one request at a time.
// Safety: the server's thread. Nothing here waits: a profile that takes time becomes a job.
// Memory: a collection that waits lives in pages of its own; answers in the response's arena.
// Source: Go's net/http/pprof: paths, parameters, headers, status codes and error texts.
#ifndef PROF_HTTP_ROUTES_HPP
#define PROF_HTTP_ROUTES_HPP

#include "prof/http/http.hpp"
#include "prof/http/http_response.hpp"
#include "prof/http/pages.hpp"
#include "prof/http/server.hpp"
#include "prof/collect/status.hpp"

PROF_DETAIL_BEGIN

inline constexpr unsigned max_seconds = 300;

inline output body_of(http_response& response) noexcept {
  return {[](void* context, const void* data, std::size_t size) {
            return static_cast<http_response*>(context)->body.append(
                static_cast<const char*>(data), size);
          },
          &response};
}

// A query parameter as a number; `fallback` when it is missing or no number.
inline std::uint64_t number_in(const http_request& request, text_view name,
                               std::uint64_t fallback) noexcept {
  text_view text;
  std::uint64_t value = 0;
  return request.parameter(name, text) && parse_decimal(text, value) ? value : fallback;
}

// ---- cmdline, symbol, index, status ---------------------------------------------------------------

inline void answer_cmdline(http_response& response) noexcept {
  response.content_type = "text/plain; charset=utf-8";
  response.body.resize(std::size_t{64} * 1024);
  std::size_t n = os_command_line(response.body.data(), response.body.size());
  if (n != 0 && response.body[n - 1] == '\0') --n;  // as Go: no NUL behind the last argument
  response.body.resize(n);
}

// One token of a symbol request: 0x hex or decimal; 0 when it is neither.
inline std::uint64_t parse_address_token(text_view token) noexcept {
  if (token.starts_with({"0x", 2}) || token.starts_with({"0X", 2})) {
    text_view digits = token.from(2);
    const std::uint64_t value = take_hex(digits);
    return digits.size == 0 ? value : 0;
  }
  std::uint64_t value = 0;
  return parse_decimal(token, value) ? value : 0;
}

inline void answer_symbol(process_state& process, const http_request& request,
                          http_response& response) noexcept {
  response.content_type = "text/plain; charset=utf-8";
  const auto* const names = find_part_sig<symbolize_part>(process, part::symbolize);
  text_writer text(body_of(response));
  text.put(names != nullptr ? "num_symbols: 1\n" : "num_symbols: 0\n");
  if (names == nullptr) return;
  arena_vector<std::uint64_t> addresses(*request.memory);
  text_view rest = request.method.equals({"POST", 4}) ? request.body : request.query;
  while (rest.size != 0) {
    const std::size_t end = rest.find('+');
    const std::uint64_t address = parse_address_token({rest.data, end});
    if (address != 0) addresses.push(address);
    rest = rest.from(end == rest.size ? end : end + 1);
  }
  const own_code_scope own(process);
  refresh_code_map(process);
  const presence_guard reading(process.code_readers);
  names->name_all(
      addresses.data(), addresses.size(), process.code.load(),
      [](void* context, std::uint64_t address, text_view name) {
        static_cast<text_writer*>(context)->hex(address).put(" ").put(name).put("\n");
      },
      &text);
}

inline void answer_index(process_state& process, http_response& response) noexcept {
  response.content_type = "text/html; charset=utf-8";
  write_index(process, body_of(response));
}

inline void answer_status(http_response& response) noexcept {
  response.content_type = "text/plain; charset=utf-8";
  write_status_text(status(), body_of(response));
}

// ---- profiles ---------------------------------------------------------------------------------------

struct profile_job {
  collection* work;
};

inline void drop_collection(collection* work) noexcept {
  work->~collection();
  os_unmap_sig(work, sizeof(collection));
}

inline void finish_profile(collection& work, http_response& response) noexcept {
  const result written = work.finish(body_of(response));
  if (!written) response.fail(500, written.message());
}

// The rules of Go's handlers: bad seconds fall back to the default on /profile and are an error
// elsewhere; seconds and debug exclude each other.
inline bool read_request(const http_request& request, bool is_cpu, profile_request& wanted,
                         http_response& response) noexcept {
  text_view seconds;
  std::uint64_t value = 0;
  wanted.debug = static_cast<int>(number_in(request, "debug", 0) & 0xff);
  wanted.hz = static_cast<unsigned>(number_in(request, "hz", 0));
  wanted.symbolize = number_in(request, "symbolize", 1) != 0;
  text_view form;
  if (request.parameter("format", form) && form.equals({"top", 3})) wanted.format = format::top;
  const bool given = request.parameter("seconds", seconds) && seconds.size != 0;
  const bool valid = given && parse_decimal(seconds, value) && value != 0;
  if (given && !valid && !is_cpu) {
    response.fail(400, "invalid value for \"seconds\" - must be a positive integer");
    return false;
  }
  if (valid && wanted.debug != 0 && !is_cpu) {
    response.fail(400, "seconds and debug params are incompatible");
    return false;
  }
  if (value > max_seconds) {
    response.fail(400, "profile duration exceeds the limit of 300 seconds");
    return false;
  }
  wanted.seconds = static_cast<unsigned>(valid ? value : 0);
  return true;
}

// The download's name and type, as Go sets them.
inline void describe_answer(const known_profile& known, const profile_request& wanted,
                            http_response& response) noexcept {
  const bool is_cpu = known.provider == part::cpu;
  if (wanted.format == format::top || (wanted.debug != 0 && !is_cpu)) {
    response.content_type = "text/plain; charset=utf-8";
    return;
  }
  response.content_type = "application/octet-stream";
  response.file_name = known.name;
  if (is_cpu || wanted.seconds == 0) return;
  response.file_name = known.name.equals({"heap", 4}) ? text_view("heap-delta")
                                                      : text_view("allocs-delta");
}

inline void begin_profile(process_state& process, text_view name, const http_request& request,
                          http_response& response, http_job& job) noexcept {
  const result known = check_profile(process, name);
  const known_profile* const profile_of = find_profile(name);
  if (profile_of == nullptr) return response.fail(404, "Unknown profile");
  if (!known) return response.fail(404, known.message());
  profile_request wanted;
  const bool is_cpu = profile_of->provider == part::cpu;
  text_view type;
  char type_name[32] = "";
  if (request.parameter("type", type)) append_text(type_name, sizeof type_name, type.data, type.size);
  if (!read_request(request, is_cpu, wanted, response)) return;
  if (type_name[0] != '\0') {
    wanted.top_type = request.memory->copy(type_name, std::strlen(type_name));
  }
  void* const pages = os_map_sig(sizeof(collection));
  if (pages == nullptr) return response.fail(500, "no memory for the profile");
  auto* const work = new (pages) collection(process);
  const result begun = work->begin(name, wanted);
  if (!begun) {
    drop_collection(work);
    char text[300] = "Could not enable CPU profiling: ";
    append_text(text, sizeof text, begun.message());
    return response.fail(500, is_cpu ? text : begun.message());
  }
  describe_answer(*profile_of, wanted, response);
  if (work->duration_ns() == 0) {
    finish_profile(*work, response);
    return drop_collection(work);
  }
  job.keep(profile_job{work});
  job.deadline_ns = os_monotonic_ns_sig() + work->duration_ns();
  job.finish = [](void* state, http_response& answer) {
    collection* const done = static_cast<profile_job*>(state)->work;
    finish_profile(*done, answer);
    drop_collection(done);
  };
  job.cancel = [](void* state) { drop_collection(static_cast<profile_job*>(state)->work); };
}

// ---- dispatch ---------------------------------------------------------------------------------------

inline void begin_request(void* context, const http_request& request, http_response& response,
                          http_job& job) noexcept {
  auto& process = *static_cast<process_state*>(context);
  constexpr text_view prefix{"/debug/pprof/", 13};
  if (request.path.equals({"/debug/pprof", 12})) {
    response.fail(301, "Moved Permanently");
    response.error = false;
    response.location = prefix;
    return;
  }
  if (!request.path.starts_with(prefix)) return response.fail(404, "404 page not found");
  const text_view name = request.path.from(prefix.size);
  if (name.size == 0) return answer_index(process, response);
  if (name.equals({"cmdline", 7})) return answer_cmdline(response);
  if (name.equals({"symbol", 6})) return answer_symbol(process, request, response);
  if (name.equals({"status", 6})) return answer_status(response);
  begin_profile(process, name, request, response, job);
}

// A child of fork() gives the parent's sockets back at once; it may never call prof again.
inline void forget_server_in_child() noexcept {
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  void* const there = process->part_states[static_cast<unsigned>(part::http)].load();
  if (there != nullptr) static_cast<http_server*>(there)->forget_parent();
}

inline std::atomic<bool> fork_watched{false};
inline void watch_forks() noexcept {
  if (fork_watched.exchange(true)) return;
  (void)os_at_fork(nullptr, nullptr, &forget_server_in_child);
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

namespace http {

// Serves /debug/pprof/ on a thread of its own: "localhost:6060", ":6060", "127.0.0.1:0" (the system
// picks a port), "[::1]:6060", "unix:/path". Loopback and Unix sockets only. At most 8 connections
// and 300 s per profile. Errors: error::bad_address, not_loopback, address_in_use, listen_failed,
// server_running.
inline result serve(const char* address) {
  using namespace detail;
  process_state* const process = enter_process();
  if (process == nullptr) return result(error::out_of_memory, "the server");
  if (result agreed = check_versions(); !agreed) return agreed;
  detail::address where;
  if (result parsed = parse_address(address != nullptr ? text_view(address) : text_view(), where);
      !parsed) {
    return parsed;
  }
  process->used.store(true);
  auto& place = process->part_states[static_cast<unsigned>(part::http)];
  void* there = place.load(std::memory_order_acquire);
  if (there == nullptr) {
    void* const pages = os_map_sig(sizeof(http_server));
    if (pages == nullptr) return result(error::out_of_memory, "the server");
    there = new (pages) http_server;
    void* none = nullptr;
    if (!place.compare_exchange_strong(none, there)) there = none;
  }
  const own_code_scope own(*process);
  watch_forks();
  return static_cast<http_server*>(there)->start(where, {&begin_request, process},
                                                 os_default_signal());
}

// Ends the server: running requests are canceled, connections closed, the thread joined. Does
// nothing when none runs.
inline void stop() {
  using namespace detail;
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  void* const there =
      process->part_states[static_cast<unsigned>(part::http)].load(std::memory_order_acquire);
  if (there != nullptr) static_cast<http_server*>(there)->stop();
}

// Where the server listens ("127.0.0.1:40123"), or "" when it does not. Lives until stop().
inline const char* address() {
  using namespace detail;
  process_state* const process = attached_process_sig();
  if (process == nullptr) return "";
  void* const there =
      process->part_states[static_cast<unsigned>(part::http)].load(std::memory_order_acquire);
  if (there == nullptr || !static_cast<http_server*>(there)->running()) return "";
  return static_cast<http_server*>(there)->bound_address().data;
}

}  // namespace http

PROF_PUBLIC_END

#endif  // PROF_HTTP_ROUTES_HPP
