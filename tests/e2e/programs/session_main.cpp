// tests/e2e/programs/session_main.cpp - begins two CPU profiles, which a library ends.
#include <prof/prof.hpp>

#include <cstdio>
#include <ctime>

__attribute__((visibility("default"))) bool end_profiles(prof::cpu_session& session);

int main(int, char** argv) {
  prof::cpu_session session;
  if (!session.start(argv[1])) return 1;
  if (!prof::start_cpu_profile(argv[2])) return 2;
  const std::clock_t begin = std::clock();
  while (std::clock() - begin < CLOCKS_PER_SEC / 5) continue;
  if (!end_profiles(session)) return 3;
  const prof::status_report report = prof::status();
  std::printf("%s\n", report.text("cpu profile"));
  return 0;
}
