// The functions of workloads.cpp and regexes.cpp.
#ifndef PROF_TESTS_UNWIND_WORKLOADS_HPP
#define PROF_TESTS_UNWIND_WORKLOADS_HPP

struct workload {
  const char* name;
  void (*run)();
  bool warm;  // run once before, so that no step goes into what happens at the first call only
};
extern const workload workloads[];
extern const int workload_count;

void regexes();

#endif  // PROF_TESTS_UNWIND_WORKLOADS_HPP
