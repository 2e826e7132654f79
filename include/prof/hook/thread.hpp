// prof/hook/thread.hpp - pthread_create as seen by the whole program: every new thread gets its CPU
// timer before it runs, and gives it back when it ends.
// Floor 9 (hook). Defines a foreign symbol; tells sample/cpu.hpp.
// Safety: ordinary context (pthread_create is not async-signal-safe). No lock is held while the
//         next definition runs.
// Memory: a pool of start records per object; when it is used up a thread starts unwrapped and is
//         counted.
// Source: timers of per-thread profilers that hook no thread creation sample the main thread only
//         (gperftools issue 708). C11 thrd_create and std::thread come here too, except that
//         glibc's thrd_create calls its own pthread_create inside libc.
#ifndef PROF_HOOK_THREAD_HPP
#define PROF_HOOK_THREAD_HPP

#include "prof/sample/cpu.hpp"

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
};
inline constexpr std::size_t start_record_count = 256;
inline start_record start_records[start_record_count]{};

inline std::atomic<pthread_create_fn> next_pthread_create{nullptr};
inline std::atomic<unsigned> thread_exit_key{0};
inline std::atomic<int> thread_exit_key_made{0};
inline PROF_DETAIL_TLS int probing_thread_hook PROF_DETAIL_TLS_MODEL = 0;
inline hook_record thread_record = {"pthread_create", {"unknown"}, {"not called yet"}};

inline int no_pthread_create(os_thread_handle*, const os_thread_attributes*, os_thread_main,
                             void*) {
  return ENOSYS;
}

inline pthread_create_fn find_pthread_create() noexcept {
  pthread_create_fn found = next_pthread_create.load(std::memory_order_acquire);
  if (found != nullptr) return found;
  void* const next = os_next_symbol("pthread_create");
  found = prof_libc_pthread_create != nullptr ? &prof_libc_pthread_create : &no_pthread_create;
  if (next != nullptr) std::memcpy(&found, &next, sizeof found);
  next_pthread_create.store(found, std::memory_order_release);
  return found;
}

inline void forget_this_thread(void*) {
  process_state* const process = attached_process_sig();
  cpu_state* const cpu = process == nullptr ? nullptr : attached_cpu_sig(*process);
  if (cpu == nullptr || cpu->pid.load() != os_process_id_sig()) return;
  const spin_guard lock(cpu->threads_lock);
  const std::size_t index = cpu->threads.find_sig(thread_key_base + os_thread_id_sig());
  if (index != no_slot) disarm_slot(*cpu, index);
}

inline void arm_this_thread(process_state& process, cpu_state& cpu) noexcept {
  {
    const spin_guard lock(cpu.threads_lock);
    (void)arm_thread(process, cpu, os_thread_id_sig(), true);
  }
  // A host that blocks everything in its workers would otherwise not be sampled.
  os_unblock_signal_sig(cpu.signal.load());
  int making = 0;
  if (thread_exit_key_made.compare_exchange_strong(making, 1)) {
    unsigned key = 0;
    const bool made = os_make_exit_key(key, &forget_this_thread) == 0;
    thread_exit_key.store(key);
    thread_exit_key_made.store(made ? 2 : 3);
  }
  // Others may have been quicker by a moment; the key is one pthread_key_create away.
  for (int i = 0; i < 1000 && thread_exit_key_made.load() == 1; ++i) os_yield();
  if (thread_exit_key_made.load() != 2) return;
  const own_code_scope own(process);  // libc allocates for a key above 31
  os_at_thread_exit(thread_exit_key.load(), &cpu);
}

// The new thread's first function; ends in a tail call, so it is no frame of the thread's stacks.
inline void* hooked_thread_main(void* context) {
  auto& record = *static_cast<start_record*>(context);
  const os_thread_main main = record.main;
  void* const argument = record.argument;
  record.taken.store(0, std::memory_order_release);
  process_state* const process = attached_process_sig();
  cpu_state* const cpu = process == nullptr ? nullptr : attached_cpu_sig(*process);
  if (cpu != nullptr && cpu->period_ns.load() != 0 && cpu->pid.load() == os_process_id_sig()) {
    arm_this_thread(*process, *cpu);
  }
  return main(argument);
}

inline start_record* take_start_record() noexcept {
  for (start_record& record : start_records) {
    if (record.taken.load(std::memory_order_relaxed) != 0) continue;
    if (record.taken.exchange(1, std::memory_order_acquire) == 0) return &record;
  }
  return nullptr;
}

void test_thread_hook() noexcept;
extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_part
    prof_part_thread_hooks_v1 = {hook_part_magic, &thread_record, 1, &test_thread_hook,
                                 nullptr, &own_code_depth_address};

inline int create_hooked_thread(os_thread_handle* thread, const os_thread_attributes* attributes,
                                os_thread_main main, void* argument) {
  const pthread_create_fn next = find_pthread_create();
  process_state* const process = process_sig();
  cpu_state* const cpu = process == nullptr ? nullptr : cpu_of(*process);
  if (cpu == nullptr) return next(thread, attributes, main, argument);
  const bool counts = claim_hooks_sig(process->thread_hooks, &prof_part_thread_hooks_v1);
  thread_record.state.store(counts ? "live" : "forwarding");
  thread_record.why.store(counts ? "counts" : "another object of the process counts");
  if (!counts) return next(thread, attributes, main, argument);
  start_record* const record = take_start_record();
  if (record == nullptr) {
    count_drop_sig(*process, drop::start_records_full);
    return next(thread, attributes, main, argument);
  }
  record->main = main;
  record->argument = argument;
  const int answer = next(thread, attributes, &hooked_thread_main, record);
  if (answer != 0) record->taken.store(0, std::memory_order_release);
  else if (own_code_depth == 0) cpu->threads_started.fetch_add(1, std::memory_order_relaxed);
  return answer;
}

extern "C" {
int prof_hook_pthread_create(os_thread_handle* thread, const os_thread_attributes* attributes,
                             os_thread_main main, void* argument)
    PROF_DETAIL_HOOK("pthread_create");
int prof_hook_pthread_create(os_thread_handle* thread, const os_thread_attributes* attributes,
                             os_thread_main main, void* argument) {
  if (probing_thread_hook != 0) {
    probing_thread_hook = 2;
    return EAGAIN;
  }
  return create_hooked_thread(thread, attributes, main, argument);
}
}

// Calls pthread_create as the program does, without making a thread, and notes whether ours is
// entered. If it is not, a thread that returns at once is made and joined: that is the proof.
PROF_DETAIL_COLD inline void test_thread_hook() noexcept {
  probing_thread_hook = 1;
  pthread_create_fn volatile call = &prof_hook_pthread_create;
  os_thread_handle thread{};
  const os_thread_main nothing = [](void* argument) { return argument; };
  if (call(&thread, nullptr, nothing, nullptr) == 0) os_join_thread(thread);
  if (probing_thread_hook == 1) {
    thread_record.state.store("dead");
    thread_record.why.store("another definition comes first in symbol order or in a static link");
  } else if (thread_record.state.load()[0] == 'u' || thread_record.state.load()[0] == 'd') {
    thread_record.state.store("live");
    thread_record.why.store("counts");
  }
  probing_thread_hook = 0;
}

PROF_DETAIL_END

#endif  // PROF_HOOK_THREAD_HPP
