// prof/base/result.hpp - errors as values: one enum, one message table, one small value.
// Floor 2 (base). Returned by every public call that can fail.
// Safety: not for signal handlers; copying is thread-safe, nothing is shared.
// Memory: a result holds its text inline; nothing is allocated.
// Source: Go's error texts where Go has one (net/http/pprof, runtime/pprof), own words elsewhere.
#ifndef PROF_BASE_RESULT_HPP
#define PROF_BASE_RESULT_HPP

#include "prof/base/text.hpp"

PROF_PUBLIC_BEGIN

// Why a call failed. The order is the order of detail::error_messages; a test compares them.
enum class error : int {
  none = 0,
  cpu_in_use,
  session_in_use,
  too_many_sessions,
  unknown_profile,
  profile_off,
  not_in_version,
  unsupported,
  bad_argument,
  open_failed,
  write_failed,
  out_of_memory,
  signal_in_use,
  timer_failed,
  bad_address,
  not_loopback,
  address_in_use,
  listen_failed,
  server_running,
  configured_late,
  version_mismatch,
  canceled,
  not_included,
  count_
};

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

struct error_message {
  error code;
  const char* text;  // at most one %s, replaced by the detail given with the error
};

inline constexpr error_message error_messages[] = {
    {error::none, "ok"},
    {error::cpu_in_use, "cpu profiling already in use"},
    {error::session_in_use, "this cpu_session is already running; stop it before starting it again"},
    {error::too_many_sessions, "8 CPU sessions are running already; stop one first"},
    {error::unknown_profile, "unknown profile \"%s\"; for_each_profile lists the names"},
    {error::profile_off, "%s is off; define it to 1 in a file that includes prof.hpp"},
    {error::not_in_version, "%s is not available in this version"},
    {error::unsupported, "%s is not supported on this platform"},
    {error::bad_argument, "%s"},
    {error::open_failed, "cannot write to %s; pass another path"},
    {error::write_failed, "writing the profile failed: %s"},
    {error::out_of_memory, "no memory for %s; raise the address space or memory limit"},
    {error::signal_in_use, "no free signal for sampling: %s has a foreign handler; set"
                           " options::signal to a free real-time signal"},
    {error::timer_failed, "cannot create a CPU timer: %s; raise RLIMIT_SIGPENDING"},
    {error::bad_address, "cannot understand the address \"%s\"; use host:port, :port or"
                         " unix:/path"},
    {error::not_loopback, "%s is not a loopback address; profiles hold addresses and command"
                          " lines, so listen on localhost and forward the port"},
    {error::address_in_use, "%s is in use; pass another address or stop the other process"},
    {error::listen_failed, "cannot listen on %s"},
    {error::server_running, "the profile server runs already; call prof::http::stop() first"},
    {error::configured_late, "configure() after the first profile was started or written; call it"
                             " at the top of main()"},
    {error::version_mismatch, "files of this program include different versions of prof: %s"},
    {error::canceled, "the request was canceled"},
    {error::not_included, "no file of this program includes prof/prof.hpp; include it in one, api.hpp in the others"},
};

inline constexpr std::size_t result_text_size = 232;

// A code's message with the detail that belongs to it.
PROF_DETAIL_COLD inline void write_message(char (&room)[result_text_size], error code, const char* detail) noexcept {
  const text_view text(error_messages[static_cast<int>(code)].text);
  const std::size_t mark = text.find('%');  // of %s
  std::size_t used = 0;
  append_bounded(room, result_text_size, used, {text.data, mark});
  if (mark == text.size) return;
  append_bounded(room, result_text_size, used, detail);
  append_bounded(room, result_text_size, used, text.from(mark + 2));
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// The outcome of a call: true in a condition when it succeeded. message() is one sentence without
// a newline that says what happened and what to do next; it lives as long as the result. Results cross from one object
// of a process to another: their layout stays.
class [[nodiscard]] result {
 public:
  result() noexcept { message_[0] = '\0'; }

  // `detail` replaces %s of the table's text; `os_error` is the errno behind it, or 0.
  PROF_DETAIL_LOCAL explicit result(error code, const char* detail = "", int os_error = 0) noexcept
      : code_(code), os_errno_(os_error) {
    detail::write_message(message_, code, detail);
  }

  explicit operator bool() const noexcept { return code_ == error::none; }
  error code() const noexcept { return code_; }
  int os_errno() const noexcept { return os_errno_; }
  const char* message() const noexcept { return code_ == error::none ? "ok" : message_; }

 private:
  error code_ = error::none;
  int os_errno_ = 0;
  char message_[detail::result_text_size];
};
static_assert(sizeof(result) == 240, "results cross from one object to another");

PROF_PUBLIC_END

#endif  // PROF_BASE_RESULT_HPP
