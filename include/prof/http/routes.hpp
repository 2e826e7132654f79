// prof/http/routes.hpp - what each path under /debug/pprof/ answers.
// Floor 12 (http). Called by the server.
// Safety: what is answered at once, on the server's loop; what may take time is a job, whose steps run on workers, those of several
//         requests at a time. Nothing here waits.
// Memory: a collection lives in the request's arena, answers in the response's, which are one.
// Source: Go's net/http/pprof: paths, parameters, headers, status codes and error texts.
#ifndef PROF_HTTP_ROUTES_HPP
#define PROF_HTTP_ROUTES_HPP

#include "prof/collect/collection.hpp"
#include "prof/collect/names.hpp"
#include "prof/collect/report.hpp"
#include "prof/http/http.hpp"
#include "prof/http/http_response.hpp"
#include "prof/http/pages.hpp"
#include "prof/http/server.hpp"

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

inline void answer_cmdline(process_state&, const http_request&, http_response& response) noexcept {
  response.content_type = "text/plain; charset=utf-8";
  std::size_t n = 0;
  for (std::size_t room = 4096; n == response.body.size() && room <= std::size_t{64} * 1024; room *= 16) {
    response.body.resize(room);
    n = os_command_line(response.body.data(), response.body.size());
  }
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

// The addresses of a symbol request, separated by +, in the query or the body.
inline void read_addresses(const http_request& request, arena_vector<std::uint64_t>& addresses) noexcept {
  text_view rest = request.method.equals({"POST", 4}) ? request.body : request.query;
  while (rest.size != 0) {
    const std::size_t end = rest.find('+');
    const std::uint64_t address = parse_address_token({rest.data, end});
    if (address != 0) addresses.push(address);
    rest = rest.from(end == rest.size ? end : end + 1);
  }
}

inline void answer_symbol(process_state& process, const http_request& request, http_response& response) noexcept {
  response.content_type = "text/plain; charset=utf-8";
  text_writer text(body_of(response));
  text.put(can_name(process) ? "num_symbols: 1\n" : "num_symbols: 0\n");
  if (!can_name(process)) return;
  arena_vector<std::uint64_t> addresses(*request.memory);
  read_addresses(request, addresses);
  name_all(
      process, addresses.data(), addresses.size(),
      [](void* context, std::uint64_t address, text_view name) {
        static_cast<text_writer*>(context)->hex(address).put(" ").put(name).put("\n");
      },
      &text);
}

inline void answer_status(process_state&, const http_request&, http_response& response) noexcept {
  response.content_type = "text/plain; charset=utf-8";
  write_status_text(body_of(response));
}

http_pages all_pages() noexcept;
inline void answer_index(process_state& process, const http_request&, http_response& response) noexcept {
  response.content_type = "text/html; charset=utf-8";
  write_index(process, all_pages(), body_of(response));
}

inline http_pages all_pages() noexcept {
  static constexpr http_page pages[] = {
      {{}, &answer_index, false, {}},
      {{"cmdline", 7}, &answer_cmdline, false, {"the command line of the process", 31}},
      {{"status", 6}, &answer_status, true, {"what runs, which hooks are live, what was lost", 46}},
      {{"symbol", 6}, &answer_symbol, true, {"function names of addresses, as pprof asks for them", 51}}};
  return {pages, sizeof pages / sizeof pages[0]};
}

// ---- profiles ---------------------------------------------------------------------------------------

inline void finish_profile(collection& work, http_response& response) noexcept {
  const result written = work.finish(body_of(response));
  if (!written) response.fail(500, written.message());
}

// The rules of Go's handlers: a profile that always takes time falls back to its default on bad seconds and takes no
// notice of debug; for others bad seconds are an error, and seconds and debug exclude each other.
inline bool read_seconds(const http_request& request, bool takes_time, profile_request& wanted,
                         http_response& response) noexcept {
  text_view seconds;
  std::uint64_t value = 0;
  const bool given = request.parameter("seconds", seconds) && seconds.size != 0;
  const bool valid = given && parse_decimal(seconds, value) && value != 0;
  const char* error = nullptr;
  if (given && !valid && !takes_time) error = "invalid value for \"seconds\" - must be a positive integer";
  else if (valid && wanted.debug != 0 && !takes_time) error = "seconds and debug params are incompatible";
  else if (value > max_seconds) error = "profile duration exceeds the limit of 300 seconds";
  if (error != nullptr) response.fail(400, error);
  wanted.seconds = static_cast<unsigned>(valid ? value : 0);
  return error == nullptr;
}

// False: it is none of the words.
inline bool read_symbols(text_view word, symbols& wanted) noexcept {
  const struct {
    text_view word;
    symbols value;
  } known[] = {{"0", symbols::none},          {"1", symbols::standard}, {"", symbols::standard},
               {"functions", symbols::functions}, {"lines", symbols::lines}, {"inlines", symbols::inlines}};
  for (const auto& one : known) {
    if (!one.word.equals(word)) continue;
    wanted = one.value;
    return true;
  }
  return false;
}

// How names are to be shown; false, with the answer made, for words that say nothing.
inline bool read_names(const http_request& request, profile_request& wanted, http_response& response) noexcept {
  text_view text;
  if (request.parameter("symbolize", text) && !read_symbols(text, wanted.symbolize)) {
    response.fail(400, "symbolize must be 0, functions, lines or inlines");
    return false;
  }
  if (!request.parameter("names", text)) return true;
  wanted.whole_names = text.equals({"whole", 5});
  if (wanted.whole_names || text.equals({"short", 5})) return true;
  response.fail(400, "names must be short or whole");
  return false;
}

inline bool read_request(const http_request& request, const profile_row& row, profile_request& wanted,
                         http_response& response) noexcept {
  text_view text;
  wanted.debug = static_cast<int>(number_in(request, "debug", 0) & 0xff);
  wanted.hz = static_cast<unsigned>(number_in(request, "hz", 0));
  wanted.min_wait = static_cast<unsigned>(number_in(request, "min_wait", 0) & 0xffffffff);
  wanted.leak = number_in(request, "leak", 0) != 0;
  wanted.rate = number_in(request, "rate", 0);
  if (request.parameter("view", text) && text.size != 0) wanted.view = request.memory->copy(text.data, text.size);
  if (!read_names(request, wanted, response)) return false;
  if (request.parameter("format", text)) wanted.format = format_of(text, wanted.format);
  if (request.parameter("type", text) && text.size != 0) wanted.top_type = request.memory->copy(text.data, text.size);
  return read_seconds(request, row.default_seconds != 0, wanted, response);
}

// The download's name and type, as Go sets them.
inline void describe_answer(const profile_row& row, const profile_request& wanted, http_response& response) noexcept {
  const profile_writer_row& writer = writer_of(row, wanted);
  response.content_type = writer.content_type;
  if (!writer.is_download) return;
  const bool is_difference = row.default_seconds == 0 && wanted.seconds != 0;
  response.file_name = is_difference && row.delta_name.size != 0 ? row.delta_name : row.name;
}

inline void fail_to_begin(const profile_row& row, const result& begun, http_response& response) noexcept {
  bounded_text<300> text;
  // Where Go has a text for it, it is Go's status, too.
  const bool is_clients = begun.code() == error::bad_argument && row.failure.size == 0;
  response.fail(is_clients ? 400 : 500, text.put(row.failure).put(begun.message()).view());
}

// A request for a profile, from the look at what it asks for to its bytes.
struct profile_job {
  collection* work;
  const profile_row* row;
  text_view name;
  profile_request wanted;
};

inline void end_profile(void* state, http_response& response, http_job&) noexcept {
  collection* const work = static_cast<profile_job*>(state)->work;
  finish_profile(*work, response);
  work->~collection();
}

inline void begin_profile(void* state, http_response& response, http_job& job) noexcept {
  const profile_job& asked = *static_cast<profile_job*>(state);
  collection& work = *asked.work;
  const result begun = work.begin(asked.name, asked.wanted);
  if (!begun) {
    fail_to_begin(*asked.row, begun, response);
    work.~collection();
    return;
  }
  if (work.duration_ns() == 0) return end_profile(state, response, job);
  job.deadline_ns = os_monotonic_ns_sig() + work.duration_ns();
  job.step = &end_profile;
}

inline void answer_profile(process_state& process, text_view name, const http_request& request, http_response& response,
                           http_job& job) noexcept {
  const known_row known = find_row(process, name);
  if (known.row == nullptr) {
    const result missing = explain_missing(name);
    return response.fail(404, missing.code() == error::unknown_profile ? "Unknown profile" : missing.message());
  }
  profile_job asked{nullptr, known.row, name, {}};
  if (!read_request(request, *known.row, asked.wanted, response)) return;
  void* const room = request.memory->allocate(sizeof(collection));
  if (room == nullptr) return response.fail(500, "no memory for the profile");
  asked.work = new (room) collection(process);
  describe_answer(*known.row, asked.wanted, response);
  job.keep(asked);
  job.deadline_ns = http_job::at_once;
  job.step = &begin_profile;
  job.cancel = [](void* state) { static_cast<profile_job*>(state)->work->~collection(); };
}

// ---- dispatch ---------------------------------------------------------------------------------------

struct page_job {
  const http_page* page;
  process_state* process;
  const http_request* request;
};

inline void answer_page(process_state& process, const http_page& page, const http_request& request, http_response& response,
                        http_job& job) noexcept {
  if (!page.takes_time) return page.answer(process, request, response);
  job.keep(page_job{&page, &process, &request});
  job.deadline_ns = http_job::at_once;
  job.step = [](void* state, http_response& answer, http_job&) {
    const page_job& asked = *static_cast<page_job*>(state);
    asked.page->answer(*asked.process, *asked.request, answer);
  };
}

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
  const http_pages all = all_pages();
  for (std::size_t i = 0; i < all.count; ++i) {
    if (all.pages[i].path.equals(name)) return answer_page(process, all.pages[i], request, response, job);
  }
  answer_profile(process, name, request, response, job);
}

// ---- the server of the process ------------------------------------------------------------------------

inline http_server* server_of(const process_state& process) noexcept {
  return state_of_sig<http_server>(process, part::http);
}

// A child of fork() gives the parent's sockets back at once; it may never call prof again.
inline void forget_server_in_child() noexcept {
  process_state* const process = attached_process_sig();
  if (process != nullptr && server_of(*process) != nullptr) server_of(*process)->forget_parent();
}

inline std::atomic<bool> fork_watched{false};
inline void watch_forks() noexcept {
  if (fork_watched.exchange(true)) return;
  (void)os_at_fork(nullptr, nullptr, &forget_server_in_child);
}

// The stacks of the server's threads count for good: the system's thread library keeps them for reuse.
inline void count_stacks(process_state& process, std::size_t threads) noexcept {
  process.memory.bytes.fetch_add(threads * os_thread_stack);
}

PROF_DETAIL_COLD inline http_server* make_server(process_state& process) noexcept {
  void* const pages = process.memory.take_sig(sizeof(http_server));
  if (pages == nullptr) return nullptr;
  count_stacks(process, 1);
  return new (pages) http_server;
}
inline void give_back_server(process_state& process, http_server* spare) noexcept {
  process.memory.bytes.fetch_sub(os_thread_stack);
  process.memory.give_back_sig(spare, sizeof(http_server));
}

inline http_routes routes_of(process_state& process) noexcept {
  http_routes routes;
  routes.begin = &begin_request;
  routes.context = &process;
  routes.meanwhile = [](void* context) { refresh_outdated_code_map(*static_cast<process_state*>(context)); };
  routes.own_begins = [](void* context) { own_code_begins(*static_cast<process_state*>(context)); };
  routes.own_ends = [](void* context, std::size_t new_threads) {
    count_stacks(*static_cast<process_state*>(context), new_threads);
    own_code_ends(*static_cast<process_state*>(context));
  };
  return routes;
}

inline result serve(const char* where_to) {
  process_state* const process = enter();
  if (process == nullptr) return result(error::out_of_memory, "the server");
  if (result agreed = check_versions(); !agreed) return agreed;
  address where;
  const text_view wanted = where_to != nullptr ? text_view(where_to) : text_view();
  if (result parsed = parse_address(wanted, where); !parsed) return parsed;
  process->used.store(true);
  http_server* const server = part_state_sig<http_server>(*process, part::http, &make_server, &give_back_server);
  if (server == nullptr) return result(error::out_of_memory, "the server");
  const own_code_scope own(*process);
  watch_forks();
  return server->start(where, routes_of(*process), os_default_signal());
}

inline void stop_serving() {
  const process_state* const process = attached_process_sig();
  if (process != nullptr && server_of(*process) != nullptr) server_of(*process)->stop();
}

inline const char* served_address() {
  const process_state* const process = attached_process_sig();
  const http_server* const server = process == nullptr ? nullptr : server_of(*process);
  return server != nullptr && server->running() ? server->bound_address() : "";
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const http_part prof_part_http_v2 = {
    {sizeof(http_part), layout_of({sizeof(http_server)})}, &serve, &stop_serving, &served_address};

PROF_DETAIL_END

#endif  // PROF_HTTP_ROUTES_HPP
