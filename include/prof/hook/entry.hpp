// prof/hook/entry.hpp - what the hooked entries of all families have in common: the next definition, the route their
// symbol jumps to, who resolves them, and the probe that tells who is called.
// Floor 9 (hook). Used by every hook family; knows none.
// Safety: runs inside malloc and whatever else is hooked: no lock, no allocation. Resolving (once per object and family)
//         calls dlsym and reads /proc/self/maps by raw system calls. One thread resolves; others forward meanwhile,
//         uncounted, because waiting could deadlock through the loader's lock.
// Memory: three words per entry and object.
// Source: design decisions "several DSOs", "count the outermost call only, without a depth flag".
#ifndef PROF_HOOK_ENTRY_HPP
#define PROF_HOOK_ENTRY_HPP

#include "prof/process/attach.hpp"
#include "prof/process/capture.hpp"

PROF_DETAIL_BEGIN

// Per object and family: nothing resolved yet; this object's hooks count; another object's hooks count (the
// first in symbol order, which is entered first and claims the family) and these only forward.
enum class hook_role : int { unresolved, counting, forwarding };

// A function of any of the entries' types; whoever calls it knows which.
using any_function = void (*)();
inline any_function load_function_sig(const void* place) PROF_DETAIL_SIG {
  any_function function = nullptr;
  std::memcpy(&function, place, sizeof function);
  return function;
}

// What code that serves all entries must know of one. The places hold pointers of the entry's own
// type: a cast to a common type would not be a constant, and there is no constructor here.
struct hook_entry_facts {
  int entry;
  void* state;            // hooked_base::state
  const void* functions;  // functions_of
  const void* hook;       // our definition of the symbol
  int shape;              // how a probe calls it: the family's own enumeration
  own_functions own;      // what the program's call goes through
};

struct hook_set;
any_function first_target_sig(const hook_set& set, int entry) PROF_DETAIL_SIG;

// The hooks of one family in this object. An entry's symbol is the name of its record.
struct hook_set {
  hook_family family;
  const hook_family_part* part;
  const hook_entry_facts* facts;
  hook_record* records;
  std::atomic<hook_role>* role;
  std::atomic<std::uint32_t>* resolver;  // process id of the thread that resolves: a forked child may not have it
  int count;
  // Decides what each entry does, when all next definitions are known, and tells whether these hooks count. process null:
  // there is no memory for one.
  bool (*settle)(const hook_set& set, process_state* process, bool counting);
  any_function (*first)(const hook_set& set, int entry) = &first_target_sig;  // where an unsettled entry's call goes
};

inline bool is_resolved_sig(const hook_set& set) PROF_DETAIL_SIG {
  return set.role->load(std::memory_order_acquire) != hook_role::unresolved;
}
inline bool counts_here_sig(const hook_set& set) PROF_DETAIL_SIG {
  return set.role->load(std::memory_order_relaxed) == hook_role::counting;
}

// ---- states of a thread ------------------------------------------------------------------------------------
// They are kept by thread pointer, and not in thread-locals, of which an object has one word.

// One thread of one process. In a forked child what a thread of the parent left is nobody's, even where a new thread has
// got that one's stack and with it the thread pointer: the process id is in the same word, which thread pointers leave
// room for, since what they lead to is larger than 64 bytes.
class thread_mark {
 public:
  bool take_sig() PROF_DETAIL_SIG {
    const std::uint64_t self = this_thread_sig();
    std::uint64_t there = mark_.load(std::memory_order_relaxed);
    const bool is_free = there == 0 || (there & pid_mask) != (self & pid_mask);
    return is_free && mark_.compare_exchange_strong(there, self);
  }
  void give_back_sig() PROF_DETAIL_SIG { mark_.store(0); }
  // By another thread of this process.
  bool is_another_thread_sig() const PROF_DETAIL_SIG {
    const std::uint64_t there = mark_.load(std::memory_order_relaxed);
    return there != 0 && there != this_thread_sig() && (there & pid_mask) == (this_thread_sig() & pid_mask);
  }
  bool is_this_thread_sig() const PROF_DETAIL_SIG {
    const std::uint64_t there = mark_.load(std::memory_order_relaxed);
    return there != 0 && there == this_thread_sig();
  }

 private:
  static constexpr std::uint64_t pid_mask = (std::uint64_t{1} << 22) - 1;  // PID_MAX_LIMIT of the kernel
  static std::uint64_t this_thread_sig() PROF_DETAIL_SIG {
    return (std::uint64_t{os_thread_pointer_sig()} >> 6) << 22 | (os_process_id_sig() & pid_mask);
  }
  std::atomic<std::uint64_t> mark_;
};

// Threads that are inside dlsym for us: what they allocate there cannot be forwarded yet.
class resolving_threads {
 public:
  // False when too many are at it.
  bool enter_sig() PROF_DETAIL_SIG {
    for (thread_mark& place : threads_) {
      if (place.take_sig()) return true;
    }
    return false;
  }
  void leave_sig() PROF_DETAIL_SIG {
    for (thread_mark& place : threads_) {
      if (place.is_this_thread_sig()) return place.give_back_sig();
    }
  }
  bool has_this_sig() const PROF_DETAIL_SIG {
    for (const thread_mark& place : threads_) {
      if (place.is_this_thread_sig()) return true;
    }
    return false;
  }

 private:
  thread_mark threads_[64];
};
inline resolving_threads resolving{};

// A probe calls an entry to see which hook of this object is entered first; one thread at a time. Only that thread looks
// at what is behind `thread`.
inline constexpr int no_entry = -1;
struct hook_probe {
  thread_mark thread;
  int first_hit;      // the entry that was entered first since the call began
  bool without_next;  // note the hit, call nothing
};
inline hook_probe probe{};

inline bool is_probing_sig() PROF_DETAIL_SIG {
  return probe.thread.is_this_thread_sig();
}
// Entries of all families are told apart.
inline int probe_number(const hook_set& set, int entry) PROF_DETAIL_SIG {
  return static_cast<int>(set.family) * 1024 + entry;
}
// Slow paths ask this first: a call that belongs to a probe is noted and counts nowhere. What the hot paths of the family
// look at must send the next call of the probe to its slow path, too; for those of malloc that is the countdown.
inline bool probed_sig(const hook_set& set, int entry) PROF_DETAIL_SIG {
  if (!is_probing_sig()) return false;
  if (probe.first_hit == no_entry) probe.first_hit = probe_number(set, entry);
  alloc_countdown = 0;
  return true;
}

// For as long as this lives the thread probes; `alone` false: another one does.
class probe_scope {
 public:
  probe_scope() PROF_DETAIL_SIG : alone_(probe.thread.take_sig()) {
    if (alone_) probe.without_next = false;
  }
  ~probe_scope() {
    if (!alone_) return;
    alloc_countdown = 0;
    probe.thread.give_back_sig();
  }
  probe_scope(const probe_scope&) = delete;
  probe_scope& operator=(const probe_scope&) = delete;
  bool alone() const PROF_DETAIL_SIG { return alone_; }

 private:
  const bool alone_;
};

// One call with every hook of this object on its slow path; returns what it returns, `hit` is what it entered first.
template <class R, class... Args>
R probe_call(int& hit, any_function function, Args... args) {
  struct take_hit {
    int& hit;
    ~take_hit() { hit = probe.first_hit; }
  } const after{hit};
  probe.first_hit = no_entry;
  alloc_countdown = 0;
  return reinterpret_cast<R (*)(Args...)>(function)(args...);
}

// ---- one entry ----------------------------------------------------------------------------------------------

// With what a symbol loads its route: who sees a route must see the next definition that was stored before. x86-64 keeps
// loads in order, and only a relaxed one is folded into the jump (g++ 12).
#if defined(__x86_64__)
inline constexpr std::memory_order route_order = std::memory_order_relaxed;
#else
inline constexpr std::memory_order route_order = std::memory_order_acquire;
#endif

// The words of an entry's state: function pointers, written while others read them.
enum entry_word : std::size_t {
  word_next,     // the definition behind ours, or the fallback
  word_settled,  // what resolving decided: `next` itself (another hook counts) or the counting path
  word_route,    // where our symbol jumps: first_call until settled
};
using aliasing_word = std::uintptr_t __attribute__((__may_alias__));
inline aliasing_word* state_word_sig(const hook_set& set, int entry, entry_word which) PROF_DETAIL_SIG {
  return static_cast<aliasing_word*>(set.facts[entry].state) + which;
}
inline any_function load_word_sig(const hook_set& set, int entry, entry_word which) PROF_DETAIL_SIG {
  return reinterpret_cast<any_function>(__atomic_load_n(state_word_sig(set, entry, which), __ATOMIC_ACQUIRE));
}
inline void store_word_sig(const hook_set& set, int entry, entry_word which, any_function function) PROF_DETAIL_SIG {
  __atomic_store_n(state_word_sig(set, entry, which), reinterpret_cast<std::uintptr_t>(function), __ATOMIC_RELEASE);
}

enum entry_function : std::size_t { function_counting, function_fallback, function_resolving };
inline any_function function_of_sig(const hook_set& set, int entry, entry_function which) PROF_DETAIL_SIG {
  return load_function_sig(static_cast<const char*>(set.facts[entry].functions) + which * sizeof(any_function));
}

inline void find_next_sig(const hook_set& set, int entry) PROF_DETAIL_SIG {
  void* const found = os_next_symbol(set.records[entry].name);
  store_word_sig(set, entry, word_next,
                 found != nullptr ? load_function_sig(&found) : function_of_sig(set, entry, function_fallback));
}

// What an entry does from now on, and what status() says of it.
inline void settle_sig(const hook_set& set, int entry, any_function decided, const char* state, const char* why)
    PROF_DETAIL_SIG {
  store_word_sig(set, entry, word_settled, decided);
  store_word_sig(set, entry, word_route, decided);
  set_record_sig(set.records[entry], state, why);
}
inline void settle_live_sig(const hook_set& set, int entry) PROF_DETAIL_SIG {
  const bool has_next = load_word_sig(set, entry, word_next) != function_of_sig(set, entry, function_fallback);
  settle_sig(set, entry, function_of_sig(set, entry, function_counting), "live",
             has_next ? "counts" : "counts; no next definition, own fallback");
}
inline void settle_to_next_sig(const hook_set& set, int entry, const char* state, const char* why) PROF_DETAIL_SIG {
  settle_sig(set, entry, load_word_sig(set, entry, word_next), state, why);
}
inline void settle_all_forwarding_sig(const hook_set& set) PROF_DETAIL_SIG {
  for (int entry = 0; entry < set.count; ++entry) {
    settle_to_next_sig(set, entry, "forwarding", "another object of the process counts");
  }
}

// Finds the next definitions of a family and settles who counts; false when another thread is at it, or probes another
// family: this one will be settled by a later call.
PROF_DETAIL_COLD inline bool resolve_slow_sig(const hook_set& set) PROF_DETAIL_SIG {
  if (!is_resolved_sig(set) && probe.thread.is_another_thread_sig()) return false;
  const std::uint32_t self = os_process_id_sig();
  std::uint32_t other = set.resolver->load();
  if (other == self || !set.resolver->compare_exchange_strong(other, self)) return is_resolved_sig(set);
  const errno_guard keep_errno;
  const bool marked = resolving.enter_sig();
  process_state* const process = process_sig();
  const bool counting = process != nullptr &&
                        claim_hooks_sig(process->hooks[static_cast<unsigned>(set.family)], set.part);
  for (int entry = 0; entry < set.count; ++entry) find_next_sig(set, entry);
  if (marked) resolving.leave_sig();
  const bool counts = set.settle(set, process, counting);
  if (counting && !counts) disclaim_hooks_sig(process->hooks[static_cast<unsigned>(set.family)], set.part);
  set.role->store(counts ? hook_role::counting : hook_role::forwarding, std::memory_order_release);
  return true;
}

// While another thread resolves, or a probe is under way: on to the next definition, uncounted.
PROF_DETAIL_COLD inline any_function unsettled_target_sig(const hook_set& set, int entry) PROF_DETAIL_SIG {
  if (load_word_sig(set, entry, word_next) == nullptr) {
    if (!resolving.enter_sig()) return function_of_sig(set, entry, function_resolving);
    find_next_sig(set, entry);
    resolving.leave_sig();
  }
  return load_word_sig(set, entry, word_next);
}

inline void* no_object(std::size_t) { return nullptr; }

// Where a call goes that found its entry unsettled, or a probe at work.
PROF_DETAIL_COLD inline any_function first_target_sig(const hook_set& set, int entry) PROF_DETAIL_SIG {
  if (probed_sig(set, entry)) {
    return probe.without_next ? reinterpret_cast<any_function>(&no_object) : unsettled_target_sig(set, entry);
  }
  if (resolving.has_this_sig()) return function_of_sig(set, entry, function_resolving);
  if (!is_resolved_sig(set) && !resolve_slow_sig(set)) return unsettled_target_sig(set, entry);
  return load_word_sig(set, entry, word_settled);
}

// Tag: set(), index, R fallback(args...) for "no next definition", R while_resolving(args...), and
// R counting(args...).
template <class Tag, class Signature>
struct hooked_base;

// What calls a noexcept function's entry must itself be known not to throw, or it could not end in a jump.
template <class Tag, class R, class... Args, bool Nothrow>
struct hooked_base<Tag, R(Args...) noexcept(Nothrow)> {
  using function = R (*)(Args...) noexcept(Nothrow);
  static R first_call(Args... args) noexcept(Nothrow) {
    return call(Tag::set().first(Tag::set(), Tag::index), args...);
  }

  struct words {
    std::atomic<function> next;
    std::atomic<function> settled;
    std::atomic<function> route;
  };
  static_assert(sizeof(words) == 3 * sizeof(std::uintptr_t), "see entry_word");
  inline static words state{{nullptr}, {nullptr}, {&first_call}};
  // One more function between the symbol and the one that takes stacks, where a Tag has it.
  static constexpr function between = nullptr;
  inline static std::atomic<std::uint32_t> sizes[own_functions::most] = {};

  // Inlined at -O0 too: it is no frame of its own.
  PROF_DETAIL_INLINE static R call(any_function target, Args... args) noexcept(Nothrow) {
    return reinterpret_cast<function>(target)(args...);
  }
  static R call_next(Args... args) noexcept(Nothrow) { return state.next.load(std::memory_order_relaxed)(args...); }
};
// In the order of entry_function.
template <class Tag>
inline constexpr typename Tag::function functions_of[3] = {&Tag::counting, &Tag::fallback,
                                                           &Tag::while_resolving};
template <class Tag>
inline constexpr typename Tag::function first_call_of = &Tag::first_call;
template <class Tag>
inline constexpr typename Tag::function between_of = Tag::between;
template <auto Hook>
inline constexpr auto hook_address = Hook;

template <class Entry, auto Hook>
constexpr hook_entry_facts facts_of(int shape = 0) {
  return {Entry::index, &Entry::state, &functions_of<Entry>, &hook_address<Hook>, shape,
          {{&hook_address<Hook>, &functions_of<Entry>[0], &first_call_of<Entry>, &between_of<Entry>}, Entry::sizes}};
}

template <class Tag>
const own_functions* own_functions_of() PROF_DETAIL_SIG {
  return &Tag::set().facts[Tag::index].own;
}

// Whether every entry's row is found by its number.
template <std::size_t Count>
constexpr bool facts_are_in_order(const hook_entry_facts (&facts)[Count]) {
  for (std::size_t i = 0; i < Count; ++i) {
    if (facts[i].entry != static_cast<int>(i)) return false;
  }
  return true;
}

PROF_DETAIL_END

#endif  // PROF_HOOK_ENTRY_HPP
