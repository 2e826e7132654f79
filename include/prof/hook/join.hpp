// prof/hook/join.hpp - joining and detaching of threads in the whole program: who waits for a thread's end, and which
// ended threads nobody has joined.
// Floor 9 (hook). Defines foreign symbols; what it sees goes to sample/block.hpp and to the parts that follow threads.
// Safety: as hook/waiting.hpp.
// Memory: none.
// Source: pthread_join(3), pthread_tryjoin_np(3), pthread_detach(3). std::thread's join and detach come here.
#ifndef PROF_HOOK_JOIN_HPP
#define PROF_HOOK_JOIN_HPP

#include "prof/hook/waiting.hpp"

PROF_DETAIL_BEGIN

// libc's own under second names, for static links: see hook/lock.hpp.
extern "C" int prof_libc_join(pthread_t, void**) PROF_DETAIL_WEAK_IMPORT("__pthread_join");
extern "C" int prof_libc_join_until(pthread_t, void**, clockid_t, const timespec*, bool)
    PROF_DETAIL_WEAK_IMPORT("__pthread_clockjoin_ex");
extern "C" int prof_libc_detach(pthread_t) PROF_DETAIL_WEAK_IMPORT("__pthread_detach");
#if !PROF_DETAIL_GLIBC_BEFORE(28)
PROF_DETAIL_KEEP(thrd_join)
PROF_DETAIL_KEEP(thrd_detach)
#endif

// X(identifier, symbol); the order of status().
#define PROF_DETAIL_JOIN_ENTRIES(X)      \
  X(join, "pthread_join")                \
  X(tryjoin, "pthread_tryjoin_np")       \
  X(timedjoin, "pthread_timedjoin_np")   \
  X(clockjoin, "pthread_clockjoin_np")   \
  X(detach, "pthread_detach")

enum join_entry_index : int {
#define PROF_DETAIL_ENUM(identifier, symbol) join_entry_##identifier,
  PROF_DETAIL_JOIN_ENTRIES(PROF_DETAIL_ENUM)
#undef PROF_DETAIL_ENUM
      join_entry_count
};
static_assert(join_entry_count <= max_wait_entries);

inline std::atomic<hook_role> join_role{hook_role::unresolved};
inline std::atomic<std::uint32_t> join_resolver{0};
inline hook_record join_records[join_entry_count] = {
#define PROF_DETAIL_RECORD(identifier, symbol) {symbol, {"unknown"}, {"not called yet"}},
    PROF_DETAIL_JOIN_ENTRIES(PROF_DETAIL_RECORD)
#undef PROF_DETAIL_RECORD
};
const hook_set& join_hooks() PROF_DETAIL_SIG;

// ---- the entries ---------------------------------------------------------------------------------------------------

inline std::uintptr_t handle_of(pthread_t thread) PROF_DETAIL_SIG {
  std::uintptr_t handle = 0;
  std::memcpy(&handle, &thread, sizeof handle);
  return handle;
}
// Told before a join and behind it, when another thread may have the same pthread_t already.
inline std::uint64_t tell_join_begins(pthread_t thread) {
  std::uint64_t known = 0;
  process_state* const process = attached_process_sig();
  if (process == nullptr) return 0;
  for_each_thread_part(*process, [&](const profile_part& part) {
    if (part.join_begins != nullptr) known = part.join_begins(*process, handle_of(thread));
  });
  return known;
}
inline void tell_join_ends(pthread_t thread, std::uint64_t known, bool is_joined) {
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  for_each_thread_part(*process, [&](const profile_part& part) {
    if (part.join_ends != nullptr) part.join_ends(*process, handle_of(thread), known, is_joined);
  });
}
inline void tell_detached(pthread_t thread) {
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  for_each_thread_part(*process, [&](const profile_part& known) {
    if (known.thread_detached != nullptr) known.thread_detached(*process, handle_of(thread));
  });
}

// Waits until the thread has ended.
template <class Tag, class... Rest>
struct joining_entry : waiting_base<Tag, int(pthread_t, Rest...)> {
  using base = hooked_base<Tag, int(pthread_t, Rest...)>;
  static const hook_set& set() PROF_DETAIL_SIG { return join_hooks(); }
  PROF_DETAIL_COLD static int counting(pthread_t thread, Rest... rest) {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    followed_wait wait(wait_kind::join, reinterpret_cast<const void*>(handle_of(thread)), caller);
    const std::uint64_t known = tell_join_begins(thread);
    wait.begin_sig();
    const int answer = base::call_next(thread, rest...);
    wait.end_sig(true);
    tell_join_ends(thread, known, answer == 0);
    return answer;
  }
};
inline int join_until(pthread_t thread, void** answer, clockid_t clock, const timespec* until) {
  return prof_libc_join_until != nullptr ? prof_libc_join_until(thread, answer, clock, until, true) : ENOSYS;
}
struct join_entry : joining_entry<join_entry, void**> {
  static constexpr int index = join_entry_join;
  static int fallback(pthread_t thread, void** answer) {
    return prof_libc_join != nullptr ? prof_libc_join(thread, answer) : ENOSYS;
  }
};
struct timedjoin_entry : joining_entry<timedjoin_entry, void**, const timespec*> {
  static constexpr int index = join_entry_timedjoin;
  static int fallback(pthread_t thread, void** answer, const timespec* until) {
    return join_until(thread, answer, CLOCK_REALTIME, until);
  }
};
struct clockjoin_entry : joining_entry<clockjoin_entry, void**, clockid_t, const timespec*> {
  static constexpr int index = join_entry_clockjoin;
  static int fallback(pthread_t thread, void** answer, clockid_t clock, const timespec* until) {
    const bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
    return is_known ? join_until(thread, answer, clock, until) : EINVAL;
  }
};

struct tryjoin_entry : waiting_base<tryjoin_entry, int(pthread_t, void**) noexcept> {
  static constexpr int index = join_entry_tryjoin;
  static const hook_set& set() PROF_DETAIL_SIG { return join_hooks(); }
  static int counting(pthread_t thread, void** answer) noexcept {
    const std::uint64_t known = tell_join_begins(thread);
    const int joined = call_next(thread, answer);
    tell_join_ends(thread, known, joined == 0);
    return joined;
  }
  static int fallback(pthread_t thread, void** answer) noexcept {
    const timespec past{};
    const int joined = join_until(thread, answer, CLOCK_REALTIME, &past);
    return joined == 0 || joined == ENOSYS ? joined : EBUSY;  // libc looks first whether the thread runs
  }
};
struct detach_entry : waiting_base<detach_entry, int(pthread_t) noexcept> {
  static constexpr int index = join_entry_detach;
  static const hook_set& set() PROF_DETAIL_SIG { return join_hooks(); }
  static int while_resolving(pthread_t thread) noexcept {
    return probed_sig(set(), index) ? 0 : call_next(thread);
  }
  // Told first: a thread that has ended is gone behind the call.
  static int counting(pthread_t thread) noexcept {
    tell_detached(thread);
    return call_next(thread);
  }
  static int fallback(pthread_t thread) noexcept {
    return prof_libc_detach != nullptr ? prof_libc_detach(thread) : ENOSYS;
  }
};

// ---- the family ----------------------------------------------------------------------------------------------------

void test_join_hooks() noexcept;
inline void join_rates_changed() noexcept;
extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_family_part prof_hooks_join_v2 = {
    hook_family_magic, join_records, join_entry_count, &test_join_hooks, &join_rates_changed};

PROF_DETAIL_END

#define PROF_DETAIL_JOIN_ROUTE(identifier) \
  ::prof::detail::identifier##_entry::state.route.load(::prof::detail::route_order)

// ---- the symbols. A compiler that quotes one of these lines has met another definition in the same file. -------------

extern "C" {
// These are GNU's, and newer than some glibcs.
int pthread_tryjoin_np(pthread_t thread, void** answer) PROF_DETAIL_C_NOEXCEPT;
int pthread_timedjoin_np(pthread_t thread, void** answer, const timespec* until);
int pthread_clockjoin_np(pthread_t thread, void** answer, clockid_t clock, const timespec* until);

PROF_DETAIL_HOOKED
int pthread_join(pthread_t thread, void** answer) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_JOIN_ROUTE(join)(thread, answer);
}
PROF_DETAIL_HOOKED
int pthread_tryjoin_np(pthread_t thread, void** answer) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_JOIN_ROUTE(tryjoin)(thread, answer);
}
PROF_DETAIL_HOOKED
int pthread_timedjoin_np(pthread_t thread, void** answer, const timespec* until) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_JOIN_ROUTE(timedjoin)(thread, answer, until);
}
PROF_DETAIL_HOOKED
int pthread_clockjoin_np(pthread_t thread, void** answer, clockid_t clock, const timespec* until) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_JOIN_ROUTE(clockjoin)(thread, answer, clock, until);
}
PROF_DETAIL_HOOKED
int pthread_detach(pthread_t thread) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_JOIN_ROUTE(detach)(thread);
}
}

PROF_DETAIL_BEGIN

inline constexpr hook_entry_facts join_facts[join_entry_count] = {
    facts_of<join_entry, &::pthread_join>(for_block | for_threads),
    facts_of<tryjoin_entry, &::pthread_tryjoin_np>(for_threads),
    facts_of<timedjoin_entry, &::pthread_timedjoin_np>(for_block | for_threads),
    facts_of<clockjoin_entry, &::pthread_clockjoin_np>(for_block | for_threads),
    facts_of<detach_entry, &::pthread_detach>(for_threads)};
static_assert(facts_are_in_order(join_facts));
inline constexpr hook_set join_hook_set = {
    hook_family::join, &prof_hooks_join_v2, join_facts,       join_records,
    &join_role,        &join_resolver,      join_entry_count, nullptr,
    &first_wait_target_sig};
inline const hook_set& join_hooks() PROF_DETAIL_SIG { return join_hook_set; }
inline void join_rates_changed() noexcept { wait_rates_changed(join_hooks()); }

// Nobody can join itself, and is told so at once. Nothing is detached: where joins come to our hook, that does, too, and
// goes no further.
inline void call_join_symbol(int entry) noexcept {
  const timespec past{};
  const pthread_t self = pthread_self();
  switch (entry) {
    case join_entry_tryjoin: (void)pthread_tryjoin_np(self, nullptr); break;
    case join_entry_timedjoin: (void)pthread_timedjoin_np(self, nullptr, &past); break;
    case join_entry_clockjoin: (void)pthread_clockjoin_np(self, nullptr, CLOCK_REALTIME, &past); break;
    case join_entry_detach:
      if (join_records[join_entry_join].state.load()[0] == 'l') (void)pthread_detach(self);
      break;
    default: (void)pthread_join(self, nullptr);
  }
}
inline std::atomic<bool> join_hooks_tested{false};
PROF_DETAIL_COLD inline void test_join_hooks() noexcept {
  test_wait_hooks_once(join_hooks(), join_hooks_tested, &call_join_symbol);
}

PROF_DETAIL_END

#endif  // PROF_HOOK_JOIN_HPP
