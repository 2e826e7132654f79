// prof/collect/status.hpp - what runs, which hooks are live, what was lost, what prof itself costs.
// Floor 11 (collect). Public; also the status page.
// Safety: ordinary context, any thread. Testing the hooks calls each hooked function once.
// Memory: the report is a value of a few hundred bytes.
// Source: design invariant "nothing is lost silently".
#ifndef PROF_COLLECT_STATUS_HPP
#define PROF_COLLECT_STATUS_HPP

#include "prof/collect/api.hpp"

PROF_PUBLIC_BEGIN

// One hooked function. state: "live" (counts), "forwarding" (counted elsewhere) or "dead"; why: the
// reason in words. The texts live for ever.
struct hook_status {
  const char* name = "";
  const char* state = "";
  const char* why = "";
};

// A cause for which something was not recorded, and how often.
struct drop_status {
  const char* cause = "";
  std::uint64_t count = 0;
};

struct status_report {
  static constexpr std::size_t max_hooks = 40;

  bool cpu_running = false;
  unsigned cpu_hz = 0;                // of the running timers, 0 when none run
  int cpu_signal = 0;                 // 0 until the first CPU profile
  const char* cpu_engine = "";        // and why this one
  std::size_t sampled_threads = 0;    // have a timer
  std::size_t unsampled_threads = 0;  // had the signal blocked when the profile started
  std::uint64_t threads_started = 0;  // seen by the pthread_create hook
  std::uint64_t cpu_samples = 0;
  std::uint64_t heap_rate = 0;
  std::uint64_t heap_samples = 0;
  std::size_t heap_live_objects = 0;  // sampled ones
  std::size_t stacks = 0;
  std::uint64_t own_memory = 0;  // bytes of tables in use
  std::uint64_t own_cpu_ns = 0;  // spent in the sampling handler
  const char* heap_owner = "";   // file of the object whose malloc hooks count
  hook_status hooks[max_hooks];
  std::size_t hook_count = 0;
  drop_status drops[static_cast<unsigned>(detail::drop::count_)];
};

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

inline void report_hooks(status_report& report, const hook_part* hooks) noexcept {
  if (hooks == nullptr) return;
  hooks->test();
  for (int i = 0; i < hooks->count && report.hook_count < status_report::max_hooks; ++i) {
    hook_status& row = report.hooks[report.hook_count++];
    row.name = hooks->records[i].name;
    row.state = hooks->records[i].state.load();
    row.why = hooks->records[i].why.load();
  }
}

inline void report_cpu(status_report& report, const cpu_state& cpu) noexcept {
  const std::uint64_t period = cpu.period_ns.load();
  report.cpu_running = period != 0;
  report.cpu_hz = period == 0 ? 0 : static_cast<unsigned>(1000000000u / period);
  report.cpu_signal = cpu.signal.load();
  report.sampled_threads = cpu.threads.used();
  report.unsampled_threads = cpu.unsampled_threads.load();
  report.threads_started = cpu.threads_started.load();
  report.cpu_samples = cpu.ticks.load();
  report.own_cpu_ns = cpu.handler_ns.load();
  report.own_memory += cpu.counts.span() * sizeof(cpu_slot);
}

inline void report_heap(status_report& report, const heap_state& heap) noexcept {
  report.heap_rate = heap.rate.load();
  report.heap_samples = heap.samples.load();
  report.heap_live_objects = heap.live.used();
  report.own_memory += heap.counts.span() * sizeof(heap_slot) +
                       heap.live.touched();
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// The state of the profiler now.
inline status_report status() {
  using namespace detail;
  status_report report;
  process_state* const process = enter_process();
  if (process == nullptr) return report;
  const own_code_scope own(*process);
  const hook_part* const heap_hooks = process->heap_hooks.load();
  const hook_part* const thread_hooks = process->thread_hooks.load();
  report_hooks(report, heap_hooks != nullptr ? heap_hooks : &prof_part_heap_hooks_v1);
  report_hooks(report, thread_hooks != nullptr ? thread_hooks : &prof_part_thread_hooks_v1);
  report.heap_owner = heap_hooks != nullptr ? os_file_of(heap_hooks) : "";
  report.cpu_engine = "timer_create: counts user and system time of every thread at any rate";
  for (unsigned i = 0; i < static_cast<unsigned>(drop::count_); ++i) {
    report.drops[i] = {drop_texts[i], process->drops[i].load()};
  }
  report.stacks = process->stacks.used();
  report.own_memory = process->stacks.bytes() + process->own_bytes.load() +
                      process->registry->modules.table_bytes.load() + sizeof(process_state);
  const void* const cpu = process->part_states[static_cast<unsigned>(part::cpu)].load();
  const void* const heap = process->part_states[static_cast<unsigned>(part::heap)].load();
  if (cpu != nullptr) report_cpu(report, *static_cast<const cpu_state*>(cpu));
  if (heap != nullptr) report_heap(report, *static_cast<const heap_state*>(heap));
  return report;
}

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

inline void write_counter(text_writer& text, const char* name, std::uint64_t value) {
  text.put(name).put(": ").decimal(value).put("\n");
}

inline void write_status_text(const status_report& report, output out) {
  text_writer text(out);
  text.put("prof ").decimal(PROF_VERSION_MAJOR).put(".").decimal(PROF_VERSION_MINOR).put(".");
  text.decimal(PROF_VERSION_PATCH).put("\n\ncpu profile: ");
  text.put(report.cpu_running ? "running\n" : "off\n");
  text.put("cpu engine: ").put(report.cpu_engine).put("\n");
  write_counter(text, "cpu rate (Hz)", report.cpu_hz);
  write_counter(text, "cpu signal", static_cast<std::uint64_t>(report.cpu_signal));
  write_counter(text, "cpu samples", report.cpu_samples);
  write_counter(text, "threads with a timer", report.sampled_threads);
  write_counter(text, "threads with the signal blocked", report.unsampled_threads);
  write_counter(text, "threads started", report.threads_started);
  write_counter(text, "heap rate (bytes per sample)", report.heap_rate);
  write_counter(text, "heap samples", report.heap_samples);
  write_counter(text, "heap sampled live objects", report.heap_live_objects);
  write_counter(text, "stacks", report.stacks);
  write_counter(text, "own memory (bytes)", report.own_memory);
  write_counter(text, "own CPU in handlers (ns)", report.own_cpu_ns);
  text.put("\ndropped:\n");
  for (const drop_status& drop : report.drops) {
    text.put("  ").decimal(drop.count).put("  ").put(drop.cause).put("\n");
  }
  text.put("\nhooks (counted by ").put(report.heap_owner).put("):\n");
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    const hook_status& hook = report.hooks[i];
    text.put("  ").put(hook.name).put(": ").put(hook.state).put(" - ").put(hook.why).put("\n");
  }
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// The report as text, as the status page shows it.
inline result write_status(const sink& target) {
  detail::delivery out(target);
  if (result opened = out.open(); !opened) return opened;
  detail::write_status_text(status(), out.out());
  return out.close();
}

PROF_PUBLIC_END

#endif  // PROF_COLLECT_STATUS_HPP
