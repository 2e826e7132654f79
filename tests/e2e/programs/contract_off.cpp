// Usage: contract_off ADDRESS. Serves with every other part off, until its input ends.
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc < 2 || !prof::http::serve(argv[1])) return 2;
  std::printf("listening on %s\n", prof::http::address());
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}
