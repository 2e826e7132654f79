// tests/unit/children.hpp - what a forked child of a test may do.
#pragma once

#if defined(__has_feature)
#define PROF_TEST_HAS_FEATURE(name) __has_feature(name)
#else
#define PROF_TEST_HAS_FEATURE(name) 0
#endif

// ThreadSanitizer ends a forked child that starts a thread (die_after_fork).
#if defined(__SANITIZE_THREAD__) || PROF_TEST_HAS_FEATURE(thread_sanitizer)
constexpr bool child_may_start_threads = false;
#else
constexpr bool child_may_start_threads = true;
#endif

// A sanitizer maps memory of its own whenever it likes.
#if defined(__SANITIZE_ADDRESS__) || PROF_TEST_HAS_FEATURE(address_sanitizer)
constexpr bool child_may_be_without_memory = false;
#else
constexpr bool child_may_be_without_memory = child_may_start_threads;
#endif
