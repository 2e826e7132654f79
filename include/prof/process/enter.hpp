// prof/process/enter.hpp - the first public call of an object: it brings its parts to the process and stays loaded.
// Floor 7 (process). Entered by every public call, by way of collect/enter.hpp.
// Safety: ordinary context, any thread; never inside an allocator, for it calls into the loader.
// Memory: none.
// Source: dlopen(3), RTLD_NODELETE.
#ifndef PROF_PROCESS_ENTER_HPP
#define PROF_PROCESS_ENTER_HPP

#include "prof/process/fork.hpp"

PROF_DETAIL_BEGIN

// Brings a descriptor that lives as long as the process; the first one stays.
inline void register_part(process_state& process, unsigned which, const part_head* descriptor) noexcept {
  const part_head* none = nullptr;
  if (descriptor == nullptr) return;
  process.parts[which].descriptor.compare_exchange_strong(none, descriptor);
}

// Brings profiles that no switch knows, such as a test's or a plugin's. False: there are max_parts already.
inline bool register_profile_part(process_state& process, const profile_part& descriptor) noexcept {
  for (unsigned i = part_count; i < max_parts; ++i) {
    const part_head* none = nullptr;
    if (process.parts[i].descriptor.compare_exchange_strong(none, &descriptor.head)) return true;
    if (none == &descriptor.head) return true;
  }
  return false;
}

// The object whose hooks count may have claimed them without a public call, and may be unloaded with dlclose. Tells
// whether it is still there, and forgets it when it is not: the claim is free again then.
inline bool owner_is_there_sig(process_state& process, unsigned family, const hook_family_part* hooks) PROF_DETAIL_SIG {
  if (is_hook_family_sig(hooks)) return true;
  // One thread undoes what the object left behind; others come back when it is done.
  if (hooks == unloading_hooks()) return false;
  if (!process.hooks[family].owner.compare_exchange_strong(hooks, unloading_hooks())) return false;
  const part counts = family_row(family).counts;
  const auto* const known = find_part_sig<profile_part>(process, counts);
  if (known != nullptr && known->hooks_unloaded_sig != nullptr) known->hooks_unloaded_sig(process);
  process.hooks[family].owner.store(nullptr);
  return false;
}

// The owner if it is there; null: nobody counts.
inline const hook_family_part* owner_of_sig(process_state& process, unsigned family) PROF_DETAIL_SIG {
  const hook_family_part* const hooks = process.hooks[family].owner.load(std::memory_order_acquire);
  if (hooks == nullptr || hooks == process.hooks[family].kept.load(std::memory_order_relaxed)) return hooks;
  return owner_is_there_sig(process, family, hooks) ? hooks : nullptr;
}

// Hooks that count look at the rates again. Where those that counted are gone, this object's may take over; where none
// have been entered yet, the first that are look anyway.
inline void tell_hooks(process_state& process, hook_family family) noexcept {
  const hook_family_part* const owner = owner_of_sig(process, static_cast<unsigned>(family));
  const hook_family_part* const hooks = owner != nullptr ? owner : family_row(static_cast<unsigned>(family)).own;
  if (hooks != nullptr && hooks->rate_changed != nullptr) hooks->rate_changed();
}

inline std::atomic<bool> object_pinned{false};

// False where the loader is busy: the next call tries again.
inline bool pin_object(process_state& process, const void* address) noexcept {
  const own_code_scope own(process);  // the loader allocates
  return os_pin_object(address);
}
inline bool pin_this_object(process_state& process) noexcept {
  if (!object_pinned.load(std::memory_order_relaxed)) object_pinned.store(pin_object(process, &this_object));
  return object_pinned.load(std::memory_order_relaxed);
}

// Keeps the owners' objects loaded from now on.
inline void keep_owners(process_state& process) noexcept {
  for (unsigned i = 0; i < hook_family_count; ++i) {
    const hook_family_part* const hooks = owner_of_sig(process, i);
    if (hooks == nullptr || hooks == process.hooks[i].kept.load(std::memory_order_relaxed)) continue;
    const bool is_pinned = hooks == family_row(i).own ? pin_this_object(process) : pin_object(process, hooks);
    if (is_pinned && owner_is_there_sig(process, i, hooks)) process.hooks[i].kept.store(hooks, std::memory_order_relaxed);
  }
}

// Calls tell(part) for every part that wants to hear of threads: this object's, else what another object brought.
template <class Tell>
inline void for_each_thread_part(const process_state& process, Tell tell) {
  for (unsigned i = 0; i < part_count; ++i) {
    if (!is_profile_part(i)) continue;
    const part_head* const own = own_part_sig(i);
    const auto* const known =
        own != nullptr ? reinterpret_cast<const profile_part*>(own) : profile_part_at(process, i);
    if (known != nullptr && known->thread_runs != nullptr) tell(*known);
  }
}

inline std::atomic<bool> object_entered{false};

// Attaches, registers this object's parts and keeps the object loaded, because handlers and descriptors in it are
// reachable from now on. Null only when no memory can be mapped.
inline process_state* enter_process() noexcept {
  process_state* const process = process_sig();
  if (process == nullptr) return nullptr;
  const bool is_first = !object_entered.load(std::memory_order_acquire);
  for (unsigned i = 0; is_first && i < part_count; ++i) register_part(*process, i, own_part_sig(i));
  forget_parent(*process);  // behind that: it asks the parts
  keep_owners(*process);
  (void)pin_this_object(*process);
  if (!is_first) return process;
  {
    const own_code_scope own(*process);  // libc may allocate for the handlers
    os_hold_forks_for_loader();
    (void)os_at_fork(&wait_for_refresh_before_fork, &allow_refresh_after_fork, &forget_parent_at_fork);
  }
  object_entered.store(true, std::memory_order_release);  // last: others may rely on the parts
  return process;
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_ENTER_HPP
