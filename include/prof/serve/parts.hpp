// prof/serve/parts.hpp - how the core reaches an optional part: a weak descriptor that is null when
// no file of this object brings the part, or one that another object registered.
// Floor 9 (serve). Used by collect, api, status and the server; filled in by *_part.hpp.
// Safety: ordinary context; the lookups are one or two loads.
// Memory: none.
// Source: design rule "mixing switches is legal and the union wins": no function here has tokens
//         that depend on a switch, and what no file brings leaves no code behind.
#ifndef PROF_SERVE_PARTS_HPP
#define PROF_SERVE_PARTS_HPP

#include "prof/sample/cpu.hpp"
#include "prof/sample/heap.hpp"

PROF_DETAIL_BEGIN

// What a running CPU profile needs to remember; lives in the run's own arena.
struct cpu_run {
  explicit cpu_run(arena& memory) noexcept : base(memory) {}
  cpu_reading base;
  int slot = -1;  // in cpu_state::session_hz
  std::uint32_t hz = 0;
  std::uint64_t started_at = 0;  // CLOCK_REALTIME
  std::uint64_t started = 0;     // CLOCK_MONOTONIC
  std::uint64_t ended = 0;
};

struct cpu_part {
  result (*begin)(process_state& process, cpu_run& run);
  void (*end)(process_state& process, cpu_run& run);
  void (*fill)(profile& p, const process_state& process, const cpu_run& run);
};

struct heap_part {
  void (*set_rate)(process_state& process, std::uint64_t bytes, std::uint64_t& before);
  bool (*read)(process_state& process, heap_reading& reading);
  void (*fill)(profile& p, process_state& process, const heap_reading* base);
};

struct symbolize_part {
  void (*symbolize)(profile& p, const code_map* code, bool hide_allocators);
  // The demangled name of the function at an address into a buffer; its length, 0 if unknown.
  std::size_t (*name)(std::uint64_t address, const code_map* code, char* buffer, std::size_t size);
};

// Declared weak: the address is null unless a file of this object defines it. The definitions are
// weak too, so that many files may have them.
#define PROF_DETAIL_PART(type, name) \
  extern "C" const type name __attribute__((weak, visibility("hidden")))
PROF_DETAIL_PART(cpu_part, prof_part_cpu_v1);
PROF_DETAIL_PART(heap_part, prof_part_heap_v1);
PROF_DETAIL_PART(symbolize_part, prof_part_symbolize_v1);
PROF_DETAIL_PART(hook_part, prof_part_heap_hooks_v1);
PROF_DETAIL_PART(hook_part, prof_part_thread_hooks_v1);

inline void register_part(process_state& process, part which, const void* descriptor) noexcept {
  const void* none = nullptr;
  if (descriptor == nullptr) return;
  process.parts[static_cast<unsigned>(which)].compare_exchange_strong(none, descriptor);
}

// Entered by every public call that needs the process: attaches, registers this object's parts and
// keeps the object loaded, because handlers and descriptors in it are reachable from now on. After
// fork() the child starts without sessions: timers are not inherited.
inline process_state* enter_process() noexcept {
  process_state* const process = process_sig();
  if (process == nullptr) return nullptr;
  register_part(*process, part::cpu, &prof_part_cpu_v1);
  register_part(*process, part::heap, &prof_part_heap_v1);
  register_part(*process, part::symbolize, &prof_part_symbolize_v1);
  if (!process->used.exchange(true)) os_pin_this_object();
  return process;
}

template <class Part>
inline const Part* find_part(const process_state& process, part which) noexcept {
  return static_cast<const Part*>(
      process.parts[static_cast<unsigned>(which)].load(std::memory_order_acquire));
}

PROF_DETAIL_END

#endif  // PROF_SERVE_PARTS_HPP
