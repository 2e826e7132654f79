// Usage: http_server ADDRESS. Serves, prints `listening on ADDRESS`, then does what its input says, a word a line,
// and answers `done WORD`: keep (1000 objects of 100 bytes stay), drop (500 of those go), rate1, restart
// (stops serving and serves again). burn N: N ms of CPU on another thread. Ends with its input.
#include "cpu_work.hpp"

#include <cstring>
#include <thread>

namespace {
void* objects[100000];
std::size_t used = 0;

WORK_FUNCTION void keep_site() {
  for (int i = 0; i < 1000; ++i) objects[used++] = std::malloc(100);
  STAY_ON_STACK();
}
WORK_FUNCTION void burn_site(std::uint64_t ns) {
  burn_ns(ns);
  STAY_ON_STACK();
}
}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  need(prof::http::serve(argv[1]), "serve");
  std::printf("listening on %s\n", prof::http::address());
  std::fflush(stdout);
  char line[100];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    line[std::strcspn(line, "\n")] = '\0';
    unsigned long ms = 0;
    if (std::strcmp(line, "keep") == 0) keep_site();
    if (std::strcmp(line, "drop") == 0) for (int i = 0; i < 500; ++i) std::free(objects[--used]);
    if (std::strcmp(line, "rate1") == 0) prof::set_mem_profile_rate(1);
    if (std::strcmp(line, "restart") == 0) {
      prof::http::stop();
      need(prof::http::serve(argv[1]), "serve again");
      std::printf("listening on %s\n", prof::http::address());
    }
    if (std::sscanf(line, "burn %lu", &ms) == 1) {
      std::thread([ms] { burn_site(ms * 1000000u); }).detach();
    }
    std::printf("done %s\n", line);
    std::fflush(stdout);
  }
  prof::http::stop();
}
