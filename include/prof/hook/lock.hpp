// prof/hook/lock.hpp - mutexes, read-write locks and condition variables of the whole program: who waits for which, and
// who lets go.
// Floor 9 (hook). Defines foreign symbols; what it sees goes to sample/mutex.hpp and sample/block.hpp.
// Safety: as hook/waiting.hpp. With both rates 0 each symbol is one jump.
// Memory: none.
// Source: hook/lock_entries.hpp and hook/cond_entries.hpp.
#ifndef PROF_HOOK_LOCK_HPP
#define PROF_HOOK_LOCK_HPP

#include "prof/hook/cond_entries.hpp"

PROF_DETAIL_BEGIN

// ---- the family ----------------------------------------------------------------------------------------------------------

void test_lock_hooks() noexcept;
inline void lock_rates_changed() noexcept;
extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_family_part prof_hooks_lock_v2 = {
    hook_family_magic, lock_records, lock_entry_count, &test_lock_hooks, &lock_rates_changed};

PROF_DETAIL_END

#define PROF_DETAIL_LOCK_ROUTE(identifier) \
  ::prof::detail::identifier##_entry::state.route.load(::prof::detail::route_order)

// ---- the symbols. A compiler that quotes one of these lines has met another definition in the same file. -------------

extern "C" {
PROF_DETAIL_HOOKED
int pthread_mutex_lock(pthread_mutex_t* mutex) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(mutex_lock)(mutex);
}
PROF_DETAIL_HOOKED
int pthread_mutex_trylock(pthread_mutex_t* mutex) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(mutex_trylock)(mutex);
}
PROF_DETAIL_HOOKED
int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(mutex_timedlock)(mutex, until);
}
PROF_DETAIL_HOOKED
int pthread_mutex_unlock(pthread_mutex_t* mutex) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(mutex_unlock)(mutex);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_rdlock(pthread_rwlock_t* lock) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_rdlock)(lock);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_timedrdlock(pthread_rwlock_t* lock, const timespec* until) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_timedrdlock)(lock, until);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_wrlock(pthread_rwlock_t* lock) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_wrlock)(lock);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_timedwrlock(pthread_rwlock_t* lock, const timespec* until) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_timedwrlock)(lock, until);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_tryrdlock(pthread_rwlock_t* lock) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_tryrdlock)(lock);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_trywrlock(pthread_rwlock_t* lock) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_trywrlock)(lock);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_unlock(pthread_rwlock_t* lock) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_unlock)(lock);
}
PROF_DETAIL_HOOKED
int pthread_cond_wait(pthread_cond_t* cond, pthread_mutex_t* mutex) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(cond_wait)(cond, mutex);
}
PROF_DETAIL_HOOKED
int pthread_cond_timedwait(pthread_cond_t* cond, pthread_mutex_t* mutex, const timespec* until) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(cond_timedwait)(cond, mutex, until);
}
PROF_DETAIL_HOOKED
int pthread_cond_signal(pthread_cond_t* cond) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(cond_signal)(cond);
}
PROF_DETAIL_HOOKED
int pthread_cond_broadcast(pthread_cond_t* cond) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(cond_broadcast)(cond);
}

// Of these <pthread.h> says nothing before glibc 2.30.
int pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* until) PROF_DETAIL_C_NOEXCEPT;
int pthread_rwlock_clockrdlock(pthread_rwlock_t* lock, clockid_t clock, const timespec* until) PROF_DETAIL_C_NOEXCEPT;
int pthread_rwlock_clockwrlock(pthread_rwlock_t* lock, clockid_t clock, const timespec* until) PROF_DETAIL_C_NOEXCEPT;
int pthread_cond_clockwait(pthread_cond_t* cond, pthread_mutex_t* mutex, clockid_t clock, const timespec* until);

PROF_DETAIL_HOOKED
int pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* until) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(mutex_clocklock)(mutex, clock, until);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_clockrdlock(pthread_rwlock_t* lock, clockid_t clock, const timespec* until) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_clockrdlock)(lock, clock, until);
}
PROF_DETAIL_HOOKED
int pthread_rwlock_clockwrlock(pthread_rwlock_t* lock, clockid_t clock, const timespec* until) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(rwlock_clockwrlock)(lock, clock, until);
}
PROF_DETAIL_HOOKED
int pthread_cond_clockwait(pthread_cond_t* cond, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_LOCK_ROUTE(cond_clockwait)(cond, mutex, clock, until);
}
}

PROF_DETAIL_BEGIN

inline constexpr hook_entry_facts lock_facts[lock_entry_count] = {
#define PROF_DETAIL_FACTS(identifier, symbol, wanted) facts_of<identifier##_entry, &::pthread_##identifier>(wanted),
    PROF_DETAIL_LOCK_ENTRIES(PROF_DETAIL_FACTS)
#undef PROF_DETAIL_FACTS
};
static_assert(facts_are_in_order(lock_facts));
inline constexpr hook_set lock_hook_set = {
    hook_family::lock, &prof_hooks_lock_v2, lock_facts,       lock_records,
    &lock_role,        &lock_resolver,      lock_entry_count, nullptr,
    &first_wait_target_sig};
inline const hook_set& lock_hooks() PROF_DETAIL_SIG { return lock_hook_set; }

// Hot paths look where this process counts contended locks.
inline void lock_rates_changed() noexcept {
  const process_state* const process = attached_process_sig();
  const mutex_state* const mutex = process == nullptr ? nullptr : attached_mutex_sig(*process);
  if (mutex != nullptr) contended_locks.store(&mutex->locks.used_now());
  wait_rates_changed(lock_hooks());
}

// Nothing of this waits: the locks are free, and a mutex that knows that it is not held lets nobody wait at a condition.
inline void call_mutex_symbol(int entry) noexcept {
  const timespec past{};
  os_mutex mutex = PTHREAD_MUTEX_INITIALIZER;
  switch (entry) {
    case entry_mutex_trylock: (void)pthread_mutex_trylock(&mutex); break;
    case entry_mutex_timedlock: (void)pthread_mutex_timedlock(&mutex, &past); break;
    case entry_mutex_clocklock: (void)pthread_mutex_clocklock(&mutex, CLOCK_REALTIME, &past); break;
    default: (void)pthread_mutex_lock(&mutex);
  }
  (void)pthread_mutex_unlock(&mutex);
}
inline void call_rwlock_symbol(int entry) noexcept {
  const timespec past{};
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  switch (entry) {
    case entry_rwlock_timedrdlock: (void)pthread_rwlock_timedrdlock(&lock, &past); break;
    case entry_rwlock_clockrdlock: (void)pthread_rwlock_clockrdlock(&lock, CLOCK_REALTIME, &past); break;
    case entry_rwlock_tryrdlock: (void)pthread_rwlock_tryrdlock(&lock); break;
    case entry_rwlock_trywrlock: (void)pthread_rwlock_trywrlock(&lock); break;
    case entry_rwlock_wrlock: (void)pthread_rwlock_wrlock(&lock); break;
    case entry_rwlock_timedwrlock: (void)pthread_rwlock_timedwrlock(&lock, &past); break;
    case entry_rwlock_clockwrlock: (void)pthread_rwlock_clockwrlock(&lock, CLOCK_REALTIME, &past); break;
    default: (void)pthread_rwlock_rdlock(&lock);
  }
  (void)pthread_rwlock_unlock(&lock);
}
inline void call_cond_symbol(int entry) noexcept {
  const timespec past{};
  os_mutex mutex = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
  os_cond cond = PTHREAD_COND_INITIALIZER;
  switch (entry) {
    case entry_cond_wait: (void)pthread_cond_wait(&cond, &mutex); break;
    case entry_cond_timedwait: (void)pthread_cond_timedwait(&cond, &mutex, &past); break;
    case entry_cond_clockwait: (void)pthread_cond_clockwait(&cond, &mutex, CLOCK_REALTIME, &past); break;
    case entry_cond_signal: (void)pthread_cond_signal(&cond); break;
    default: (void)pthread_cond_broadcast(&cond);
  }
}
inline std::atomic<bool> lock_hooks_tested{false};
PROF_DETAIL_COLD inline void test_lock_hooks() noexcept {
  test_wait_hooks_once(lock_hooks(), lock_hooks_tested, [](int entry) {
    if (entry >= entry_cond_wait) call_cond_symbol(entry);
    else if (entry >= entry_rwlock_rdlock) call_rwlock_symbol(entry);
    else call_mutex_symbol(entry);
  });
}

PROF_DETAIL_END

#endif  // PROF_HOOK_LOCK_HPP
