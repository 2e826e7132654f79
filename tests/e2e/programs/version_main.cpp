// Writes a heap profile and prints what went wrong.
#include <cstdio>
#include <prof/prof.hpp>
int other_file();
int main() {
  const auto written = prof::write_heap_profile("/dev/null");
  std::printf("%d %s\n", static_cast<int>(written.code()), written.message());
  return other_file();
}
