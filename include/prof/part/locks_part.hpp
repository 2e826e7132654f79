// prof/part/locks_part.hpp - the part of prof::mutex and prof::shared_mutex: who waits for them and who lets go, whether
// hooks are there or not; and of contention that code reports itself.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_MUTEX or PROF_ENABLE_BLOCK is on.
// Safety: ordinary context, any thread; as the locks themselves.
// Memory: none of its own.
// Source: collect/locks.hpp, whose slow paths come here; hook/followed_wait.hpp.
#ifndef PROF_PART_LOCKS_PART_HPP
#define PROF_PART_LOCKS_PART_HPP

#include "prof/hook/followed_wait.hpp"

PROF_DETAIL_BEGIN

inline void follow_own_lock_wait(void* lock, std::uint32_t kind, void (*wait)(void*), const call_frame& call) {
  const host_call caller = host_call_sig(call);
  followed_wait followed(static_cast<wait_kind>(kind), lock, caller);
  followed.for_lock_sig();
  followed.begin_sig();
  wait(lock);
  followed.end_sig(true);
}

// `unlock` may be the last that is done with the lock's memory.
inline void follow_own_unlock(void* lock, std::uint64_t sharers, void (*unlock)(void*), const call_frame& call) {
  const host_call caller = host_call_sig(call);
  const delay charge = charge_unlock_sig(address_of(lock), sharers);
  unlock(lock);
  note_unlock_sig(charge, caller);
}

inline void count_reported_contention(std::uint64_t ns, const call_frame& call) {
  mutex_state* const mutex = mutex_while_on_sig();
  const std::uint64_t weight = mutex == nullptr ? 0 : draw_weight_sig(*mutex);
  note_unlock_sig({weight, weight * ns}, host_call_sig(call));
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const lock_part prof_part_locks_v2 = {
    {sizeof(lock_part), 0},
    [](void* lock) { note_taken_sig(lock); },
    &follow_own_lock_wait,
    &follow_own_unlock,
    &count_reported_contention};

PROF_DETAIL_END

#endif  // PROF_PART_LOCKS_PART_HPP
