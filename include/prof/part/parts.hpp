// prof/part/parts.hpp - how the core reaches an optional part: a weak descriptor that is null when
// no file of this object brings the part, or one that another object registered.
// Floor 10 (part). Used by collect, api, status and the server; filled in by *_part.hpp.
// Safety: ordinary context; the lookups are one or two loads.
// Memory: none.
// Source: design rule "mixing switches is legal and the union wins": no function here has tokens
//         that depend on a switch, and what no file brings leaves no code behind.
#ifndef PROF_PART_PARTS_HPP
#define PROF_PART_PARTS_HPP

#include "prof/sample/cpu.hpp"
#include "prof/sample/heap.hpp"

PROF_DETAIL_BEGIN

// What a running CPU profile needs to remember; lives in the run's own arena.
struct cpu_run {
  explicit cpu_run(arena& memory) noexcept : base(memory), last(memory) {}
  cpu_reading base;
  cpu_reading last;  // when it ended; other runs may go on
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
  void (*fill)(profile& p, process_state& process, const heap_reading& reading, const heap_reading* base);
  // A call of record_alloc whose gap is used up; a call of record_free.
  void (*record_alloc_sig)(process_state& process, poisson_gap& gap, void* object,
                           std::size_t size, const registers& caller) PROF_DETAIL_SIG;
  void (*record_free_sig)(process_state& process, void* object) PROF_DETAIL_SIG;
};

struct symbolize_part {
  void (*symbolize)(profile& p, const code_map* code, bool hide_allocators);
  // Calls found(context, address, demangled name) for each address whose function is known.
  void (*name_all)(const std::uint64_t* addresses, std::size_t count, const code_map* code,
                   void (*found)(void* context, std::uint64_t address, text_view name),
                   void* context);
};

// Declared weak: the address is null unless a file of this object defines it. The definitions are
// weak too, so that many files may have them.
#define PROF_DETAIL_PART(type, name) \
  extern "C" const type name __attribute__((__weak__, __visibility__("hidden")))
PROF_DETAIL_PART(cpu_part, prof_part_cpu_v1);
PROF_DETAIL_PART(heap_part, prof_part_heap_v1);
PROF_DETAIL_PART(symbolize_part, prof_part_symbolize_v1);
PROF_DETAIL_PART(hook_part, prof_part_heap_hooks_v1);
PROF_DETAIL_PART(hook_part, prof_part_thread_hooks_v1);

inline const heap_part* own_heap_part_sig() PROF_DETAIL_SIG { return &prof_part_heap_v1; }

inline void register_part(process_state& process, part which, const void* descriptor) noexcept {
  const void* none = nullptr;
  if (descriptor == nullptr) return;
  process.parts[static_cast<unsigned>(which)].compare_exchange_strong(none, descriptor);
}

inline void append_version(char* text, std::size_t size, std::uint32_t version) noexcept {
  char number[48];
  std::size_t n = format_decimal(version / 1000000, number);
  number[n++] = '.';
  n += format_decimal(version / 1000 % 1000, number + n);
  number[n++] = '.';
  n += format_decimal(version % 1000, number + n);
  append_text(text, size, number, n);
}

// What a thread of this process holds for a moment, and a thread that the fork left behind holds for
// ever. Right after the fork (`alone`) it is certainly the latter; later it is, when it is still
// held after 100 ms.
template <class Held>
inline void outwait(bool alone, Held held) noexcept {
  for (int i = 0; !alone && i < 100 && held(); ++i) os_sleep_ns(1000000);
}

// Undoes what other threads of the parent were doing at the fork.
inline void release_parent(process_state& process, bool alone) noexcept {
  outwait(alone, [&] { return process.refresh_lock.held(); });
  process.forks.store(0);
  process.forks_hold_refresh.store(false);
  process.refresh_lock.unlock();
  for (registration_scratch& scratch : process.registry->scratch) {
    outwait(alone, [&] { return scratch.lock.held(); });
    scratch.lock.unlock();
  }
  process.code_readers.store(0);
  process.unnamed_session.store(nullptr);
  const auto busy = [&process] {
    for (frame_buffer& buffer : process.buffers) {
      if (buffer.taken.load() != 0) return true;
    }
    return false;
  };
  outwait(alone, busy);
  for (frame_buffer& buffer : process.buffers) {
    if (buffer.taken.load() != 0) buffer.taken.store(0);  // not to touch 64 pages in every child
  }
  const auto state = [&process](part which) {
    return process.part_states[static_cast<unsigned>(which)].load();
  };
  if (state(part::cpu) != nullptr) forget_parent_cpu(*static_cast<cpu_state*>(state(part::cpu)));
  auto* const heap = static_cast<heap_state*>(state(part::heap));
  if (heap == nullptr) return;
  outwait(alone, [&] { return heap->live.growing(); });
  heap->live.forget_growing();
}

// A forked child has one thread, no timers and no sessions; locks that other threads of the parent
// held at the fork are held by nobody. Runs when fork returns in the child (`alone`) if the parent
// has made a public call, else in the first public call of the child; others wait for it.
inline void forget_parent(process_state& process, bool alone = false) noexcept {
  constexpr std::uint32_t at_it = std::uint32_t{1} << 31;  // a pid has at most 22 bits
  const std::uint32_t pid = os_process_id_sig();
  std::uint32_t seen = process.pid.load(std::memory_order_acquire);
  while (seen != pid) {
    if (seen != (pid | at_it) && process.pid.compare_exchange_strong(seen, pid | at_it)) break;
    os_yield();
    seen = process.pid.load(std::memory_order_acquire);
  }
  if (seen == pid) return;
  release_parent(process, alone);
  process.pid.store(pid, std::memory_order_release);
}

// No fork while a refresh holds the loader's lock: glibc (2.36, posix/fork.c) leaves dl_load_write_lock as
// it is, so it would be held in the child for ever. Every object runs these; the first one acts.
inline void wait_for_refresh_before_fork() noexcept {
  process_state* const process = attached_process_sig();
  if (process == nullptr || process->forks.fetch_add(1) != 0) return;
  for (int i = 0; i < 1000; ++i) {
    if (process->refresh_lock.try_lock()) return process->forks_hold_refresh.store(true);
    os_sleep_ns(1000000);
  }
}
inline void allow_refresh_after_fork() noexcept {
  process_state* const process = attached_process_sig();
  if (process == nullptr || process->forks.fetch_sub(1) != 1) return;
  if (process->forks_hold_refresh.exchange(false)) process->refresh_lock.unlock();
}

inline void forget_parent_at_fork() noexcept {
  process_state* const process = attached_process_sig();
  if (process != nullptr) forget_parent(*process, true);
}

inline bool is_hook_part_sig(const hook_part* hooks) PROF_DETAIL_SIG {
  std::uint64_t magic = 0;
  return os_copy_sig(&magic, reinterpret_cast<std::uintptr_t>(hooks), sizeof magic) &&
         magic == hook_part_magic;
}

// The object whose hooks count may have claimed them without a public call, and may be unloaded
// with dlclose. Tells whether it is still there, and forgets it when it is not.
inline bool owner_is_there_sig(process_state& process, std::atomic<const hook_part*>& owner,
                               const hook_part* hooks) PROF_DETAIL_SIG {
  auto* const heap = static_cast<heap_state*>(
      process.part_states[static_cast<unsigned>(part::heap)].load(std::memory_order_acquire));
  std::atomic<char*>* const published = heap != nullptr ? heap->live.published_to_sig() : nullptr;
  if (is_hook_part_sig(hooks)) return true;
  // The filter first: whoever claims next publishes it anew.
  if (heap != nullptr && &owner == &process.heap_hooks) heap->live.stop_publishing_sig(published);
  owner.compare_exchange_strong(hooks, nullptr);
  return false;
}

// Keeps that object loaded from now on. Not inside an allocator: calls into the loader.
inline void keep_owner(process_state& process, std::atomic<const hook_part*>& owner,
                       std::atomic<const hook_part*>& kept) noexcept {
  const hook_part* const hooks = owner.load(std::memory_order_acquire);
  if (hooks == nullptr || hooks == kept.load(std::memory_order_relaxed)) return;
  if (!owner_is_there_sig(process, owner, hooks)) return;
  os_pin_object(hooks);
  if (owner_is_there_sig(process, owner, hooks)) kept.store(hooks, std::memory_order_relaxed);
}

// Tells objects that only annotate, and were loaded since the last time, where the process state is.
// Under the loader's lock, so that none is unloaded meanwhile.
inline void tell_new_objects(process_state& process) noexcept {
  const std::uint64_t loaded = os_objects_loaded();
  if (process.objects_told.exchange(loaded, std::memory_order_relaxed) == loaded) return;
  os_with_objects_kept(
      [](void* context) {
        for_each_file_record_sig({[](void* told, const file_record& record) {
                                    process_head* none = nullptr;
                                    if (record.version / 1000 != PROF_VERSION / 1000) return;
                                    record.anchor->process.compare_exchange_strong(
                                        none, static_cast<process_state*>(told));
                                  },
                                  context});
      },
      &process);
}

inline std::atomic<bool> object_pinned{false};

// Entered by every public call that needs the process: attaches, registers this object's parts and
// keeps the object loaded, because handlers and descriptors in it are reachable from now on.
inline process_state* enter_process() noexcept {
  process_state* const process = process_sig();
  if (process == nullptr) return nullptr;
  forget_parent(*process);
  keep_owner(*process, process->heap_hooks, process->kept_heap_hooks);
  keep_owner(*process, process->thread_hooks, process->kept_thread_hooks);
  tell_new_objects(*process);
  if (object_pinned.load(std::memory_order_acquire)) return process;
  register_part(*process, part::cpu, &prof_part_cpu_v1);
  register_part(*process, part::heap, &prof_part_heap_v1);
  register_part(*process, part::symbolize, &prof_part_symbolize_v1);
  os_pin_object(&this_object);
  const annotate_part* nobody = nullptr;
  process->annotations.compare_exchange_strong(nobody, &prof_part_annotate_v1);
  {
    const own_code_scope own(*process);  // libc may allocate for the handler
    (void)os_at_fork(&wait_for_refresh_before_fork, &allow_refresh_after_fork, &forget_parent_at_fork);
  }
  object_pinned.store(true, std::memory_order_release);  // last: others may rely on the parts
  return process;
}

// ---- versions ------------------------------------------------------------------------------------------

// The first file of another version, and the first of this one.
struct version_search {
  char other[100];
  char same[100];
  std::uint32_t other_version;
};

inline void see_version_sig(void* context, const file_record& record) PROF_DETAIL_SIG {
  auto& found = *static_cast<version_search*>(context);
  const bool same = record.version == PROF_VERSION;
  char* const name = same ? found.same : found.other;
  if (name[0] != '\0') return;
  append_text(name, sizeof found.same, record.file);
  if (!same) found.other_version = record.version;
}

// All files of the process that include prof must agree on its version.
inline result check_versions() noexcept {
  version_search found{};
  for_each_file_record_sig({&see_version_sig, &found});
  if (found.other[0] == '\0') return {};
  char text[300] = "";
  append_text(text, sizeof text, found.other);
  append_text(text, sizeof text, " has ");
  append_version(text, sizeof text, found.other_version);
  append_text(text, sizeof text, ", ");
  append_text(text, sizeof text, found.same);
  append_text(text, sizeof text, " has ");
  append_version(text, sizeof text, PROF_VERSION);
  return result(error::version_mismatch, text);
}

template <class Part>
inline const Part* find_part_sig(const process_state& process, part which) PROF_DETAIL_SIG {
  return static_cast<const Part*>(
      process.parts[static_cast<unsigned>(which)].load(std::memory_order_acquire));
}

PROF_DETAIL_END

#endif  // PROF_PART_PARTS_HPP
