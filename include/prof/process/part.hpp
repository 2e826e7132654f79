// prof/process/part.hpp - what the core knows of a part: one descriptor, without the part's types.
// Floor 7 (process). Defined by part/, one for each feature; reached by collect/ and by hooks.
// Safety: data; which functions may run where is said beside each.
// Memory: none.
// Source: design rule "mixing switches is legal and the union wins": a descriptor is a weak symbol, null where no file
//         of the object brings the part, and no token here depends on a switch.
#ifndef PROF_PROCESS_PART_HPP
#define PROF_PROCESS_PART_HPP

#include "prof/base/memory.hpp"
#include "prof/base/result.hpp"
#include "prof/base/text.hpp"
#include "prof/code/code_map.hpp"
#include "prof/process/http_part.hpp"
#include "prof/process/stack_table.hpp"
#include "prof/profile/model.hpp"
#include "prof/profile/request.hpp"

PROF_DETAIL_BEGIN

struct process_state;
struct host_call;

// ---- profiles ------------------------------------------------------------------------------------------

// One profile by name, as the index lists it. Lives as long as the process.
struct profile_row {
  text_view name;
  text_view description;         // one line
  unsigned default_seconds = 0;  // how long it is collected when a request does not say; 0: what is known now
  text_view default_type = {};   // the value type shown first; empty: the last one
  text_view delta_name = {};     // of the download when it is a difference over some seconds
  // What debug=1 writes; null: debug changes nothing.
  bool (*write_text)(const profile& p, arena& scratch, output out) = nullptr;
  // Of functions whose frames are left out at the leaf end, true; null: none are.
  bool (*hides)(text_view function) = nullptr;
  // Writes the answer itself instead of filling a profile; null: it fills one.
  bool (*write)(process_state& process, void* run, const profile_request& request, output out) = nullptr;
  // What an answer of the server says before the reason where the row could not begin, in Go's words.
  text_view failure = {};
  // What debug=2 and above write; null: the same as debug=1.
  bool (*write_full_text)(const profile& p, arena& scratch, output out) = nullptr;
};

// A number of status(), or a text.
struct status_value {
  const char* name;
  std::uint64_t number;
  const char* text;  // null: the number
};

template <class Thing>
struct visitor {
  void (*visit)(void* context, const Thing& thing);
  void* context;
  void operator()(const Thing& thing) const { visit(context, thing); }
};

// One collection of one row, between begin and end. `run` is run_bytes zeroed bytes in `memory`, which lives as long.
struct profile_run {
  process_state& process;
  const profile_row& row;
  const profile_request& request;
  arena& memory;
  void* state = nullptr;
  const registers* asker = nullptr;  // of the host's call that asks; null: code of ours does
};

// A thread that the program makes, as the hook of pthread_create knows it.
struct thread_start {
  std::uint64_t number = 0;  // of this process, from 1
  stack_id stack = overflow_stack;
  std::uint32_t labels = 0;
  std::uint32_t creator = 0;
  bool is_own = false;     // code of ours made it
  bool is_joinable = true;
  std::uintptr_t handle = 0;  // its pthread_t
};

// A part that brings profiles. Ordinary context, any thread, where nothing else is said. Null functions are allowed where
// it is said what they mean.
struct profile_part {
  part_head head;
  std::size_t run_bytes;
  // Its profiles. Their names may be made at run time.
  void (*visit_rows)(process_state& process, visitor<profile_row> visit);
  // begin starts counting for the run, end stops it and copies the counts; cancel ends it without. end and cancel are
  // called once, and only if begin succeeded.
  result (*begin)(profile_run& run);
  result (*end)(profile_run& run);
  void (*cancel)(profile_run& run);
  // The counts of an ended run as a profile. Time, duration and the row's default type are the caller's to fill in.
  void (*fill)(profile& p, profile_run& run);
  // Sets the sampling rate, in the part's own unit, and returns the one before; a value it does not know changes nothing.
  std::uint64_t (*set_rate)(process_state& process, std::uint64_t rate);
  // How many stacks or entries it has, for the index. Null: 0.
  std::uint64_t (*count)(const process_state& process);
  void (*report)(const process_state& process, visitor<status_value> visit);
  // In a forked child, before anything else; `alone`: it has no other thread for certain. Null: there is nothing to do.
  void (*forget_parent)(process_state& process, bool alone);
  // The object whose hooks counted for it was unloaded. In a hook or an allocator. Null: there is nothing to do.
  void (*hooks_unloaded_sig)(process_state& process);
  // A thread is about to be made, by the calling one; runs, and is the calling one; ends. Null: not told.
  void (*thread_starts)(process_state& process, thread_start& start, const host_call& caller) = nullptr;
  void (*thread_runs)(process_state& process, const thread_start& start) = nullptr;
  bool (*wants_thread_ends)(process_state& process) = nullptr;  // asked by a thread that runs
  void (*thread_ends)(process_state& process) = nullptr;
  // A join begins, and what it returned is told when it has ended; a thread is detached from now on, which may not run yet.
  // All by pthread_t.
  std::uint64_t (*join_begins)(process_state& process, std::uintptr_t handle) = nullptr;
  void (*join_ends)(process_state& process, std::uintptr_t handle, std::uint64_t known, bool is_joined) = nullptr;
  void (*thread_detached)(process_state& process, std::uintptr_t handle) = nullptr;
};

// ---- names -----------------------------------------------------------------------------------------------

struct symbolize_part {
  part_head head;
  // Gives every location of a profile its functions, and files and lines, as far as they are wanted.
  void (*symbolize)(process_state& process, profile& p, const code_map* code, symbols wanted);
  // Calls found(context, address, demangled name) for each address whose function is known.
  void (*name_all)(process_state& process, const std::uint64_t* addresses, std::size_t count, const code_map* code,
                   void (*found)(void* context, std::uint64_t address, text_view name), void* context);
  // As of a profile_part.
  void (*forget_parent)(process_state& process, bool alone);
  void (*report)(process_state& process, visitor<status_value> visit);
};

// ---- explicit records --------------------------------------------------------------------------------------

struct call_frame;

// What record_alloc and record_free lead to.
struct record_part {
  part_head head;
  // `countdown` is used up by an object of `size` bytes; `call` is the call to record_alloc.
  void (*record_alloc_sig)(process_state& process, std::int64_t& countdown, void* object, std::size_t size,
                           const call_frame& call) PROF_DETAIL_SIG;
  void (*record_free_sig)(process_state& process, void* object) PROF_DETAIL_SIG;
};

// What the locks of collect/locks.hpp lead to; see api_table.
struct lock_part {
  part_head head;
  void (*taken)(void* lock);
  void (*waits)(void* lock, std::uint32_t kind, void (*wait)(void* lock), const call_frame& call);
  void (*unlocks)(void* lock, std::uint64_t sharers, void (*unlock)(void* lock), const call_frame& call);
  void (*contended)(std::uint64_t ns, const call_frame& call);
};

// ---- the list ------------------------------------------------------------------------------------------------

// X(identifier, type of the descriptor, switch, names of its profiles). The one place that knows all parts: it declares
// the descriptors, registers them, and says which switch a profile needs. A part that brings a switch brings a row.
#define PROF_DETAIL_PARTS(X)                                          \
  X(cpu, profile_part, "PROF_ENABLE_CPU", "profile")                  \
  X(heap, profile_part, "PROF_ENABLE_HEAP", "allocs heap")            \
  X(mutex, profile_part, "PROF_ENABLE_MUTEX", "mutex")                \
  X(block, profile_part, "PROF_ENABLE_BLOCK", "block")                \
  X(threads, profile_part, "PROF_ENABLE_THREADS", "goroutine threadcreate threads") \
  X(records, record_part, "PROF_ENABLE_HEAP", "")                     \
  X(locks, lock_part, "PROF_ENABLE_MUTEX", "")                        \
  X(symbolize, symbolize_part, "PROF_ENABLE_SYMBOLIZE", "")           \
  X(http, http_part, "PROF_ENABLE_HTTP", "")

enum class part : unsigned {
#define PROF_DETAIL_PART(identifier, type, needs, names) identifier,
  PROF_DETAIL_PARTS(PROF_DETAIL_PART)
#undef PROF_DETAIL_PART
      count_
};
inline constexpr unsigned part_count = static_cast<unsigned>(part::count_);

// Declared weak: the address is null unless a file of this object defines it. The definitions are
// weak too, so that many files may have them.
#define PROF_DETAIL_PART(identifier, type, needs, names) \
  extern "C" const type prof_part_##identifier##_v2 __attribute__((__weak__, __visibility__("hidden")));
PROF_DETAIL_PARTS(PROF_DETAIL_PART)
#undef PROF_DETAIL_PART

// This object's descriptor of a part, or null.
inline const part_head* own_part_sig(unsigned which) PROF_DETAIL_SIG {
  switch (which) {
#define PROF_DETAIL_PART(identifier, type, needs, names) \
  case static_cast<unsigned>(part::identifier):          \
    return &prof_part_##identifier##_v2 != nullptr ? &prof_part_##identifier##_v2.head : nullptr;
    PROF_DETAIL_PARTS(PROF_DETAIL_PART)
#undef PROF_DETAIL_PART
    default: return nullptr;
  }
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_PART_HPP
