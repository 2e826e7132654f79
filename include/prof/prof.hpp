// prof/prof.hpp - the whole of prof: profiles of a running C++ program for go tool pprof and others.
// Floor 14 (facade). Include it anywhere, any number of times; link with -pthread (and -ldl before
//           glibc 2.34).
// Safety: see each header; nothing throws, prints or aborts, and no constructor runs before main.
// Memory: address space on first use, touched on demand.
// Source: README.md for users, include/prof/README.md for the map of the house.
#ifndef PROF_PROF_HPP
#define PROF_PROF_HPP

#include "prof/api.hpp"
#include "prof/collect/api_functions.hpp"
#include "prof/config.hpp"
// Here, because parts under different switches need them.
#include "prof/process/profile_builder.hpp"
#include "prof/process/sampling_signal.hpp"
#include "prof/write/text.hpp"

#if PROF_DETAIL_WITH_WAITS
#include "prof/sample/block.hpp"
#include "prof/sample/mutex.hpp"
#include "prof/hook/followed_wait.hpp"
#endif

#if PROF_DETAIL_WITH_CPU
#include "prof/part/cpu_part.hpp"
#endif

#if PROF_DETAIL_WITH_HEAP
#include "prof/part/heap_part.hpp"
#endif

#if PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_LOCKS
#include "prof/part/locks_part.hpp"
#endif

#if PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_MUTEX
#include "prof/part/mutex_part.hpp"
#endif

#if PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_BLOCK
#include "prof/part/block_part.hpp"
#endif

#if PROF_DETAIL_WITH_THREADS
#include "prof/part/threads_part.hpp"
#endif

#if PROF_DETAIL_WITH_SYMBOLIZE
#include "prof/part/symbolize_part.hpp"
#endif

#if PROF_DETAIL_WITH_HTTP
#include "prof/http/routes.hpp"
#endif

// The only foreign symbols, and only where the OS is known.
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE
#include "prof/hook/entry.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_WITH_HEAP
#include "prof/hook/heap_family.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_WITH_STARTS
#include "prof/hook/thread.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_OS_LOCKS && PROF_DETAIL_WITH_WAITS
#include "prof/hook/waiting.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_OS_LOCKS && PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_LOCKS
#include "prof/hook/lock.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_OS_LOCKS && PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_BLOCK
#include "prof/hook/wait.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_OS_LOCKS && PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_BLOCK_SYSCALLS
#include "prof/hook/blocking.hpp"
#endif
#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_WITH_INTERPOSE && PROF_DETAIL_OS_LOCKS && PROF_DETAIL_WITH_WAITS && PROF_DETAIL_WITH_JOINS
#include "prof/hook/join.hpp"
#endif

#endif  // PROF_PROF_HPP
