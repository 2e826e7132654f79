// tests/e2e/programs/annotate_work.hpp - what each place of test_annotate.py does.
#ifndef ANNOTATE_WORK_HPP
#define ANNOTATE_WORK_HPP

#include <prof/annotate.hpp>

#include <cstdlib>
#include <ctime>

inline double cpu_seconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// 300 ms of CPU time, 10 explicit records of 1000 bytes each, 4 of them freed, and 5 mallocs of 3000
// bytes, all labelled with the place; half of the mallocs within an inner scope.
inline void work_at(const char* place) {
  static char objects[10];
  void* volatile kept = nullptr;
  const prof::label_scope outer{{"place", place}, {"stage", "outer"}};
  const double begin = cpu_seconds();
  while (cpu_seconds() - begin < 0.3) {
  }
  for (char& object : objects) prof::record_alloc(&object, 1000);
  for (int i = 0; i < 4; ++i) prof::record_free(&objects[i]);
  for (int i = 0; i < 3; ++i) kept = std::malloc(3000);
  prof::with_labels({{"stage", "inner"}}, [&] {
    for (int i = 0; i < 2; ++i) kept = std::malloc(3000);
  });
  (void)kept;
}

#endif
