// prof/config.hpp - every input macro of prof: default, meaning, validation; and the version.
// Floor 1. The only header that reads PROF_ENABLE_* and PROF_HOOKS; everyone else tests the
//          PROF_DETAIL_WITH_* facts derived here (always 0 or 1).
// Safety: preprocessor only, no code.
// Memory: none.
// Source: design rule "what is off costs nothing; mixing switches between files is legal and the
//         union wins". A switch selects which parts a file brings; no class and no function has
//         tokens that depend on one, so two files with different switches never break the ODR.
#ifndef PROF_CONFIG_HPP
#define PROF_CONFIG_HPP

#define PROF_VERSION_MAJOR 0
#define PROF_VERSION_MINOR 1
#define PROF_VERSION_PATCH 0
// major * 1000000 + minor * 1000 + patch, usable in #if.
#define PROF_VERSION \
  (PROF_VERSION_MAJOR * 1000000 + PROF_VERSION_MINOR * 1000 + PROF_VERSION_PATCH)

// PROF_REQUIRE_VERSION (a PROF_VERSION value): refuse to compile with an older header.
#ifdef PROF_REQUIRE_VERSION
#if PROF_VERSION < PROF_REQUIRE_VERSION
#error "prof: this prof.hpp is older than PROF_REQUIRE_VERSION asks for; update the vendored header"
#endif
#endif

// A switch defined empty or 1 is on (2 below), 0 is off (1 below), anything else is refused (0).
// Token pasting, because `#if X` cannot tell an empty X from 0.
#define PROF_DETAIL_CAT_(a, b) a##b
#define PROF_DETAIL_CAT(a, b) PROF_DETAIL_CAT_(a, b)
#define PROF_DETAIL_SWITCH_ 2
#define PROF_DETAIL_SWITCH_1 2
#define PROF_DETAIL_SWITCH_0 1
// Pasted here and not by PROF_DETAIL_CAT, which would first expand PROF_DETAIL_SWITCH_ itself.
#define PROF_DETAIL_SWITCH_OF(x) PROF_DETAIL_SWITCH_##x
#define PROF_DETAIL_SWITCH(x) PROF_DETAIL_SWITCH_OF(x)

// ---- switches of parts that exist ----------------------------------------------------------

// PROF_ENABLE_CPU (default 1): CPU sampling; emits the pthread_create hook so that every thread
// that appears is sampled.
#ifndef PROF_ENABLE_CPU
#define PROF_ENABLE_CPU 1
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_CPU) == 0
#error "PROF_ENABLE_CPU must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_HEAP (default 1): heap and allocs profiles; emits the malloc-family hooks.
#ifndef PROF_ENABLE_HEAP
#define PROF_ENABLE_HEAP 1
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_HEAP) == 0
#error "PROF_ENABLE_HEAP must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_MUTEX (default 1): mutex profile; emits the hooks of locks and condition variables.
#ifndef PROF_ENABLE_MUTEX
#define PROF_ENABLE_MUTEX 1
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_MUTEX) == 0
#error "PROF_ENABLE_MUTEX must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_BLOCK (default 1): block profile; emits the hooks of locks, condition variables and other waits, and that
// of syscall(), for futexes.
#ifndef PROF_ENABLE_BLOCK
#define PROF_ENABLE_BLOCK 1
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_BLOCK) == 0
#error "PROF_ENABLE_BLOCK must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_BLOCK_SYSCALLS (default 0): the block profile sees sleeps, polls, blocking reads and accepts, too; emits their
// hooks, of some twenty foreign symbols. Without PROF_ENABLE_BLOCK it means nothing.
#ifndef PROF_ENABLE_BLOCK_SYSCALLS
#define PROF_ENABLE_BLOCK_SYSCALLS 0
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_BLOCK_SYSCALLS) == 0
#error "PROF_ENABLE_BLOCK_SYSCALLS must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_THREADS (default 1): stacks of all threads (alias "goroutine"), threadcreate; emits the hooks of
// pthread_create, pthread_join and pthread_detach.
#ifndef PROF_ENABLE_THREADS
#define PROF_ENABLE_THREADS 1
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_THREADS) == 0
#error "PROF_ENABLE_THREADS must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_HTTP (default 0): the socket server, prof::http::serve.
#ifndef PROF_ENABLE_HTTP
#define PROF_ENABLE_HTTP 0
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_HTTP) == 0
#error "PROF_ENABLE_HTTP must be empty or 1 (on) or 0 (off)"
#endif

// PROF_ENABLE_SYMBOLIZE (default 1): in-process function names; off = addresses and build ids.
#ifndef PROF_ENABLE_SYMBOLIZE
#define PROF_ENABLE_SYMBOLIZE 1
#endif
#if PROF_DETAIL_SWITCH(PROF_ENABLE_SYMBOLIZE) == 0
#error "PROF_ENABLE_SYMBOLIZE must be empty or 1 (on) or 0 (off)"
#endif

// ---- switches of parts that this version does not have -------------------------------------
// They count as off when not set; set to on they are an error, so that none of them lies.

// PROF_ENABLE_TRACE: execution trace.
#ifdef PROF_ENABLE_TRACE
#if PROF_DETAIL_SWITCH(PROF_ENABLE_TRACE) != 1
#error "PROF_ENABLE_TRACE: not available in this version"
#endif
#endif
// PROF_ENABLE_UI: in-browser flame graph.
#ifdef PROF_ENABLE_UI
#if PROF_DETAIL_SWITCH(PROF_ENABLE_UI) != 1
#error "PROF_ENABLE_UI: not available in this version"
#endif
#endif
// PROF_ENABLE_METRICS: Prometheus text.
#ifdef PROF_ENABLE_METRICS
#if PROF_DETAIL_SWITCH(PROF_ENABLE_METRICS) != 1
#error "PROF_ENABLE_METRICS: not available in this version"
#endif
#endif
// PROF_ENABLE_PUSH: continuous push and the rotating recorder.
#ifdef PROF_ENABLE_PUSH
#if PROF_DETAIL_SWITCH(PROF_ENABLE_PUSH) != 1
#error "PROF_ENABLE_PUSH: not available in this version"
#endif
#endif
// PROF_ENABLE_ENV: start from PROF_* environment variables.
#ifdef PROF_ENABLE_ENV
#if PROF_DETAIL_SWITCH(PROF_ENABLE_ENV) != 1
#error "PROF_ENABLE_ENV: not available in this version"
#endif
#endif

// ---- hook style ------------------------------------------------------------------------------

// PROF_HOOKS (default interpose): how foreign functions are hooked. `interpose` defines the
// symbols (malloc, operator new, pthread_create); `none` emits no foreign symbol at all, only
// record_alloc and record_free feed the heap profile and only threads that exist when a CPU
// profile starts are sampled. `wrap` (link-time --wrap) is not in this version.
#ifndef PROF_HOOKS
#define PROF_HOOKS interpose
#endif
#define PROF_DETAIL_HOOKS_interpose 1
#define PROF_DETAIL_HOOKS_wrap 2
#define PROF_DETAIL_HOOKS_none 3
#define PROF_DETAIL_HOOKS PROF_DETAIL_CAT(PROF_DETAIL_HOOKS_, PROF_HOOKS)
#if PROF_DETAIL_HOOKS == 2
#error "PROF_HOOKS=wrap: not available in this version"
#elif PROF_DETAIL_HOOKS != 1 && PROF_DETAIL_HOOKS != 3
#error "PROF_HOOKS must be interpose, wrap or none"
#endif

// ---- derived facts ---------------------------------------------------------------------------

#define PROF_DETAIL_WITH_CPU (PROF_DETAIL_SWITCH(PROF_ENABLE_CPU) - 1)
#define PROF_DETAIL_WITH_HEAP (PROF_DETAIL_SWITCH(PROF_ENABLE_HEAP) - 1)
#define PROF_DETAIL_WITH_MUTEX (PROF_DETAIL_SWITCH(PROF_ENABLE_MUTEX) - 1)
#define PROF_DETAIL_WITH_BLOCK (PROF_DETAIL_SWITCH(PROF_ENABLE_BLOCK) - 1)
#define PROF_DETAIL_WITH_BLOCK_SYSCALLS (PROF_DETAIL_WITH_BLOCK && PROF_DETAIL_SWITCH(PROF_ENABLE_BLOCK_SYSCALLS) - 1)
#define PROF_DETAIL_WITH_THREADS (PROF_DETAIL_SWITCH(PROF_ENABLE_THREADS) - 1)
// What several of them need: hooks of thread starts, of locks, of joins; samplers of waits.
#define PROF_DETAIL_WITH_STARTS (PROF_DETAIL_WITH_CPU || PROF_DETAIL_WITH_THREADS)
#define PROF_DETAIL_WITH_LOCKS (PROF_DETAIL_WITH_MUTEX || PROF_DETAIL_WITH_BLOCK)
#define PROF_DETAIL_WITH_JOINS (PROF_DETAIL_WITH_BLOCK || PROF_DETAIL_WITH_THREADS)
#define PROF_DETAIL_WITH_WAITS (PROF_DETAIL_WITH_LOCKS || PROF_DETAIL_WITH_THREADS)
#define PROF_DETAIL_WITH_HTTP (PROF_DETAIL_SWITCH(PROF_ENABLE_HTTP) - 1)
#define PROF_DETAIL_WITH_SYMBOLIZE (PROF_DETAIL_SWITCH(PROF_ENABLE_SYMBOLIZE) - 1)

// Sanitizer runtimes replace malloc and pthread_create themselves, and must come first: in such a
// file nothing is interposed. CPU profiles still work for threads that exist at their start.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PROF_DETAIL_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define PROF_DETAIL_SANITIZED 1
#else
#define PROF_DETAIL_SANITIZED 0
#endif
#else
#define PROF_DETAIL_SANITIZED 0
#endif

#define PROF_DETAIL_WITH_INTERPOSE (PROF_DETAIL_HOOKS == 1 && PROF_DETAIL_SANITIZED == 0)

#endif  // PROF_CONFIG_HPP
