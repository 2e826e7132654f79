// prof/hook/thread.hpp - pthread_create as seen by the whole program: parts are told of every thread, before it runs and
// when it ends.
// Floor 9 (hook). Defines a foreign symbol; tells the parts, of which it knows none.
// Safety: ordinary context (pthread_create is not async-signal-safe). No lock is held while the
//         next definition runs.
// Memory: a pool of start records per object; when it is used up a thread starts unwrapped and is
//         counted.
// Source: timers of per-thread profilers that hook no thread creation sample the main thread only
//         (gperftools issue 708). C11 thrd_create and std::thread come here too, except that
//         glibc's thrd_create calls its own pthread_create inside libc.
#ifndef PROF_HOOK_THREAD_HPP
#define PROF_HOOK_THREAD_HPP

#include "prof/hook/entry.hpp"
#include "prof/process/capture.hpp"
#include "prof/process/enter.hpp"

PROF_DETAIL_BEGIN

// In a static link our definition keeps libc's pthread_create.o from being pulled in. thrd_create
// lives in an object that needs it, so a reference to that brings libc's own under a second name
// (libc.a of glibc 2.36: T __pthread_create; libpthread.a of 2.31: T __pthread_create_2_1, and an
// undefined __pthread_create, which must not be met; musl: T __pthread_create). Dynamically it is one
// more import. Before glibc 2.28 there is no thrd_create.
#if PROF_DETAIL_GLIBC_BEFORE(34)
#define PROF_DETAIL_SECOND_PTHREAD_CREATE "__pthread_create_2_1"
#else
#define PROF_DETAIL_SECOND_PTHREAD_CREATE "__pthread_create"
#endif
#if !PROF_DETAIL_GLIBC_BEFORE(28)
extern "C" int prof_thrd_create(void*, int (*)(void*), void*) __asm__("thrd_create")
    __attribute__((__visibility__("default")));
__attribute__((__used__)) inline int (*const keep_thrd_create)(void*, int (*)(void*), void*) =
    &prof_thrd_create;
#endif
using pthread_create_fn = int (*)(os_thread_handle*, const os_thread_attributes*, os_thread_main,
                                  void*);
extern "C" int prof_libc_pthread_create(os_thread_handle*, const os_thread_attributes*,
                                        os_thread_main, void*)
    PROF_DETAIL_WEAK_IMPORT(PROF_DETAIL_SECOND_PTHREAD_CREATE);

struct start_record {
  std::atomic<std::uint32_t> taken;
  os_thread_main main;
  void* argument;
  thread_start start;
};
inline constexpr std::size_t start_record_count = 256;
inline start_record start_records[start_record_count]{};

inline std::atomic<unsigned> thread_exit_key{0};
inline std::atomic<int> thread_exit_key_made{0};

inline void tell_thread_ends(void*) {
  process_state* const process = attached_process_sig();
  if (process == nullptr) return;
  for_each_thread_part(*process, [process](const profile_part& known) {
    if (known.thread_ends != nullptr) known.thread_ends(*process);
  });
}

inline void tell_when_thread_ends(process_state& process) noexcept {
  int making = 0;
  if (thread_exit_key_made.compare_exchange_strong(making, 1)) {
    unsigned key = 0;
    const bool made = os_make_exit_key(key, &tell_thread_ends) == 0;
    thread_exit_key.store(key);
    thread_exit_key_made.store(made ? 2 : 3);
  }
  // Others may have been quicker by a moment; the key is one pthread_key_create away.
  for (int i = 0; i < 1000 && thread_exit_key_made.load() == 1; ++i) os_yield();
  if (thread_exit_key_made.load() != 2) return;
  const own_code_scope own(process);  // libc allocates for a key above 31
  os_at_thread_exit(thread_exit_key.load(), &process);
}

// What the program wants to run, when the parts have been told of the thread, which is the calling one.
struct thread_work {
  os_thread_main main;
  void* argument;
};
PROF_DETAIL_NOINLINE inline thread_work begin_thread(start_record& record) noexcept {
  const thread_work work{record.main, record.argument};
  thread_start start = record.start;
  record.taken.store(0, std::memory_order_release);
  process_state* const process = attached_process_sig();
  if (process == nullptr) return work;
  start.handle = os_thread_pointer_sig();
  bool wants_end = false;
  for_each_thread_part(*process, [&](const profile_part& known) {
    known.thread_runs(*process, start);
    wants_end |= known.wants_thread_ends != nullptr && known.wants_thread_ends(*process);
  });
  if (wants_end) tell_when_thread_ends(*process);
  return work;
}

// The new thread's first function; ends in a tail call, so it is no frame of the thread's stacks.
inline void* hooked_thread_main(void* context) {
  const thread_work work = begin_thread(*static_cast<start_record*>(context));
  return work.main(work.argument);
}

inline start_record* take_start_record() noexcept {
  for (start_record& record : start_records) {
    if (record.taken.load(std::memory_order_relaxed) != 0) continue;
    if (record.taken.exchange(1, std::memory_order_acquire) == 0) return &record;
  }
  return nullptr;
}

// ---- the entry ---------------------------------------------------------------------------------------------

inline std::atomic<hook_role> thread_role{hook_role::unresolved};
inline std::atomic<std::uint32_t> thread_resolver{0};
inline hook_record thread_records[1] = {{"pthread_create", {"unknown"}, {"not called yet"}}};
const hook_set& thread_hooks() PROF_DETAIL_SIG;

struct pthread_create_entry
    : hooked_base<pthread_create_entry,
                  int(os_thread_handle*, const os_thread_attributes*, os_thread_main, void*) noexcept> {
  static constexpr int index = 0;
  static const hook_set& set() PROF_DETAIL_SIG { return thread_hooks(); }

  static int counting(os_thread_handle* thread, const os_thread_attributes* attributes, os_thread_main main,
                      void* argument) noexcept {
    process_state* const process = process_sig();
    start_record* const record = process == nullptr ? nullptr : take_start_record();
    if (record == nullptr) {
      if (process != nullptr) count_drop_sig(*process, drop::start_records_full);
      return call_next(thread, attributes, main, argument);
    }
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<pthread_create_entry>());
    thread_start start;
    start.creator = os_thread_id_sig();
    start.is_own = runs_own_code_sig(*process, start.creator);
    start.is_joinable = os_starts_joinable(attributes);
    for_each_thread_part(*process, [&](const profile_part& known) {
      if (known.thread_starts != nullptr) known.thread_starts(*process, start, caller);
    });
    record->main = main;
    record->argument = argument;
    record->start = start;
    const int answer = call_next(thread, attributes, &hooked_thread_main, record);
    if (answer != 0) record->taken.store(0, std::memory_order_release);
    return answer;
  }
  static int fallback(os_thread_handle* thread, const os_thread_attributes* attributes, os_thread_main main,
                      void* argument) noexcept {
    return prof_libc_pthread_create != nullptr ? prof_libc_pthread_create(thread, attributes, main, argument) : ENOSYS;
  }
  // Another object counts, unless it has been unloaded: then the first object that starts a thread does.
  static int forwarding(os_thread_handle* thread, const os_thread_attributes* attributes, os_thread_main main,
                        void* argument) noexcept;
  static constexpr function between = &pthread_create_entry::forwarding;
  // While the hook is tested.
  static int probed(os_thread_handle* thread, const os_thread_attributes* attributes, os_thread_main main,
                    void* argument) noexcept {
    if (probed_sig(set(), index)) return EAGAIN;
    return call(load_word_sig(set(), index, word_settled), thread, attributes, main, argument);
  }
  // dlsym makes no threads.
  static int while_resolving(os_thread_handle*, const os_thread_attributes*, os_thread_main, void*) noexcept {
    return EAGAIN;
  }
};

inline bool settle_thread(const hook_set& set, process_state*, bool counting) {
  if (counting) settle_live_sig(set, 0);
  else settle_sig(set, 0, reinterpret_cast<any_function>(&pthread_create_entry::forwarding), "forwarding",
                  "another object of the process counts");
  return counting;
}

void test_thread_hook() noexcept;
extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_family_part prof_hooks_thread_v2 = {
    hook_family_magic, thread_records, 1, &test_thread_hook, nullptr};

PROF_DETAIL_END

// ---- the symbol. A compiler that quotes this line has met another definition in the same file. ----------------------

extern "C" {
PROF_DETAIL_HOOKED
int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,  // Yours? Include prof.hpp elsewhere.
                   void* (*main)(void*), void* argument) PROF_DETAIL_C_NOEXCEPT {
  return ::prof::detail::pthread_create_entry::state.route.load(std::memory_order_acquire)(thread, attributes, main,
                                                                                         argument);
}
}

PROF_DETAIL_BEGIN

inline constexpr hook_entry_facts thread_facts[1] = {facts_of<pthread_create_entry, &pthread_create>()};
inline constexpr hook_set thread_hook_set = {
    hook_family::thread, &prof_hooks_thread_v2, thread_facts, thread_records,
    &thread_role,        &thread_resolver,      1,            &settle_thread};
inline const hook_set& thread_hooks() PROF_DETAIL_SIG { return thread_hook_set; }

inline int pthread_create_entry::forwarding(os_thread_handle* thread, const os_thread_attributes* attributes,
                                            os_thread_main main, void* argument) noexcept {
  constexpr auto family = static_cast<unsigned>(hook_family::thread);
  process_state* const process = process_sig();
  if (process == nullptr || owner_of_sig(*process, family) != nullptr ||
      !claim_hooks_sig(process->hooks[family], &prof_hooks_thread_v2)) {
    return call_next(thread, attributes, main, argument);
  }
  (void)settle_thread(set(), process, true);
  thread_role.store(hook_role::counting, std::memory_order_release);
  return counting(thread, attributes, main, argument);
}

// Calls pthread_create as the program does, without making a thread, and notes whether ours is
// entered. If it is not, a thread that returns at once is made and joined: that is the proof.
PROF_DETAIL_COLD inline void test_thread_hook() noexcept {
  const hook_set& set = thread_hooks();
  if (!is_resolved_sig(set) && !resolve_slow_sig(set)) return;  // another thread is at it
  const probe_scope probing;
  if (!probing.alone()) return;
  store_word_sig(set, 0, word_route, reinterpret_cast<any_function>(&pthread_create_entry::probed));
  pthread_create_fn volatile symbol = &pthread_create;
  os_thread_handle thread{};
  const os_thread_main nothing = [](void* argument) { return argument; };
  probe.first_hit = no_entry;
  if (symbol(&thread, nullptr, nothing, nullptr) == 0) os_join_thread(thread);
  if (probe.first_hit != probe_number(set, 0)) {
    settle_to_next_sig(set, 0, "dead", "another definition comes first in symbol order or in a static link");
  } else {
    (void)settle_thread(set, nullptr, counts_here_sig(set));
  }
}

PROF_DETAIL_END

#endif  // PROF_HOOK_THREAD_HPP
