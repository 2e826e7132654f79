// prof/hook/wait.hpp - semaphores, barriers, once, and whoever waits at a futex by syscall(2), in the whole program.
// Floor 9 (hook). Defines foreign symbols; what it sees goes to sample/block.hpp.
// Safety: as hook/waiting.hpp.
// Memory: none.
// Source: sem_wait(3), pthread_barrier_wait(3p), pthread_once(3p), futex(2). libstdc++'s std::future and
//         the waits of C++20's atomics, semaphores, latches and barriers, and Abseil's, call libc's syscall() (g++ 12);
//         glibc's own waits use the instruction, so nothing is seen twice.
#ifndef PROF_HOOK_WAIT_HPP
#define PROF_HOOK_WAIT_HPP

#include "prof/hook/waiting.hpp"

PROF_DETAIL_BEGIN

using os_barrier = pthread_barrier_t;
using os_once = pthread_once_t;

// libc's own under second names, for static links: see hook/lock.hpp.
extern "C" int prof_libc_barrier_wait(os_barrier*) PROF_DETAIL_WEAK_IMPORT("__pthread_barrier_wait");
extern "C" int prof_libc_once(os_once*, void (*)()) PROF_DETAIL_WEAK_IMPORT("__pthread_once");
PROF_DETAIL_KEEP(call_once)
PROF_DETAIL_KEEP(mq_notify)

// X(identifier, symbol); the order of status().
#define PROF_DETAIL_WAIT_ENTRIES(X)          \
  X(sem_wait, "sem_wait")                    \
  X(sem_timedwait, "sem_timedwait")          \
  X(sem_clockwait, "sem_clockwait")          \
  X(barrier_wait, "pthread_barrier_wait")    \
  X(once, "pthread_once")                    \
  X(syscall, "syscall")

enum wait_entry_index : int {
#define PROF_DETAIL_ENUM(identifier, symbol) wait_entry_##identifier,
  PROF_DETAIL_WAIT_ENTRIES(PROF_DETAIL_ENUM)
#undef PROF_DETAIL_ENUM
      wait_entry_count
};
static_assert(wait_entry_count <= max_wait_entries);

inline std::atomic<hook_role> wait_role{hook_role::unresolved};
inline std::atomic<std::uint32_t> wait_resolver{0};
inline hook_record wait_records[wait_entry_count] = {
#define PROF_DETAIL_RECORD(identifier, symbol) {symbol, {"unknown"}, {"not called yet"}},
    PROF_DETAIL_WAIT_ENTRIES(PROF_DETAIL_RECORD)
#undef PROF_DETAIL_RECORD
};
const hook_set& wait_hooks() PROF_DETAIL_SIG;

inline int fail_with(int os_error) PROF_DETAIL_SIG {
  errno = os_error;
  return -1;
}
inline int answer_of(int os_error) PROF_DETAIL_SIG { return os_error == 0 ? 0 : fail_with(os_error); }

// ---- the entries ---------------------------------------------------------------------------------------------------

// Waits for the object that is the first argument.
template <class Tag, wait_kind Kind, class Signature>
struct object_wait_entry;
template <class Tag, wait_kind Kind, class Object, class... Rest, bool Nothrow>
struct object_wait_entry<Tag, Kind, int(Object*, Rest...) noexcept(Nothrow)>
    : plain_wait_entry<Tag, int(Object*, Rest...) noexcept(Nothrow)> {
  static constexpr wait_kind kind = Kind;
  static const hook_set& set() PROF_DETAIL_SIG { return wait_hooks(); }
  static const volatile void* object(Object* waited_for, Rest...) PROF_DETAIL_SIG { return waited_for; }
};

template <class Tag, class... Rest>
struct semaphore_entry : object_wait_entry<Tag, wait_kind::semaphore, int(os_semaphore*, Rest...)> {
  static bool may_wait(os_semaphore* semaphore, Rest...) PROF_DETAIL_SIG { return !os_semaphore_is_open_sig(*semaphore); }
};
struct sem_wait_entry : semaphore_entry<sem_wait_entry> {
  static constexpr int index = wait_entry_sem_wait;
  static int fallback(os_semaphore* semaphore) {
    return answer_of(os_semaphore_wait(*semaphore, CLOCK_REALTIME, nullptr));
  }
};
struct sem_timedwait_entry : semaphore_entry<sem_timedwait_entry, const timespec*> {
  static constexpr int index = wait_entry_sem_timedwait;
  static int fallback(os_semaphore* semaphore, const timespec* until) {
    return answer_of(os_semaphore_wait(*semaphore, CLOCK_REALTIME, until));
  }
};
struct sem_clockwait_entry : semaphore_entry<sem_clockwait_entry, clockid_t, const timespec*> {
  static constexpr int index = wait_entry_sem_clockwait;
  static int fallback(os_semaphore* semaphore, clockid_t clock, const timespec* until) {
    return answer_of(os_semaphore_wait(*semaphore, clock, until));
  }
};
struct barrier_wait_entry : object_wait_entry<barrier_wait_entry, wait_kind::barrier, int(os_barrier*) noexcept> {
  static constexpr int index = wait_entry_barrier_wait;
  static bool may_wait(os_barrier* barrier) PROF_DETAIL_SIG { return !os_barrier_is_complete_sig(*barrier); }
  static int fallback(os_barrier* barrier) noexcept {
    return prof_libc_barrier_wait != nullptr ? prof_libc_barrier_wait(barrier) : ENOSYS;
  }
};
// Whoever runs the function is no waiter; who comes meanwhile is, also when it runs the function then because the first one
// threw.
struct once_entry : object_wait_entry<once_entry, wait_kind::once, int(os_once*, void (*)())> {
  static constexpr int index = wait_entry_once;
  static bool may_wait(os_once* once, void (*)()) PROF_DETAIL_SIG { return os_once_is_running_sig(*once); }
  static int fallback(os_once* once, void (*function)()) {
    return prof_libc_once != nullptr ? prof_libc_once(once, function) : ENOSYS;
  }
};

// All arguments that a system call can have go on, whichever the caller gave.
struct syscall_entry : waiting_base<syscall_entry, long(long, long, long, long, long, long, long) noexcept> {
  static constexpr int index = wait_entry_syscall;
  static const hook_set& set() PROF_DETAIL_SIG { return wait_hooks(); }
  static long counting(long number, long a, long b, long c, long d, long e, long f) noexcept {
    if (PROF_DETAIL_LIKELY(!os_is_futex_wait_sig(number, b))) return call_next(number, a, b, c, d, e, f);
    return counting_slow(number, a, b, c, d, e, f);
  }
  PROF_DETAIL_NOINLINE static long counting_slow(long number, long a, long b, long c, long d, long e, long f) noexcept {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<syscall_entry>());
    followed_wait wait(wait_kind::futex, reinterpret_cast<const void*>(a), caller);
    wait.begin_sig();
    const long answer = call_next(number, a, b, c, d, e, f);
    if (answer == -1 && errno == EAGAIN) wait.was_none_sig();  // the word had changed already
    wait.end_sig(true);
    return answer;
  }
  static long fallback(long number, long a, long b, long c, long d, long e, long f) noexcept {
    const long answer = os_call_sig(number, a, b, c, d, e, f);
    return answer < 0 && answer > -4096 ? fail_with(static_cast<int>(-answer)) : answer;
  }
};

// ---- the family ----------------------------------------------------------------------------------------------------

void test_wait_hooks() noexcept;
inline void wait_hooks_rates_changed() noexcept;
extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_family_part prof_hooks_wait_v2 = {
    hook_family_magic, wait_records, wait_entry_count, &test_wait_hooks, &wait_hooks_rates_changed};

PROF_DETAIL_END

#define PROF_DETAIL_WAIT_ROUTE(identifier) \
  ::prof::detail::identifier##_entry::state.route.load(::prof::detail::route_order)

// ---- the symbols. A compiler that quotes one of these lines has met another definition in the same file. -------------

extern "C" {
PROF_DETAIL_HOOKED
int sem_wait(sem_t* semaphore) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_WAIT_ROUTE(sem_wait)(semaphore);
}
PROF_DETAIL_HOOKED
int sem_timedwait(sem_t* semaphore, const timespec* until) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_WAIT_ROUTE(sem_timedwait)(semaphore, until);
}
PROF_DETAIL_HOOKED
int pthread_barrier_wait(pthread_barrier_t* barrier) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_WAIT_ROUTE(barrier_wait)(barrier);
}
PROF_DETAIL_HOOKED
int pthread_once(pthread_once_t* once, void (*function)()) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_WAIT_ROUTE(once)(once, function);
}

// <semaphore.h> says nothing of it before glibc 2.30.
int sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* until);

PROF_DETAIL_HOOKED
int sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* until) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_WAIT_ROUTE(sem_clockwait)(semaphore, clock, until);
}
// By another name, for <unistd.h> declares it with an ellipsis.
PROF_DETAIL_HOOKED
long prof_hooked_syscall(long number, long a, long b, long c, long d, long e, long f) PROF_DETAIL_C_NOEXCEPT __asm__("syscall");
PROF_DETAIL_HOOKED
long prof_hooked_syscall(long number, long a, long b, long c, long d, long e, long f) PROF_DETAIL_C_NOEXCEPT {
  return PROF_DETAIL_WAIT_ROUTE(syscall)(number, a, b, c, d, e, f);
}
}

PROF_DETAIL_BEGIN

inline constexpr hook_entry_facts wait_facts_of_entries[wait_entry_count] = {
    facts_of<sem_wait_entry, &::sem_wait>(for_block),
    facts_of<sem_timedwait_entry, &::sem_timedwait>(for_block),
    facts_of<sem_clockwait_entry, &::sem_clockwait>(for_block),
    facts_of<barrier_wait_entry, &::pthread_barrier_wait>(for_block),
    facts_of<once_entry, &::pthread_once>(for_block),
    facts_of<syscall_entry, &::prof_hooked_syscall>(for_block)};
static_assert(facts_are_in_order(wait_facts_of_entries));
inline constexpr hook_set wait_hook_set = {
    hook_family::wait, &prof_hooks_wait_v2, wait_facts_of_entries, wait_records,
    &wait_role,        &wait_resolver,      wait_entry_count,      nullptr,
    &first_wait_target_sig};
inline const hook_set& wait_hooks() PROF_DETAIL_SIG { return wait_hook_set; }
inline void wait_hooks_rates_changed() noexcept { wait_rates_changed(wait_hooks()); }

// Nothing of this waits: the semaphore is open, the barrier is for one.
inline void call_wait_symbol(int entry) noexcept {
  const timespec past{};
  os_semaphore semaphore;
  os_barrier barrier;
  os_once once = PTHREAD_ONCE_INIT;
  (void)sem_init(&semaphore, 0, 1);
  switch (entry) {
    case wait_entry_sem_wait: (void)sem_wait(&semaphore); break;
    case wait_entry_sem_timedwait: (void)sem_timedwait(&semaphore, &past); break;
    case wait_entry_sem_clockwait: (void)sem_clockwait(&semaphore, CLOCK_REALTIME, &past); break;
    case wait_entry_once: (void)pthread_once(&once, [] {}); break;
    case wait_entry_syscall: (void)syscall(SYS_getpid); break;
    default:
      if (pthread_barrier_init(&barrier, nullptr, 1) == 0) (void)pthread_barrier_wait(&barrier);
  }
}
inline std::atomic<bool> wait_hooks_tested{false};
PROF_DETAIL_COLD inline void test_wait_hooks() noexcept {
  test_wait_hooks_once(wait_hooks(), wait_hooks_tested, &call_wait_symbol);
}

PROF_DETAIL_END

#endif  // PROF_HOOK_WAIT_HPP
