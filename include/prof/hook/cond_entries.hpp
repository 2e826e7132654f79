// prof/hook/cond_entries.hpp - what the hooks of condition variables do: wait, and wake.
// Floor 9 (hook). Used by hook/lock.hpp, which defines the symbols.
// Safety: as hook/waiting.hpp; waiting is a cancellation point (pthreads(7)).
// Memory: none.
// Source: pthread_cond_timedwait(3p), pthread_cond_signal(3p). glibc's __pthread_mutex_cond_lock, by which a condition
//         variable takes its mutex again, cannot be hooked: see process/waited_conds.hpp.
#ifndef PROF_HOOK_COND_ENTRIES_HPP
#define PROF_HOOK_COND_ENTRIES_HPP

#include "prof/hook/lock_entries.hpp"

PROF_DETAIL_BEGIN

// They let the mutex go like an unlock, and take it again before they return, whatever they return.
template <class Tag, class... Rest>
struct cond_waiting_entry : waiting_base<Tag, int(os_cond*, os_mutex*, Rest...)> {
  using base = hooked_base<Tag, int(os_cond*, os_mutex*, Rest...)>;
  static const hook_set& set() PROF_DETAIL_SIG { return lock_hooks(); }

  PROF_DETAIL_COLD static int counting(os_cond* cond, os_mutex* mutex, Rest... rest) {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    followed_wait wait(wait_kind::cond, cond, caller);
    wait.for_cond_sig(mutex);
    wait.begin_sig();
    wait.lets_go_sig(let_go_sig(wait, mutex));
    const int answer = base::call_next(cond, mutex, rest...);
    wait.end_sig(answer == 0);
    return answer;
  }

 private:
  static bool let_go_sig(const followed_wait& wait, const os_mutex* lock) PROF_DETAIL_SIG {
    mutex_state* const mutex = wait.mutex();
    if (mutex == nullptr || !os_mutex_unlock_frees_sig(*lock, wait.self().id)) return false;
    const delay charge = charge_unlock_sig(*mutex, address_of(lock), os_monotonic_ns_sig());
    if (charge.contentions != 0 || charge.ns != 0) charge_holder_sig(wait.self(), *mutex, charge, wait.stack());
    return true;
  }
};
struct cond_wait_entry : cond_waiting_entry<cond_wait_entry> {
  PROF_DETAIL_FALLBACK(cond_wait, (os_cond * cond, os_mutex* mutex), (cond, mutex))
};
struct cond_timedwait_entry : cond_waiting_entry<cond_timedwait_entry, const timespec*> {
  PROF_DETAIL_FALLBACK(cond_timedwait, (os_cond * cond, os_mutex* mutex, const timespec* until), (cond, mutex, until))
};
struct cond_clockwait_entry : cond_waiting_entry<cond_clockwait_entry, clockid_t, const timespec*> {
  PROF_DETAIL_FALLBACK(cond_clockwait, (os_cond * cond, os_mutex* mutex, clockid_t clock, const timespec* until),
                       (cond, mutex, clock, until))
};

// Before the waking itself: who is woken waits for the mutex from then on.
template <class Tag, bool All>
struct cond_waking_entry : waiting_base<Tag, int(os_cond*) noexcept> {
  static const hook_set& set() PROF_DETAIL_SIG { return lock_hooks(); }
  static int counting(os_cond* cond) noexcept {
    note_waking_sig(cond);
    return hooked_base<Tag, int(os_cond*) noexcept>::call_next(cond);
  }

 private:
  PROF_DETAIL_COLD static void note_waking_sig(const os_cond* cond) PROF_DETAIL_SIG {
    process_state* const process = attached_process_sig();
    mutex_state* const mutex = process == nullptr ? nullptr : attached_mutex_sig(*process);
    if (mutex == nullptr || mutex->conds.used() == 0) return;
    wake_cond_sig(*process, *mutex, address_of(cond), All, os_cond_waiters_sig(*cond), [](std::uintptr_t lock) PROF_DETAIL_SIG {
      os_mutex copy;  // a waiter that has given up may have taken its mutex away
      return os_copy_sig(&copy, lock, sizeof copy) && os_mutex_is_held_sig(copy);
    });
  }
};
struct cond_signal_entry : cond_waking_entry<cond_signal_entry, false> {
  PROF_DETAIL_FALLBACK(cond_signal, (os_cond * cond) noexcept, (cond))
};
struct cond_broadcast_entry : cond_waking_entry<cond_broadcast_entry, true> {
  PROF_DETAIL_FALLBACK(cond_broadcast, (os_cond * cond) noexcept, (cond))
};

PROF_DETAIL_END

#endif  // PROF_HOOK_COND_ENTRIES_HPP
