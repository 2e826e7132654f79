"""Mutants of waits: hazards 13 to 16 and 26 of profilers that hook locks, each with its remedy taken out of a header."""

from typing import List

from mutation.unwinder import Mutant

LOCK, LOCKS = "hook/lock.hpp", "hook/lock_test.cpp"
LOCK_CALL, LOCK_CALLS = "hook/lock_entries.hpp", "hook/lock_entries_test.cpp"
COND, CONDITIONS = "hook/cond_entries.hpp", "hook/cond_entries_test.cpp"
WAIT, WAITS = "hook/wait.hpp", "hook/wait_test.cpp"
WAITING, WAITINGS = "hook/waiting.hpp", "hook/waiting_test.cpp"
WAIT_ITSELF, WAITS_THEMSELVES = "hook/followed_wait.hpp", "hook/followed_wait_test.cpp"
JOIN, JOINS = "hook/join.hpp", "hook/join_test.cpp"
LOCK_CLOCK, LOCK_CLOCKS = "process/contended_locks.hpp", "process/contended_locks_test.cpp"
CONDS_WAITED_AT = "process/waited_conds_test.cpp"
BLOCK, BLOCKS = "sample/block.hpp", "sample/block_test.cpp"
THREADS, SURVEYS = "sample/threads.hpp", "sample/threads_test.cpp"
SYMBOLS, DEFINITIONS = "os/linux_symbols.hpp", "os/linux_symbols_test.cpp"
WORDS, WORDS_READ = "os/linux_locks.hpp", "os/linux_locks_test.cpp"
TABLE, TABLES = "process/wait_table.hpp", "process/wait_table_test.cpp"
RATES, WINDOWS = "process/rate_windows.hpp", "process/rate_windows_test.cpp"
SIGNAL, SIGNALS = "process/sampling_signal.hpp", "process/sampling_signal_test.cpp"
CIRCLE, CIRCLES = "process/thread_waits.hpp", "process/thread_waits_test.cpp"
FORK, FORKS = "process/fork.hpp", "process/fork_test.cpp"

MUTANTS: List[Mutant] = [
    # ---- 13: hooks inside an allocator's lock
    Mutant("next definitions wait for the loader", WAITING, "  find_next_unlocked_sig(set);\n",
           "  for (int entry = 0; entry < set.count; ++entry) find_next_sig(set, entry);\n", WAITINGS),
    Mutant("an unlock is counted before the lock is free", LOCK_CALL,
           "    const int answer = base::call_next(lock);  // from here on the lock may be gone\n"
           "    note_unlock_sig(charge, caller);\n",
           "    note_unlock_sig(charge, caller);\n"
           "    const int answer = base::call_next(lock);\n", LOCK_CALLS),
    Mutant("waits of our own code are followed", WAIT_ITSELF,
           "  if (known->own_code.load(std::memory_order_relaxed) != 0) self.process = nullptr;\n", "", WAITS_THEMSELVES),
    Mutant("a wait without a record is followed", LOCK_CLOCK,
           "    count_drop_sig(process, drop::contended_locks_full, count);\n    return wait;\n",
           "    count_drop_sig(process, drop::contended_locks_full, count);\n", LOCK_CLOCKS),
    # ---- 14: hooks that are silently inactive
    Mutant("a hook that nobody enters is live", WAITING, "if (probe.first_hit == probe_number(set, entry))",
           "if (probe.first_hit != no_entry || true)", WAITINGS),
    Mutant("what has no next definition leads to null", WAITING,
           "                   found != nullptr ? load_function_sig(&found) : function_of_sig(set, entry, function_fallback));\n",
           "                   load_function_sig(&found));\n", WAITINGS),
    Mutant("two objects count", WAITING,
           "    if (counts) settle_live_sig(set, entry);\n    else settle_to_next_sig(set, entry, \"forwarding\",",
           "    settle_live_sig(set, entry);\n    if (false) settle_to_next_sig(set, entry, \"forwarding\",", WAITINGS),
    Mutant("nobody takes over from an object that is gone", WAITING,
           "if (!counts_here_sig(set) && family.owner.load() == nullptr && claim_hooks_sig(family, set.part)) {",
           "if (false) {", WAITINGS),
    Mutant("a rate that changes while routes are laid is missed", WAITING, "    if (now == wanted) return;\n",
           "    return;\n", WAITINGS),
    Mutant("hot paths look where nobody counts", LOCK,
           "  if (mutex != nullptr) contended_locks.store(&mutex->locks.used_now());\n", "", LOCKS),
    # ---- 15: versioned symbols
    Mutant("a version for old programs is taken", SYMBOLS,
           "  return (version & hidden_version) == 0 ? in.bias + symbol.st_value : 0;\n",
           "  return in.bias + symbol.st_value;\n", DEFINITIONS),
    Mutant("an import is taken for a definition", SYMBOLS, "if (symbol.st_shndx == SHN_UNDEF || ", "if (", DEFINITIONS),
    Mutant("the next definition is our own", SYMBOLS, "        looks = pass == 0;\n        continue;\n",
           "        looks = true;\n", DEFINITIONS),
    # ---- 16: waits that libc has inside itself
    Mutant("futures are not seen", WORDS, "command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET ||",
           "command == FUTEX_WAIT ||", WORDS_READ),
    Mutant("a futex whose word has changed is a wait", WAIT,
           "    if (answer == -1 && errno == EAGAIN) wait.was_none_sig();  // the word had changed already\n", "", WAITS),
    Mutant("a woken waiter takes its mutex unseen", COND, "    note_waking_sig(cond);\n", "", CONDITIONS),
    Mutant("a broadcast wakes one", COND, "wake_cond_sig(*process, *mutex, address_of(cond), All,",
           "wake_cond_sig(*process, *mutex, address_of(cond), false,", CONDITIONS),
    Mutant("a wait at a condition variable keeps its mutex", COND,
           "    if (charge.contentions != 0 || charge.ns != 0) charge_holder_sig(wait.self(), *mutex, charge, wait.stack());\n",
           "", CONDITIONS),
    Mutant("each reader pays for all", LOCK_CALL, "sharers = os_rwlock_is_writer_sig(lock, os_thread_id_sig()) ? 1 : os_rwlock_readers_sig(lock);",
           "sharers = 1;", LOCK_CALLS),
    Mutant("a reader waits for a writer that waits", WORDS,
           "return os_rwlock_may_block_reader_sig(lock) && ((os_rwlock_word_sig(lock) & 1) != 0 || prefers_writers);",
           "return os_rwlock_may_block_reader_sig(lock) && (prefers_writers || true);", WORDS_READ),
    Mutant("locking a recursive mutex again is a wait", LOCK_CALL,
           "return !os_mutex_may_relock_sig(mutex) || !os_mutex_relocks_sig(mutex, os_thread_id_sig());", "return true;", LOCK_CALLS),
    Mutant("a mutex from a dead owner is not got", LOCK_CALL, "return answer == 0 || answer == EOWNERDEAD;", "return answer == 0;",
           LOCK_CALLS),
    Mutant("a dead owner holds its mutex", WORDS, "if (os_has_holder_in_word_sig(mutex)) return word & os_holder_bits;",
           "if (os_has_holder_in_word_sig(mutex)) return word;", WORDS_READ),
    Mutant("who gives up has waited for nobody", WAIT_ITSELF,
           "got_it ? end_lock_wait_sig(*mutex_, lock_, now) : abandon_lock_wait_sig(*mutex_, lock_, now)",
           "end_lock_wait_sig(*mutex_, lock_, now)", LOCK_CALLS),
    Mutant("a signal takes who is on its way to wait for woken", "process/waited_conds.hpp",
           "count == 0 || waiters <= on_their_way ||", "count == 0 ||", CONDS_WAITED_AT),
    Mutant("a signal looks at a mutex that is gone", COND,
           "return os_copy_sig(&copy, lock, sizeof copy) && os_mutex_is_held_sig(copy);",
           "return (void)copy, os_mutex_is_held_sig(*reinterpret_cast<const os_mutex*>(lock));", CONDITIONS),
    Mutant("threads that block the signal are asked", THREADS,
           "    if (asked.why != silence::none) return;\n", "", SURVEYS),
    Mutant("a wait that unwinding leaves goes on", WAIT_ITSELF, "~followed_wait() { end_sig(false); }", "~followed_wait() {}",
           WAITS_THEMSELVES),
    Mutant("a wait that longjmp leaves goes on", WAIT_ITSELF, "      forget_left_wait_sig(process, other);\n", "",
           WAITS_THEMSELVES),
    Mutant("a wait that an ended thread has left goes on", WAIT_ITSELF,
           "    if (os_thread_has_ended_sig(process_id, facts.thread)) forget_left_wait_sig(process, index);\n", "",
           WAITS_THEMSELVES),
    Mutant("a wait is under way while it is counted", TABLE, "    table_.at(index).rate_ns.store(0);\n", "", TABLES),
    Mutant("a copy of two waits is one", TABLE,
           "    return slot->began_ns.load(std::memory_order_relaxed) == facts.began_ns &&\n"
           "           slot->key.load(std::memory_order_relaxed) == key;\n", "    return true;\n", TABLES),
    Mutant("what ends while it is read is shown twice", BLOCK,
           "    if (!process.waits.is_same_sig(wait.index, wait.facts)) continue;\n", "", BLOCKS),
    Mutant("a lock whose memory is gone is read", CIRCLE,
           "    return os_copy_sig(&copy, wait.object, sizeof copy) ? os_mutex_owner_sig(copy) : 0;\n",
           "    std::memcpy(&copy, reinterpret_cast<const void*>(wait.object), sizeof copy);\n"
           "    return os_mutex_owner_sig(copy);\n", CIRCLES),
    Mutant("who waits for a circle is on it", CIRCLE,
           "      for (thread_wait* on = first; on->circle == 0;", "      for (thread_wait* on = &start; on->circle == 0;", CIRCLES),
    Mutant("edges of different moments are a circle", CIRCLE,
           "const std::uint32_t number = stands(process, *first) ? ++circles_ : passing;",
           "const std::uint32_t number = ++circles_;", CIRCLES),
    # ---- the loader's locks, and locks of prof's own
    Mutant("whoever keeps the loader's list is waited for", "os/objects.hpp",
           "  const bool answers = !is_loader_busy(loader_lock::list);\n", "  const bool answers = true;\n", "os/objects_test.cpp"),
    Mutant("any mutex is the loader's", "os/objects.hpp",
           "    if (read_loader_mutex(at - loader_mutex_bytes).kind == 1) loader_list_lock.store(at);\n",
           "    loader_list_lock.store(at);\n", "os/objects_test.cpp"),
    Mutant("libraries may be unloaded while the loader is busy", "process/capture.hpp",
           "    wanted.never_unloaded.count = known_never_unloaded(process, headers, room);\n", "", "process/capture_test.cpp"),
    Mutant("a reader that leaves wakes nobody", "collect/locks.hpp",
           "if (detail::lock_waiters(before) != 0 && (before & readers) == 1) detail::os_wake_word_sig(word, 1);",
           "(void)before;", "collect/locks_test.cpp"),
    Mutant("what is there already is waited for", "hook/blocking.hpp",
           "return (Tag::flags(rest...) & MSG_DONTWAIT) == 0 && os_would_wait_sig(descriptor);",
           "return (Tag::flags(rest...) & MSG_DONTWAIT) == 0 && descriptor >= 0;", "hook/blocking_test.cpp"),
    Mutant("a host's handler is displaced", SIGNAL, "return there == nullptr ||", "return true ||", SIGNALS),
    Mutant("a late answer is another question's", THREADS,
           "!there->state.compare_exchange_strong(expected, state_of_question(generation, is_answering))",
           "(there->state.store(state_of_question(generation, is_answering)), expected == 0)", SURVEYS),
    Mutant("the join of an earlier thread forgets a later one", THREADS,
           "if (is_exact ? number == known : number <= (known & ~number_at_most)) threads.made",
           "threads.made", SURVEYS),
    # ---- 26: forks
    Mutant("a child's waits are its parent's", FORK, "  process.waits.forget_all();\n", "", FORKS),
    Mutant("the signal stays locked in a child", FORK, "  process.signal.lock.unlock();\n", "", FORKS),
    Mutant("rates stay locked in a child", RATES, "    lock_.unlock();\n    for (std::uint64_t& rate : windows_)",
           "    for (std::uint64_t& rate : windows_)", WINDOWS),
    Mutant("a parent's windows stay open in a child", RATES, "    for (std::uint64_t& rate : windows_) rate = 0;\n", "", WINDOWS),
    Mutant("locks are contended in a child by its parent's threads", LOCK_CLOCK, "  contended.locks.forget_all();\n", "", CONDS_WAITED_AT),
    Mutant("a parent's threads wait at a child's conditions", LOCK_CLOCK, "  contended.conds.forget_all();\n", "", CONDS_WAITED_AT),
    Mutant("records of threads stay locked in a child", THREADS, "  threads.made_lock.unlock();\n", "", SURVEYS),
    Mutant("a child's only thread has its parent's id", THREADS,
           "    if (key == self) slot.thread.store(os_thread_id_sig());\n", "    if (key == self) return;\n", SURVEYS),
]
