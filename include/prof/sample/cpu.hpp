// prof/sample/cpu.hpp - CPU time by stack: one CPU-time timer per thread, aggregated in its handler.
// Floor 8 (sample). Started by serve/, told of new threads by hook/thread.hpp.
// Safety: tick_sig is the signal handler's body: no lock, no allocation, no libc; its frame is
//         small because frames go to a pooled buffer. Everything else is for ordinary context.
// Memory: one reservation (cpu_bytes) of address space, touched on demand, never freed.
// Source: timer_create(2) on each thread's CPU clock (user and system time); expirations beyond the
//         kernel tick are folded into si_overrun, so a sample weighs 1 + overrun periods. A random
//         first phase as in Go's runtime, so that short-lived threads are seen without bias.
//         A session is the difference of two readings of one table: nothing is drained.
#ifndef PROF_SAMPLE_CPU_HPP
#define PROF_SAMPLE_CPU_HPP

#include "prof/base/random.hpp"
#include "prof/process/profile_builder.hpp"
#include "prof/process/capture.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint32_t max_hz = 10000;
inline constexpr std::size_t max_cpu_sessions = 8;

// Counts of one (stack, labels).
struct cpu_slot {
  std::atomic<std::uint64_t> key;
  std::atomic<std::uint32_t> ready;
  std::atomic<stack_id> stack;
  std::atomic<label_set_id> labels;
  std::atomic<std::uint64_t> ticks;
  std::atomic<std::uint64_t> nanoseconds;
};

// A thread with a timer. The kernel hands the slot's address back in every signal.
struct thread_slot {
  std::atomic<std::uint64_t> key;  // thread id + thread_key_base
  std::atomic<int> timer;
  std::atomic<std::uint64_t> period_ns;
};
inline constexpr std::uint64_t thread_key_base = std::uint64_t{1} << 32;

using cpu_counts = add_only_table<cpu_slot>;
using thread_table = add_remove_table<thread_slot>;

struct cpu_state {
  static constexpr std::size_t counts_first = 256;
  static constexpr unsigned counts_levels = 10;  // 261,888 slots
  static constexpr std::size_t threads_first = 256;
  static constexpr unsigned threads_levels = 7;  // 32,512 threads

  cpu_counts counts;
  thread_table threads;
  std::size_t overflow_counts;
  thread_slot* first_thread;  // bounds of the table, to tell our slots from foreign pointers
  thread_slot* last_thread;
  spin_lock threads_lock;   // ordinary context: arming, disarming, retiming
  spin_lock sessions_lock;  // ordinary context: start and stop
  std::atomic<std::uint64_t> period_ns;  // of the running timers; 0: no session runs
  std::atomic<std::uint32_t> in_handler;
  std::atomic<std::uint32_t> pid;  // of the process whose timers these are
  std::atomic<int> signal;         // 0 until chosen
  std::atomic<const void*> handler;
  std::atomic<std::uint64_t> handler_ns;
  std::atomic<std::uint64_t> ticks;
  std::atomic<std::uint32_t> unsampled_threads;
  std::atomic<std::uint64_t> threads_started;  // seen by the thread hook
  std::uint64_t random;
  std::uint32_t session_hz[max_cpu_sessions];  // 0: free
};

inline constexpr std::size_t cpu_counts_bytes =
    page_round(cpu_counts::bytes_for(cpu_state::counts_first, cpu_state::counts_levels));
inline constexpr std::size_t cpu_threads_bytes =
    page_round(thread_table::bytes_for(cpu_state::threads_first, cpu_state::threads_levels));
inline constexpr std::size_t cpu_bytes =
    page_round(sizeof(cpu_state)) + cpu_counts_bytes + cpu_threads_bytes;

inline void fill_slot_sig(cpu_slot& slot, stack_id stack, label_set_id labels) PROF_DETAIL_SIG {
  if (slot.ready.load(std::memory_order_acquire) != 0) return;
  slot.stack.store(stack, std::memory_order_relaxed);
  slot.labels.store(labels, std::memory_order_relaxed);
  slot.ready.store(1, std::memory_order_release);
}

PROF_DETAIL_COLD inline cpu_state* make_cpu() noexcept {
  char* at = static_cast<char*>(os_map_sig(cpu_bytes));
  if (at == nullptr) return nullptr;
  auto* const cpu = new (at) cpu_state{};
  at += page_round(sizeof(cpu_state));
  cpu->counts.bind(at, cpu_state::counts_first, cpu_state::counts_levels);
  at += cpu_counts_bytes;
  cpu->threads.bind(at, cpu_state::threads_first, cpu_state::threads_levels);
  cpu->first_thread = reinterpret_cast<thread_slot*>(at);
  cpu->last_thread = cpu->first_thread + thread_table::slots_in(cpu_state::threads_first,
                                                                cpu_state::threads_levels);
  bool fresh = false;
  cpu->overflow_counts = cpu->counts.find_or_add_sig(3, fresh);
  fill_slot_sig(cpu->counts.at(cpu->overflow_counts), overflow_stack, no_labels);
  cpu->random = os_monotonic_ns_sig() ^ os_thread_id_sig();
  cpu->pid.store(os_process_id_sig());
  return cpu;
}

inline cpu_state* attached_cpu_sig(process_state& process) PROF_DETAIL_SIG {
  return static_cast<cpu_state*>(
      process.part_states[static_cast<unsigned>(part::cpu)].load(std::memory_order_acquire));
}
inline cpu_state* cpu_of(process_state& process) noexcept {
  auto& place = process.part_states[static_cast<unsigned>(part::cpu)];
  void* there = place.load(std::memory_order_acquire);
  if (there != nullptr) return static_cast<cpu_state*>(there);
  cpu_state* const made = make_cpu();
  if (made == nullptr) return nullptr;
  if (place.compare_exchange_strong(there, made, std::memory_order_acq_rel)) return made;
  os_unmap_sig(made, cpu_bytes);
  return static_cast<cpu_state*>(there);
}

// ---- the handler -----------------------------------------------------------------------------------

inline void count_tick_sig(process_state& process, cpu_state& cpu, const timer_event& event,
                           std::uint64_t period_ns) PROF_DETAIL_SIG {
  const stack_id stack = capture_stack_sig(process, event.regs, false, period_ns);
  const label_set_id labels = current_labels_sig(process);
  const std::uintptr_t words[2] = {stack, labels};
  bool fresh = false;
  std::size_t index = cpu.counts.find_or_add_sig(hash_words_sig(words, 2, 2), fresh);
  if (index == no_slot) {
    count_drop_sig(process, drop::count_table_full);
    index = cpu.overflow_counts;
  } else {
    fill_slot_sig(cpu.counts.at(index), stack, labels);
  }
  cpu_slot& slot = cpu.counts.at(index);
  slot.ticks.fetch_add(event.expirations, std::memory_order_relaxed);
  slot.nanoseconds.fetch_add(event.expirations * period_ns, std::memory_order_relaxed);
  cpu.ticks.fetch_add(1, std::memory_order_relaxed);
}

inline void tick_sig(const timer_event& event) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  cpu_state* const cpu = process == nullptr ? nullptr : attached_cpu_sig(*process);
  if (cpu == nullptr) return;
  const std::uint64_t began = os_monotonic_ns_sig();
  const presence_guard inside(cpu->in_handler);
  auto* const slot = static_cast<thread_slot*>(event.slot);
  if (slot < cpu->first_thread || slot >= cpu->last_thread) {
    return count_drop_sig(*process, drop::foreign_signal);
  }
  if (cpu->period_ns.load(std::memory_order_acquire) == 0) {
    return count_drop_sig(*process, drop::late_signal);  // was pending when the timer was deleted
  }
  count_tick_sig(*process, *cpu, event, slot->period_ns.load(std::memory_order_relaxed));
  cpu->handler_ns.fetch_add(os_monotonic_ns_sig() - began, std::memory_order_relaxed);
}

// ---- threads and their timers --------------------------------------------------------------------------

// First expiry uniform in (0, period]; returns 0 or an errno. Caller holds threads_lock.
inline int set_timer(cpu_state& cpu, thread_slot& slot, std::uint64_t period_ns) noexcept {
  slot.period_ns.store(period_ns, std::memory_order_relaxed);
  const std::uint64_t first = 1 + random_sig(cpu.random) % period_ns;
  return os_timer_set_sig(slot.timer.load(std::memory_order_relaxed), first, period_ns);
}

inline void disarm_slot(cpu_state& cpu, std::size_t index) noexcept {
  os_timer_delete_sig(cpu.threads.at(index).timer.load(std::memory_order_relaxed));
  cpu.threads.remove_sig(index);
}

// Gives a thread its timer. `replace`: the thread is new, so an entry with its id is a dead
// thread's. Returns 0 or an errno; failures are counted. Caller holds threads_lock.
inline int arm_thread(process_state& process, cpu_state& cpu, std::uint32_t thread,
                      bool replace) noexcept {
  const std::uint64_t period_ns = cpu.period_ns.load(std::memory_order_relaxed);
  const std::uint64_t key = thread_key_base + thread;
  const std::size_t known = cpu.threads.find_sig(key);
  if (period_ns == 0) return 0;
  if (known != no_slot && !replace) return 0;
  if (known != no_slot) disarm_slot(cpu, known);
  const std::size_t index = cpu.threads.claim_sig(key);
  if (index == no_slot) {
    count_drop_sig(process, drop::thread_table_full);
    return -1;
  }
  thread_slot& slot = cpu.threads.at(index);
  int timer = -1;
  int failed = os_timer_create_sig(thread, cpu.signal.load(), &slot, timer);
  slot.timer.store(timer, std::memory_order_relaxed);
  if (failed == 0) failed = set_timer(cpu, slot, period_ns);
  cpu.threads.publish_sig(index, key);
  if (failed != 0) {
    disarm_slot(cpu, index);
    count_drop_sig(process, drop::timer_failed);
  }
  return failed;
}

// Calls act(index) for every thread with a timer.
template <class Act>
inline void for_each_armed(cpu_state& cpu, Act act) {
  const std::size_t span = cpu.threads.span();
  for (std::size_t i = 0; i < span; ++i) {
    if (cpu.threads.at(i).key.load(std::memory_order_acquire) >= thread_key_base) act(i);
  }
}

struct arm_all_context {
  process_state& process;
  cpu_state& cpu;
  int armed = 0;
  int failed = 0;
  std::uint32_t blocked = 0;
};

// Arms every thread that exists. New ones arm themselves, since period_ns is set before. Returns 0
// if at least one thread has a timer, else the errno.
inline int arm_all_threads(process_state& process, cpu_state& cpu) noexcept {
  arm_all_context all{process, cpu};
  const bool listed = os_for_each_thread(
      [](void* context, std::uint32_t thread) {
        auto& here = *static_cast<arm_all_context*>(context);
        const spin_guard lock(here.cpu.threads_lock);
        const int failed = arm_thread(here.process, here.cpu, thread, false);
        if (failed == 0) ++here.armed;
        else here.failed = failed;
        if (os_signal_blocked(thread, here.cpu.signal.load())) ++here.blocked;
      },
      &all);
  cpu.unsampled_threads.store(all.blocked, std::memory_order_relaxed);
  if (!listed) {  // no /proc: this thread and the ones to come
    const spin_guard lock(cpu.threads_lock);
    count_drop_sig(process, drop::threads_unlisted);
    return arm_thread(process, cpu, os_thread_id_sig(), false);
  }
  return all.armed != 0 ? 0 : all.failed;
}

inline void disarm_all_threads(cpu_state& cpu) noexcept {
  const spin_guard lock(cpu.threads_lock);
  for_each_armed(cpu, [&](std::size_t index) { disarm_slot(cpu, index); });
}

// Sets all timers to a period and gives those of threads that are gone back: the kernel answers
// ESRCH for them (6.18, posix_cpu_timer_set), also when a new thread has got the same id.
inline void retime_all_threads(cpu_state& cpu, std::uint64_t period_ns) noexcept {
  const spin_guard lock(cpu.threads_lock);
  for_each_armed(cpu, [&](std::size_t index) {
    if (set_timer(cpu, cpu.threads.at(index), period_ns) != 0) disarm_slot(cpu, index);
  });
}

// In a forked child: no timer was inherited and no session is its own.
inline void forget_parent_cpu(cpu_state& cpu) noexcept {
  cpu.threads_lock.unlock();
  cpu.sessions_lock.unlock();
  cpu.pid.store(os_process_id_sig());
  cpu.period_ns.store(0);
  cpu.in_handler.store(0);
  for (std::uint32_t& hz : cpu.session_hz) hz = 0;
  for_each_armed(cpu, [&](std::size_t index) { cpu.threads.remove_sig(index); });
}

// ---- reading ---------------------------------------------------------------------------------------------

// The counts at one moment: see heap_reading.
struct cpu_reading {
  explicit cpu_reading(arena& memory) noexcept : values(memory) {}
  struct row {
    std::uint64_t ticks;
    std::uint64_t nanoseconds;
  };
  arena_vector<row> values;  // by slot index
};

inline void read_cpu(const cpu_state& cpu, cpu_reading& reading) noexcept {
  const std::size_t span = cpu.counts.span();
  reading.values.resize(span);
  for (std::size_t i = 0; i < span && i < reading.values.size(); ++i) {
    const cpu_slot& slot = cpu.counts.at(i);
    if (slot.ready.load(std::memory_order_acquire) == 0) continue;
    reading.values[i] = {slot.ticks.load(std::memory_order_relaxed),
                         slot.nanoseconds.load(std::memory_order_relaxed)};
  }
}

// Go's CPU profile shape: what was counted from one reading to another.
inline void fill_cpu_profile(profile& p, const process_state& process, const cpu_state& cpu,
                             const cpu_reading& base, const cpu_reading& reading, std::uint32_t hz) noexcept {
  p.add_value_type("samples", "count");
  p.add_value_type("cpu", "nanoseconds");
  p.period_type = {p.string("cpu"), p.string("nanoseconds")};
  p.period = static_cast<std::int64_t>(1000000000u / hz);
  profile_builder build(p, process.code.load(), process.stacks, process.labels);
  for (std::size_t i = 0; i < reading.values.size(); ++i) {
    const cpu_slot& slot = cpu.counts.at(i);
    std::uint64_t ticks = reading.values[i].ticks;
    std::uint64_t nanoseconds = reading.values[i].nanoseconds;
    if (i < base.values.size()) {
      ticks -= base.values[i].ticks;
      nanoseconds -= base.values[i].nanoseconds;
    }
    if (ticks == 0) continue;
    const std::int64_t values[2] = {static_cast<std::int64_t>(ticks),
                                    static_cast<std::int64_t>(nanoseconds)};
    build.add(slot.stack.load(std::memory_order_relaxed),
              slot.labels.load(std::memory_order_relaxed), nullptr, 0, values);
  }
  build.add_stack_comments();
}

PROF_DETAIL_END

#endif  // PROF_SAMPLE_CPU_HPP
