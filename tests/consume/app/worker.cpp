// tests/consume/app/worker.cpp - a user's other files: they include the cheap header only.
#include <prof/api.hpp>

#include <cstdlib>

static void* volatile kept;  // volatile: the allocation must not be optimized away

bool work() {
  const prof::label_scope labels{{"part", "worker"}};
  return prof::with_labels({{"stage", "keeping"}}, [] {
    kept = std::malloc(4096);
    return kept != nullptr;
  });
}
