// prof/hook/waiting.hpp - what hooks of waiting calls have in common: next definitions without the loader, routes that
// change with the rates, and one wait from its begin to its end.
// Floor 9 (hook). Used by hook/lock.hpp and hook/wait.hpp, which define the symbols.
// Safety: runs inside whatever waits, also inside a host's malloc: no allocation, no lock, errno is kept. A wait may be left
//         by a cancelled thread's unwinding or by longjmp(3): see is_left_sig.
// Memory: none.
// Source: native hazards 13 to 16; os/linux_symbols.hpp for why dlsym is not asked.
#ifndef PROF_HOOK_WAITING_HPP
#define PROF_HOOK_WAITING_HPP

#include "prof/hook/entry.hpp"
#include "prof/process/capture.hpp"
#include "prof/process/enter.hpp"
#include "prof/sample/block.hpp"
#include "prof/sample/mutex.hpp"

// Keeps a reference to a function of libc that brings what we need of it in a static link; see hook/lock.hpp.
#define PROF_DETAIL_KEEP(symbol)                                                                               \
  extern "C" int prof_keep_##symbol() __asm__(#symbol) __attribute__((__visibility__("default")));              \
  __attribute__((__used__)) inline int (*const keep_##symbol)() = &prof_keep_##symbol;

PROF_DETAIL_BEGIN

// ---- next definitions and routes ---------------------------------------------------------------------------------

inline constexpr int max_wait_entries = 32;

PROF_DETAIL_COLD inline void find_next_unlocked_sig(const hook_set& set) PROF_DETAIL_SIG {
  wanted_symbol wanted[max_wait_entries];
  for (int entry = 0; entry < set.count; ++entry) wanted[entry].name = set.records[entry].name;
  os_find_next_symbols_sig(wanted, static_cast<std::size_t>(set.count));
  for (int entry = 0; entry < set.count; ++entry) {
    void* const found = wanted[entry].found;
    store_word_sig(set, entry, word_next,
                   found != nullptr ? load_function_sig(&found) : function_of_sig(set, entry, function_fallback));
  }
}

// Which profiles want to see a call.
inline constexpr int for_mutex = 1;
inline constexpr int for_block = 2;
inline constexpr int for_threads = 4;  // always
inline int wanted_profiles_sig(const process_state& process) PROF_DETAIL_SIG {
  const mutex_state* const mutex = attached_mutex_sig(process);
  const block_state* const block = attached_block_sig(process);
  const bool has_mutex = mutex != nullptr && mutex->fraction.in_effect_sig() != 0;
  const bool has_block = block != nullptr && block->rate.in_effect_sig() != 0;
  return (has_mutex ? for_mutex : 0) | (has_block ? for_block : 0) | for_threads;
}

// Sends every entry where the rates of now want it: to its counting path where a profile does that the entry is for
// (hook_entry_facts::shape), else straight on. Rates that change meanwhile are seen by going round once more.
PROF_DETAIL_COLD inline void route_waits_sig(const hook_set& set, const process_state& process) PROF_DETAIL_SIG {
  int wanted = wanted_profiles_sig(process);
  for (int tries = 0; tries < 8; ++tries) {
    for (int entry = 0; entry < set.count; ++entry) {
      const bool counts = (set.facts[entry].shape & wanted) != 0;
      store_word_sig(set, entry, word_route, load_word_sig(set, entry, counts ? word_settled : word_next));
    }
    const int now = wanted_profiles_sig(process);
    if (now == wanted) return;
    wanted = now;
  }
}

// Any thread, any number at once: all write the same. What has no next definition is not counted: it may be emulated.
PROF_DETAIL_COLD inline void resolve_waits_sig(const hook_set& set) PROF_DETAIL_SIG {
  const errno_guard keep_errno;
  find_next_unlocked_sig(set);
  process_state* const process = process_sig();
  const bool counts = process != nullptr && claim_hooks_sig(process->hooks[static_cast<unsigned>(set.family)], set.part);
  for (int entry = 0; entry < set.count; ++entry) {
    if (counts) settle_live_sig(set, entry);
    else settle_to_next_sig(set, entry, "forwarding", "another object of the process counts");
  }
  set.role->store(counts ? hook_role::counting : hook_role::forwarding);
  if (counts) set.part->rate_changed();
}

// The first call of any entry.
PROF_DETAIL_COLD inline any_function first_wait_target_sig(const hook_set& set, int entry) PROF_DETAIL_SIG {
  resolve_waits_sig(set);
  return load_word_sig(set, entry, word_route);
}

// A rate has changed, or nobody counts any more: whoever is asked first takes over then.
PROF_DETAIL_COLD inline void wait_rates_changed(const hook_set& set) noexcept {
  process_state* const process = attached_process_sig();
  if (process == nullptr || !is_resolved_sig(set)) return;
  hook_owner& family = process->hooks[static_cast<unsigned>(set.family)];
  if (!counts_here_sig(set) && family.owner.load() == nullptr && claim_hooks_sig(family, set.part)) {
    for (int entry = 0; entry < set.count; ++entry) settle_live_sig(set, entry);
    set.role->store(hook_role::counting);
  }
  if (counts_here_sig(set)) route_waits_sig(set, *process);
}

// An entry of such a family. Nothing is resolved by dlsym here: the third of its functions is what it does while tested.
template <class Tag, class Signature>
struct waiting_base;
template <class Tag, class R, class... Args, bool Nothrow>
struct waiting_base<Tag, R(Args...) noexcept(Nothrow)> : hooked_base<Tag, R(Args...) noexcept(Nothrow)> {
  using base = hooked_base<Tag, R(Args...) noexcept(Nothrow)>;
  static R while_resolving(Args... args) noexcept(Nothrow) {
    (void)probed_sig(Tag::set(), Tag::index);
    return base::call_next(args...);
  }
};

// Once in each object: calls every symbol as programs do, call(entry), and sees whether our hook is entered. Other threads'
// calls of the entry are forwarded meanwhile.
template <class Call>
PROF_DETAIL_COLD void test_wait_hooks_once(const hook_set& set, std::atomic<bool>& tested, Call call) noexcept {
  if (!is_resolved_sig(set)) resolve_waits_sig(set);
  if (!counts_here_sig(set)) return;
  const probe_scope probing;
  if (!probing.alone() || tested.exchange(true)) return;
  for (int entry = 0; entry < set.count; ++entry) {
    store_word_sig(set, entry, word_route, function_of_sig(set, entry, function_resolving));
    probe.first_hit = no_entry;
    call(entry);
    if (probe.first_hit == probe_number(set, entry)) settle_live_sig(set, entry);
    else settle_to_next_sig(set, entry, "dead", "another definition comes first in symbol order or in a static link");
  }
  set.part->rate_changed();
}

// ---- one wait ----------------------------------------------------------------------------------------------------------

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

inline stack_id capture_wait_sig(const waiting_thread& self, const registers& caller) PROF_DETAIL_SIG {
  first_code_map_sig(*self.process);
  return capture_stack_sig(*self.process, self.id, caller, true);
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
  const bool is_there = process.waits.read_sig(index, left);
  process.waits.end_sig(index);
  mutex_state* const mutex = attached_mutex_sig(process);
  if (!is_there || mutex == nullptr || left.lock == 0) return;
  lock_wait wait;
  wait.index = left.lock - 1;
  if (left.kind != wait_kind::cond) {
    (void)abandon_lock_wait_sig(*mutex, wait, os_monotonic_ns_sig());
    return;
  }
  const lock_wait woken = end_cond_wait_sig(*mutex, {wait.index, left.charged_before}, true);
  if (woken.index != no_slot) (void)end_lock_wait_sig(*mutex, woken, os_monotonic_ns_sig());
}

// Follows one wait, from its construction until end_sig. If neither profile wants it, all is a no-op.
class followed_wait {
 public:
  PROF_DETAIL_NOINLINE followed_wait(wait_kind kind, const volatile void* object,
                                     const registers& caller) PROF_DETAIL_SIG
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
  const registers* caller_ = nullptr;
  std::atomic<std::uint64_t> mark_{0};  // tells whether this frame is still there
  wait_facts facts_;
  std::size_t index_ = no_slot;
  lock_wait lock_;
  cond_wait cond_;
  bool is_begun_ = false;
  bool lets_go_ = false;
  bool is_real_ = true;
};

// What an unlock is charged, counted behind the unlock.
inline void charge_holder_sig(const waiting_thread& self, mutex_state& mutex, const delay& charge,
                              stack_id stack) PROF_DETAIL_SIG {
  count_delay_sig(*self.process, mutex, mutex.holders, stack, self.labels, charge);
}

// An entry that only waits. Tag: kind, object(args...), and may_wait(args...) for a quick look.
template <class Tag, class Signature>
struct plain_wait_entry;
template <class Tag, class R, class... Args, bool Nothrow>
struct plain_wait_entry<Tag, R(Args...) noexcept(Nothrow)> : waiting_base<Tag, R(Args...) noexcept(Nothrow)> {
  using base = hooked_base<Tag, R(Args...) noexcept(Nothrow)>;
  static R counting(Args... args) noexcept(Nothrow) {
    return Tag::may_wait(args...) ? counting_slow(args...) : base::call_next(args...);
  }
  PROF_DETAIL_COLD static R counting_slow(Args... args) noexcept(Nothrow) {
    const registers caller = caller_registers_sig(PROF_DETAIL_CALL_FRAME());
    followed_wait wait(Tag::kind, Tag::object(args...), caller);
    wait.begin_sig();
    const R answer = base::call_next(args...);
    wait.end_sig(true);
    return answer;
  }
};

PROF_DETAIL_END

#endif  // PROF_HOOK_WAITING_HPP
