// The functions of workloads.cpp.
#ifndef PROF_TESTS_UNWIND_WORKLOADS_HPP
#define PROF_TESTS_UNWIND_WORKLOADS_HPP

struct workload {
  const char* name;
  void (*run)();
};
extern const workload workloads[];
extern const int workload_count;

#endif  // PROF_TESTS_UNWIND_WORKLOADS_HPP
