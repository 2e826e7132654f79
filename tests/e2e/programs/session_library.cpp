// tests/e2e/programs/session_library.cpp - ends the profiles that its caller began.
#include <prof/prof.hpp>

__attribute__((visibility("default"))) bool end_profiles(prof::cpu_session& session) {
  const prof::result first = session.stop();
  const prof::result second = prof::stop_cpu_profile();
  return first && second;
}
