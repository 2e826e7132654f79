// prof/base/platform.hpp - compiler attributes and the version namespace; nothing about an OS.
// Floor 2 (base). Used by every header above it.
// Safety: declarations only, no code.
// Memory: none.
// Source: GCC manual "Function Attributes", "Common Variable Attributes" (g++ 12, clang 14).
#ifndef PROF_BASE_PLATFORM_HPP
#define PROF_BASE_PLATFORM_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "prof/config.hpp"

// Cold code leaves the hot path's cache lines; noinline keeps its stack use out of a handler.
#define PROF_DETAIL_COLD __attribute__((__cold__, __noinline__))
#define PROF_DETAIL_NOINLINE __attribute__((__noinline__))
#define PROF_DETAIL_INLINE __attribute__((__always_inline__)) inline
#define PROF_DETAIL_LIKELY(x) __builtin_expect(static_cast<bool>(x), 1)
#define PROF_DETAIL_UNLIKELY(x) __builtin_expect(static_cast<bool>(x), 0)

// Whether this file is compiled with exceptions. Only to choose between two names: a function whose
// body depends on it would be two functions of one name in a program that mixes both.
#if defined(__cpp_exceptions)
#define PROF_DETAIL_EXCEPTIONS 1
#else
#define PROF_DETAIL_EXCEPTIONS 0
#endif

// ELF has weak symbols that may stay undefined, and notes.
#if defined(__ELF__)
#define PROF_DETAIL_ELF 1
#else
#define PROF_DETAIL_ELF 0
#endif

// `__thread` and not `thread_local`: constant-initialised by rule of the language extension, so
// no init wrapper is called; initial-exec: reading it never calls __tls_get_addr, which may
// allocate (seen to deadlock other profilers when first touched in a handler).
#define PROF_DETAIL_TLS __thread
#define PROF_DETAIL_TLS_MODEL __attribute__((__tls_model__("initial-exec")))

// Everything private is hidden: each shared object keeps its own code, next-definition pointers
// and thread-local countdowns (shared ones would forward to themselves for ever); what is
// process-wide is reached through the anchor of process/process.hpp instead.
#define PROF_DETAIL_BEGIN      \
  namespace prof {             \
  inline namespace v1 {        \
  namespace detail __attribute__((__visibility__("hidden"))) {
#define PROF_DETAIL_END \
  }                     \
  }                     \
  }

// Public names. Same versioned inline namespace, default visibility.
#define PROF_PUBLIC_BEGIN \
  namespace prof {        \
  inline namespace v1 {
#define PROF_PUBLIC_END \
  }                     \
  }

// A public function, of which each object keeps its own: two snapshots of prof in one process must not take each
// other's. Types keep default visibility, since users' functions may have them as parameters, but for their members
// that go through the table or depend on a type's size.
#define PROF_DETAIL_LOCAL __attribute__((__visibility__("hidden")))

// A hooked symbol. Weak: a definition of the host's own wins and ours is reported dead. The rest
// keeps it one real, exported function: inline ones get inlined into their callers by clang -O2 and
// g++ -flto, and a plugin's call then skips the executable's hook (seen with g++ 12 and clang 14).
#define PROF_DETAIL_HOOKED __attribute__((__weak__, __used__, __noinline__, __visibility__("default")))
// What glibc declares its functions with, of which musl's have nothing.
#if defined(__GLIBC__)
#define PROF_DETAIL_C_NOEXCEPT noexcept
#else
#define PROF_DETAIL_C_NOEXCEPT
#endif
// A symbol that may be absent. Default visibility, since the private namespace is hidden and a
// hidden import could not be satisfied.
#define PROF_DETAIL_WEAK_IMPORT(symbol) \
  __asm__(symbol) __attribute__((__weak__, __visibility__("default")))

// Functions on the signal path end in _sig and carry this: no exceptions pass through them.
#define PROF_DETAIL_SIG noexcept

#endif  // PROF_BASE_PLATFORM_HPP
