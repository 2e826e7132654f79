// What musl_samples.cpp and the library it calls through share.
#ifndef PROF_TESTS_UNWIND_MUSL_SAMPLES_HPP
#define PROF_TESTS_UNWIND_MUSL_SAMPLES_HPP

#define FN extern "C" __attribute__((noinline, visibility("default")))

using work_fn = long(long);
FN long lib_1(work_fn* work, long n);

#endif  // PROF_TESTS_UNWIND_MUSL_SAMPLES_HPP
