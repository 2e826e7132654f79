// prof/hook/waiting.hpp - what hooks of waiting calls have in common: next definitions without the loader, and routes that
// change with the rates.
// Floor 9 (hook). Used by hook/lock.hpp, hook/wait.hpp and others, which define the symbols.
// Safety: runs inside whatever waits, also inside a host's malloc: no allocation, no lock, errno is kept.
// Memory: none.
// Source: native hazards 13 to 16; os/linux_symbols.hpp for why dlsym is not asked.
#ifndef PROF_HOOK_WAITING_HPP
#define PROF_HOOK_WAITING_HPP

#include "prof/hook/entry.hpp"
#include "prof/hook/followed_wait.hpp"
#include "prof/process/enter.hpp"

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

// ---- an entry that only waits ------------------------------------------------------------------------------------------

// Tag: kind, object(args...), and may_wait(args...) for a quick look.
template <class Tag, class Signature>
struct plain_wait_entry;
template <class Tag, class R, class... Args, bool Nothrow>
struct plain_wait_entry<Tag, R(Args...) noexcept(Nothrow)> : waiting_base<Tag, R(Args...) noexcept(Nothrow)> {
  using base = hooked_base<Tag, R(Args...) noexcept(Nothrow)>;
  static R counting(Args... args) noexcept(Nothrow) {
    return PROF_DETAIL_UNLIKELY(Tag::may_wait(args...)) ? counting_slow(args...) : base::call_next(args...);
  }
  PROF_DETAIL_NOINLINE static R counting_slow(Args... args) noexcept(Nothrow) {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    followed_wait wait(Tag::kind, Tag::object(args...), caller);
    wait.begin_sig();
    const R answer = base::call_next(args...);
    wait.end_sig(true);
    return answer;
  }
};

PROF_DETAIL_END

#endif  // PROF_HOOK_WAITING_HPP
