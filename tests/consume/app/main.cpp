// tests/consume/app/main.cpp - a user's program: the one file that includes the whole of prof.
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>

#include <cstdio>
#include <cstring>

bool work();  // worker.cpp

static int fail(const char* what, const char* why) {
  std::fprintf(stderr, "app: %s: %s\n", what, why);
  return 1;
}

int main(int count, char** arguments) {
  if (count != 2) return fail("arguments", "give the file for the heap profile");
  (void)prof::set_mem_profile_rate(1);  // every allocation, so that work() is surely in the profile
  if (auto r = prof::http::serve("127.0.0.1:0"); !r) return fail("serve", r.message());
  if (std::strncmp(prof::http::address(), "127.0.0.1:", 10) != 0) {
    return fail("address", prof::http::address());
  }
  if (!work()) return fail("work", "out of memory");
  if (auto r = prof::write_heap_profile(arguments[1]); !r) return fail("write", r.message());
  prof::http::stop();
  std::printf("ok %d.%d.%d\n", PROF_VERSION_MAJOR, PROF_VERSION_MINOR, PROF_VERSION_PATCH);
}
