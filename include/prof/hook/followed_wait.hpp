// prof/hook/followed_wait.hpp - one wait from its begin to its end, and one unlock: what is noted around the calls
// themselves.
// Floor 9 (hook). Used by the hooks of waiting calls and by part/locks_part.hpp; defines no symbol.
// Safety: runs inside whatever waits, also inside a host's malloc: no allocation, no lock, errno is kept. A wait may be left
//         by a cancelled thread's unwinding or by longjmp(3): see is_left_sig.
// Memory: none; some 250 bytes of stack while a thread waits.
// Source: pthreads(7), "Cancellation points"; pthread_cleanup_push(3) on leaving by longjmp.
#ifndef PROF_HOOK_FOLLOWED_WAIT_HPP
#define PROF_HOOK_FOLLOWED_WAIT_HPP

#include "prof/process/capture.hpp"
#include "prof/sample/block.hpp"
#include "prof/sample/mutex.hpp"

PROF_DETAIL_BEGIN

inline std::uintptr_t address_of(const volatile void* object) PROF_DETAIL_SIG {
  return reinterpret_cast<std::uintptr_t>(object);
}

// The calling thread, as waits need it; process null: its waits are not followed.
struct waiting_thread {
  process_state* process = nullptr;
  std::uint32_t id = 0;
  label_set_id labels = no_labels;
};
inline waiting_thread this_waiting_thread_sig() PROF_DETAIL_SIG {
  waiting_thread self;
  self.id = os_thread_id_sig();
  self.process = attached_process_sig();
  thread_state* const known = self.process == nullptr ? nullptr : self.process->threads.find_sig(self.id);
  if (known == nullptr) return self;
  self.labels = known->labels.load(std::memory_order_relaxed);
  if (known->own_code.load(std::memory_order_relaxed) != 0) self.process = nullptr;
  return self;
}

inline stack_id capture_wait_sig(const waiting_thread& self, const host_call& caller) PROF_DETAIL_SIG {
  first_code_map_sig(*self.process);
  return capture_call_sig(*self.process, self.id, caller);
}

// Whether the calling thread has left another wait of its own without coming back to its hook, by longjmp(3) or by
// unwinding that our frame has no clean-up for: the mark in that hook's frame is gone, or lies where the stack has ended
// by now. A handler that waits on a stack of its own has not left what it interrupted.
PROF_DETAIL_COLD inline bool is_left_sig(process_state& process, std::size_t other, std::uintptr_t here) PROF_DETAIL_SIG {
  wait_facts facts;
  std::uint64_t mark = 0;
  if (!process.waits.read_sig(other, facts)) return false;
  const std::uintptr_t there = process.waits.frame_of(other);
  if (!os_copy_sig(&mark, there, sizeof mark) || mark != facts.began_ns) return true;
  return there < here && !os_on_signal_stack_sig();
}

// Takes back what a wait that its thread left without a word is known by.
PROF_DETAIL_COLD inline void forget_left_wait_sig(process_state& process, std::size_t index) PROF_DETAIL_SIG {
  wait_facts left;
  if (!process.waits.read_sig(index, left) || !process.waits.end_left_sig(index, left.thread)) return;
  mutex_state* const mutex = attached_mutex_sig(process);
  if (mutex == nullptr || left.lock == 0) return;
  lock_wait wait;
  wait.index = left.lock - 1;
  if (left.kind != wait_kind::cond) {
    (void)abandon_lock_wait_sig(*mutex, wait, os_monotonic_ns_sig());
    return;
  }
  const lock_wait woken = end_cond_wait_sig(*mutex, {wait.index, left.charged_before}, true);
  if (woken.index != no_slot) (void)end_lock_wait_sig(*mutex, woken, os_monotonic_ns_sig());
}

// A thread that was cancelled while it waited, in code without exceptions, has ended without a word, and its wait would last
// for ever. Called before profiles of waits are read.
PROF_DETAIL_COLD inline void forget_waits_of_ended_threads(process_state& process) noexcept {
  const std::uint32_t process_id = os_process_id_sig();
  process.waits.for_each([&](std::size_t index, const wait_facts& facts) {
    if (os_thread_has_ended_sig(process_id, facts.thread)) forget_left_wait_sig(process, index);
  });
}

// Follows one wait, from its construction until end_sig. If neither profile wants it, all is a no-op.
class followed_wait {
 public:
  PROF_DETAIL_NOINLINE followed_wait(wait_kind kind, const volatile void* object,
                                     const host_call& caller) PROF_DETAIL_SIG
      : self_(this_waiting_thread_sig()) {
    if (self_.process == nullptr) return;
    block_ = attached_block_sig(*self_.process);
    mutex_ = attached_mutex_sig(*self_.process);
    if (mutex_ != nullptr && mutex_->fraction.in_effect_sig() == 0) mutex_ = nullptr;
    facts_.kind = kind;
    facts_.thread = self_.id;
    facts_.labels = self_.labels;
    facts_.object = address_of(object);
    facts_.began_ns = os_monotonic_ns_sig();
    caller_ = &caller;
    mark_.store(facts_.began_ns, std::memory_order_relaxed);
  }
  // Left by unwinding: it has not got what it waited for.
  ~followed_wait() { end_sig(false); }
  followed_wait(const followed_wait&) = delete;
  followed_wait& operator=(const followed_wait&) = delete;

  mutex_state* mutex() const PROF_DETAIL_SIG { return mutex_; }
  const waiting_thread& self() const PROF_DETAIL_SIG { return self_; }
  stack_id stack() const PROF_DETAIL_SIG { return facts_.stack; }

  // It is for a lock that somebody holds.
  void for_lock_sig() PROF_DETAIL_SIG {
    if (self_.process == nullptr || mutex_ == nullptr) return;
    lock_ = begin_lock_wait_sig(*self_.process, *mutex_, facts_.object, facts_.began_ns);
    facts_.lock = lock_.index + 1;  // 0 where there is no room
    facts_.charged_before = lock_.charged_before;
  }
  // It is at a condition variable, with a mutex that it gives up meanwhile.
  void for_cond_sig(const volatile void* mutex) PROF_DETAIL_SIG {
    if (self_.process == nullptr || mutex_ == nullptr) return;
    facts_.mutex = address_of(mutex);
    cond_ = begin_cond_wait_sig(*mutex_, facts_.object, facts_.mutex);
    facts_.lock = cond_.index + 1;
    facts_.charged_before = cond_.broadcasts;
  }

  // From here on the thread waits.
  PROF_DETAIL_NOINLINE void begin_sig() PROF_DETAIL_SIG {
    if (self_.process == nullptr) return;
    process_state& process = *self_.process;
    if (block_ != nullptr) draw_wait_sig(*block_, facts_);
    if (facts_.rate_ns == 0 && facts_.lock == 0) return;
    facts_.stack = capture_wait_sig(self_, *caller_);
    const std::size_t other = process.waits.find_sig(self_.id);
    if (PROF_DETAIL_UNLIKELY(other != no_slot) && is_left_sig(process, other, address_of(&mark_))) {
      forget_left_wait_sig(process, other);
    }
    index_ = process.waits.begin_sig(facts_, address_of(&mark_));
    if (index_ == no_slot) count_drop_sig(process, drop::waits_full);
    is_begun_ = true;
  }

  // It does so no longer; `got_it`: the lock is held now.
  PROF_DETAIL_NOINLINE void end_sig(bool got_it) PROF_DETAIL_SIG {
    if (self_.process == nullptr || !is_begun_) return;
    is_begun_ = false;
    mark_.store(0, std::memory_order_relaxed);
    const std::uint64_t now = os_monotonic_ns_sig();
    const std::uint64_t waited = now > facts_.began_ns ? now - facts_.began_ns : 0;
    // First, so that no snapshot has it twice, as under way and as counted.
    if (index_ != no_slot) self_.process->waits.leave_profiles_sig(index_);
    if (is_real_ && facts_.rate_ns != 0) count_wait_sig(*self_.process, *block_, facts_, waited);
    if (lock_.index != no_slot) end_lock_sig(got_it, now);
    if (cond_.index != no_slot) end_cond_sig(got_it, now);
    if (index_ != no_slot) self_.process->waits.end_sig(index_);
  }
  // Whether a wait at a condition variable lets the mutex go, and takes it again.
  void lets_go_sig(bool does) PROF_DETAIL_SIG { lets_go_ = does; }
  // It has turned out to be none.
  void was_none_sig() PROF_DETAIL_SIG { is_real_ = false; }

 private:
  void charge_waiter_sig(const delay& charge) PROF_DETAIL_SIG {
    if (charge.ns == 0) return;
    count_delay_sig(*self_.process, *mutex_, mutex_->waiters, facts_.stack, facts_.labels, charge);
  }
  void end_lock_sig(bool got_it, std::uint64_t now) PROF_DETAIL_SIG {
    charge_waiter_sig(got_it ? end_lock_wait_sig(*mutex_, lock_, now) : abandon_lock_wait_sig(*mutex_, lock_, now));
  }
  // Whatever woke it, it holds the mutex again.
  void end_cond_sig(bool was_woken, std::uint64_t now) PROF_DETAIL_SIG {
    const lock_wait woken = end_cond_wait_sig(*mutex_, cond_, !was_woken);
    if (woken.index != no_slot) charge_waiter_sig(end_lock_wait_sig(*mutex_, woken, now));
    else if (lets_go_) note_hold_sig(*mutex_, facts_.mutex, now);
  }

  const waiting_thread self_;
  block_state* block_ = nullptr;
  mutex_state* mutex_ = nullptr;
  const host_call* caller_ = nullptr;
  std::atomic<std::uint64_t> mark_{0};  // tells whether this frame is still there
  wait_facts facts_;
  std::size_t index_ = no_slot;
  lock_wait lock_;
  cond_wait cond_;
  bool is_begun_ = false;
  bool lets_go_ = false;
  bool is_real_ = true;
};

// ---- one unlock ---------------------------------------------------------------------------------------------------

// The state of the mutex profile while that is on, else null.
inline mutex_state* mutex_while_on_sig() PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  mutex_state* const mutex = process == nullptr ? nullptr : attached_mutex_sig(*process);
  return mutex != nullptr && mutex->fraction.in_effect_sig() != 0 ? mutex : nullptr;
}
// What the calling thread's unlock is to be charged, of a lock that `sharers` hold; nothing while the profile is off.
inline delay charge_unlock_sig(std::uintptr_t lock, std::uint64_t sharers) PROF_DETAIL_SIG {
  mutex_state* const mutex = mutex_while_on_sig();
  return mutex == nullptr ? delay{} : charge_unlock_sig(*mutex, lock, os_monotonic_ns_sig(), sharers);
}

// Whether threads wait for this lock, or it is known that some did: cheap, for other locks' calls come here, too, as long
// as any lock is contended.
inline bool is_contended_sig(const volatile void* lock) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  const mutex_state* const mutex = process == nullptr ? nullptr : attached_mutex_sig(*process);
  return mutex != nullptr && mutex->locks.find_sig(address_of(lock)) != no_slot;
}
// Somebody has taken a lock without waiting. Where it is contended, its clock runs again.
inline void note_taken_sig(const volatile void* lock) PROF_DETAIL_SIG {
  if (!is_contended_sig(lock)) return;
  note_hold_sig(*attached_mutex_sig(*attached_process_sig()), address_of(lock), os_monotonic_ns_sig());
}

// What an unlock is charged, counted behind the unlock.
inline void charge_holder_sig(const waiting_thread& self, mutex_state& mutex, const delay& charge,
                              stack_id stack) PROF_DETAIL_SIG {
  count_delay_sig(*self.process, mutex, mutex.holders, stack, self.labels, charge);
}
// `caller`: of the call that unlocked. What prof's own code does is not charged.
inline void note_unlock_sig(const delay& charge, const host_call& caller) PROF_DETAIL_SIG {
  if (charge.contentions == 0 && charge.ns == 0) return;
  const waiting_thread self = this_waiting_thread_sig();
  mutex_state* const mutex = self.process == nullptr ? nullptr : attached_mutex_sig(*self.process);
  if (mutex != nullptr) charge_holder_sig(self, *mutex, charge, capture_wait_sig(self, caller));
}

PROF_DETAIL_END

#endif  // PROF_HOOK_FOLLOWED_WAIT_HPP
