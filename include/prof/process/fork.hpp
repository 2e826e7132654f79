// prof/process/fork.hpp - what a fork leaves behind: a forked child has one thread, no timers and no sessions, and locks
// that other threads of its parent held are held by nobody.
// Floor 7 (process). forget_parent is entered by every public call; the handlers are registered by enter.hpp.
// Safety: ordinary context, and the handlers of pthread_atfork(3).
// Memory: none.
// Source: fork(2), pthread_atfork(3); glibc 2.36 posix/fork.c.
#ifndef PROF_PROCESS_FORK_HPP
#define PROF_PROCESS_FORK_HPP

#include "prof/process/attach.hpp"
#include "prof/process/own_code.hpp"

PROF_DETAIL_BEGIN

// What a thread of this process holds for a moment, and a thread that the fork left behind holds for
// ever. Right after the fork (`alone`) it is certainly the latter; later it is, when it is still
// held after 100 ms.
template <class Held>
inline void outwait(bool alone, Held held) noexcept {
  for (int i = 0; !alone && i < 100 && held(); ++i) os_sleep_ns(1000000);
}
inline void release_lock(spin_lock& lock, bool alone) noexcept {
  outwait(alone, [&] { return lock.held(); });
  lock.unlock();
}

// One entry for each part of the list, in its order.
inline constexpr bool brings_profiles[] = {
#define PROF_DETAIL_PART(identifier, type, needs, names) std::is_same_v<type, profile_part>,
    PROF_DETAIL_PARTS(PROF_DETAIL_PART)
#undef PROF_DETAIL_PART
};
inline bool is_profile_part(unsigned which) noexcept {
  return which >= part_count || brings_profiles[which];  // beyond the list: registered at run time
}

// A part that brings profiles, as any object brought it to the process; null: there is none at this place.
inline const profile_part* profile_part_at(const process_state& process, unsigned which) noexcept {
  return is_profile_part(which) ? find_part_sig<profile_part>(process, static_cast<part>(which)) : nullptr;
}

// Undoes what other threads of the parent were doing at the fork.
inline void release_parent(process_state& process, bool alone) noexcept {
  release_lock(process.refresh_lock, alone);
  process.signal.lock.unlock();
  process.forks.store(0);
  process.forks_hold_refresh.store(false);
  for (registration_scratch& scratch : process.registry.scratch) release_lock(scratch.lock, alone);
  process.code_readers.store(0);
  process.unnamed_session.store(nullptr);
  const auto is_free = [](frame_buffer& buffer) { return buffer.taken.load() == 0; };
  outwait(alone, [&] { return !process.buffers.for_each(is_free); });
  process.buffers.for_each([](frame_buffer& buffer) {
    if (buffer.taken.load() != 0) buffer.taken.store(0);  // not to touch all their pages in every child
    return true;
  });
  process.waits.forget_all();
  const std::uint32_t thread = os_thread_id_sig();
  const std::uint32_t before = process.threads.keep_forking(thread);
  // 0: nobody saw the fork, and which gaps are this thread's is not known. The others' go when room is needed.
  if (before != 0) process.gaps.keep_thread(before, thread);
  for (hook_owner& family : process.hooks) {
    const hook_family_part* unfinished = unloading_hooks();
    family.owner.compare_exchange_strong(unfinished, nullptr);
  }
  for (unsigned i = 0; i < max_parts; ++i) {
    const profile_part* const known = profile_part_at(process, i);
    if (known != nullptr && known->forget_parent != nullptr) known->forget_parent(process, alone);
  }
  const auto* const names = find_part_sig<symbolize_part>(process, part::symbolize);
  if (names != nullptr) names->forget_parent(process, alone);
}

// Runs when fork returns in the child (`alone`) if the parent has made a public call, else in the first public call of
// the child; others wait for it.
inline void forget_parent(process_state& process, bool alone = false) noexcept {
  constexpr std::uint32_t at_it = std::uint32_t{1} << 31;  // a pid has at most 22 bits
  const std::uint32_t pid = os_process_id_sig();
  std::uint32_t seen = process.pid.load(std::memory_order_acquire);
  while (seen != pid) {
    if (seen != (pid | at_it) && process.pid.compare_exchange_strong(seen, pid | at_it)) break;
    os_yield();
    seen = process.pid.load(std::memory_order_acquire);
  }
  if (seen == pid) return;
  release_parent(process, alone);
  process.pid.store(pid, std::memory_order_release);
}

// ---- the handlers. Every object runs them; the first one acts. ---------------------------------------------------

// No fork while a refresh holds the loader's lock: glibc (2.36, posix/fork.c) leaves dl_load_write_lock as
// it is, so it would be held in the child for ever.
inline void wait_for_refresh_before_fork() noexcept {
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  thread_state* const thread = this_thread_sig(*process);
  if (thread != nullptr) thread->forking.store(true);
  if (process->forks.fetch_add(1) != 0) return;
  for (int i = 0; i < 1000; ++i) {
    if (process->refresh_lock.try_lock()) return process->forks_hold_refresh.store(true);
    os_sleep_ns(1000000);
  }
}
inline void allow_refresh_after_fork() noexcept {
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  thread_state* const thread = process->threads.find_sig(os_thread_id_sig());
  if (thread != nullptr) thread->forking.store(false);
  if (process->forks.fetch_sub(1) != 1) return;
  if (process->forks_hold_refresh.exchange(false)) process->refresh_lock.unlock();
}
inline void forget_parent_at_fork() noexcept {
  process_state* const process = attached_process_sig();
  if (process != nullptr) forget_parent(*process, true);
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_FORK_HPP
