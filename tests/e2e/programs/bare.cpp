// Built as for a system that prof does not know: everything compiles, and every call answers.
#define PROF_ENABLE_HTTP 1
#include "prof/prof.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

static int failures = 0;

static void expect(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  ++failures;
}

int main() {
  static_assert(PROF_DETAIL_OS_LINUX == 0, "the bare backend was not chosen");
  std::string text;

  const prof::result cpu = prof::start_cpu_profile(prof::append_to(text));
  std::printf("cpu: %s\n", cpu.message());
  expect(!cpu && cpu.code() != prof::error::none, "a CPU profile is refused");
  expect(static_cast<bool>(prof::stop_cpu_profile()), "stopping nothing is fine");

  prof::profile_request second;
  second.seconds = 1;
  const prof::result timed = prof::write_profile("profile", prof::append_to(text), second);
  std::printf("profile: %s\n", timed.message());
  expect(!timed, "a CPU profile by name is refused");
  expect(text.empty(), "and nothing is written");

  const prof::result path = prof::write_profile("heap", "/tmp/prof_bare_never_made");
  std::printf("path: %s\n", path.message());
  expect(path.code() == prof::error::open_failed, "paths cannot be opened");

  const prof::result unknown = prof::write_profile("nothing", prof::append_to(text));
  expect(unknown.code() == prof::error::unknown_profile, "unknown profiles are unknown");

  prof::set_mem_profile_rate(1);
  static char object[64];
  prof::record_alloc(object, 4711);
  prof::profile_request as_text;
  as_text.debug = 1;
  const prof::result heap = prof::write_profile("heap", prof::append_to(text), as_text);
  std::printf("heap: %s\n", heap.message());
  expect(static_cast<bool>(heap), "explicit recording works without an OS");
  expect(text.find("4711") != std::string::npos, "and what was recorded is shown");
  prof::record_free(object);

  const prof::result served = prof::http::serve("127.0.0.1:0");
  std::printf("http: %s\n", served.message());
  expect(!served, "there are no sockets");
  prof::http::stop();

  text.clear();
  expect(static_cast<bool>(prof::write_status(prof::append_to(text))), "the status is written");
  expect(text.compare(0, 5, "prof ") == 0, "and reads as always");

  void* const plain = std::malloc(100);
  expect(plain != nullptr, "malloc is the C library's");
  std::free(plain);
  std::printf("%d failures\n", failures);
  return failures;
}
