// prof/process/process.hpp - what is one per process: the tables, the code map, the registered parts;
// and how every object that includes prof finds it.
// Floor 7 (process). Entered by every hook, handler and public call.
// Safety: process_sig() is one load once attached. attach_slow_sig runs in a hook's slow path: raw
//         system calls, no loader lock, no allocation but pages; concurrent first calls agree by
//         one compare-and-swap.
// Memory: one reservation of process_bytes of address space, touched on demand; never freed.
// Source: each object carries an ELF note per file (owner "prof") with the offset of its anchor; see
//         process/anchor.hpp.
#ifndef PROF_PROCESS_PROCESS_HPP
#define PROF_PROCESS_PROCESS_HPP

#include "prof/base/guard.hpp"
#include "prof/process/labels.hpp"
#include "prof/code/rule_lookup.hpp"
#include "prof/process/stack_table.hpp"

PROF_PUBLIC_BEGIN

// Limits of this process; see configure(). 0 keeps a default.
struct options {
  // Frames kept per stack, leaf end first; 1 to 1024.
  std::size_t max_depth = 128;
  // The signal for CPU sampling; 0 = SIGPROF if nobody uses it, else a free real-time signal.
  int signal = 0;
};

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

inline constexpr std::size_t default_depth = 128;
inline constexpr std::size_t max_depth = 1024;

// Raised when a member of process_state or of a part's descriptor gets another meaning; other sizes show
// by themselves in layout_version.
inline constexpr std::uint32_t layout_revision = 4;
inline constexpr std::uint64_t process_magic = 0x70726f6670726f66u;  // "profprof"

// The optional parts. A part's descriptor is a weak symbol that is null where no file of the
// object brings the part; attaching registers the ones that exist, so the union of all objects'
// switches is what the process has.
enum class part : unsigned { cpu, heap, symbolize, http, count_ };

// Why something was not recorded. Shown in status(), in that order.
enum class drop : unsigned {
  stack_table_full,
  count_table_full,
  live_table_full,
  no_frame_buffer,
  thread_table_full,
  timer_failed,
  threads_unlisted,
  start_records_full,
  foreign_signal,
  late_signal,
  code_map_busy,
  ranges_full,
  tables_full,
  code_map_unread,
  count_
};

// One hooked entry, as status() shows it. `state` and `why` are string literals.
struct hook_record {
  const char* name;
  std::atomic<const char*> state;
  std::atomic<const char*> why;
};

inline constexpr std::uint64_t hook_part_magic = 0x70726f66686f6f6bu;  // "profhook"

// A group of hooks of one object: what it knows of them and how it tests them.
struct hook_part {
  std::uint64_t magic;  // hook_part_magic: tells whether the object that claimed is still loaded
  hook_record* records;
  int count;
  void (*test)() noexcept;
  void (*rate_changed)() noexcept;  // the calling thread should notice at once
  int* (*own_depth)() noexcept;     // this object's own_code_depth of the calling thread
};

struct frame_buffer {
  std::atomic<std::uint32_t> taken;
  alignas(16) unsigned char scratch[4352];  // capture.hpp's walk_scratch
  std::uintptr_t frames[max_depth];
};
inline constexpr std::size_t frame_buffers = 64;
inline constexpr std::size_t max_retired_maps = 16;

struct process_state : process_head {
  std::atomic<std::uint32_t> pid;
  std::atomic<bool> used;  // a public call was made: configure() is late
  std::atomic<std::size_t> depth;
  std::atomic<int> wanted_signal;
  std::atomic<std::uint32_t> hz;  // of CPU profiles that do not say
  std::atomic<std::uint64_t> objects_told;  // os_objects_loaded() when all anchors were set
  std::atomic<void*> unnamed_session;  // of start_cpu_profile
  std::atomic<const code_map*> code;
  std::atomic<const void*> parts[static_cast<unsigned>(part::count_)];
  std::atomic<void*> part_states[static_cast<unsigned>(part::count_)];
  // Of the object whose hooks count: the first that is entered, which is the first in symbol order.
  std::atomic<const hook_part*> heap_hooks;
  std::atomic<const hook_part*> thread_hooks;
  std::atomic<const hook_part*> kept_heap_hooks;  // whose object is pinned
  std::atomic<const hook_part*> kept_thread_hooks;
  std::atomic<std::uint64_t> drops[static_cast<unsigned>(drop::count_)];
  std::atomic<std::uint64_t> own_bytes;
  std::atomic<std::uint32_t> code_readers;  // ordinary context: code maps are in use
  spin_lock refresh_lock;
  std::atomic<std::uint32_t> forks;       // under way
  std::atomic<bool> forks_hold_refresh;  // the first of them took refresh_lock
  const code_map* retired[max_retired_maps];  // under refresh_lock: replaced, maybe still read
  std::size_t retired_count;
  std::atomic<bool> code_map_outdated;        // a walk met code that the map does not know
  std::atomic<std::uint64_t> rule_epoch;  // rules may be other ones than before
  rule_cache* rules;
  code_registry* registry;
  stack_table stacks;
  label_table labels;
  frame_buffer buffers[frame_buffers];
};

// Objects with another layout do not share the process state: two headers of the same version may differ,
// where a project vendors two snapshots.
inline constexpr std::uint32_t layout_version =
    layout_revision * 0x01000193u ^
    static_cast<std::uint32_t>(sizeof(process_state) + sizeof(code_registry)) * 31u ^
    static_cast<std::uint32_t>(offsetof(frame_buffer, frames)) << 8 ^
    static_cast<std::uint32_t>(part::count_) << 20 ^ static_cast<std::uint32_t>(drop::count_) << 24 ^
    static_cast<std::uint32_t>(sizeof(hook_part)) << 28;

inline constexpr std::size_t stack_words = std::size_t{4} << 20;  // 32 MiB of address space
inline constexpr std::size_t label_text = std::size_t{1} << 20;
inline constexpr std::size_t page_round(std::size_t n) { return (n + 4095) & ~std::size_t{4095}; }
inline constexpr std::size_t process_bytes =
    page_round(sizeof(process_state)) + page_round(stack_table::slot_bytes) +
    stack_words * sizeof(std::uintptr_t) + page_round(label_table::slot_bytes) + label_text +
    page_round(sizeof(rule_cache)) + page_round(sizeof(code_registry));

// A file's record as read back from its note.
struct file_record {
  std::uint32_t version = 0;
  object_anchor* anchor = nullptr;
  const char* file = "";  // dies with the visitor's call
};

inline bool parse_file_record_sig(std::uint32_t type, text_view owner, std::uintptr_t address,
                                  const unsigned char* data, std::size_t size, file_record& record)
    PROF_DETAIL_SIG {
  if (type != file_note_type || !owner.equals({"prof", 4}) || size < 9) return false;
  std::int32_t words[2];
  std::memcpy(words, data, sizeof words);
  record.version = static_cast<std::uint32_t>(words[0]);
  record.anchor = reinterpret_cast<object_anchor*>(
      address + 4 + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(words[1])));
  record.file = reinterpret_cast<const char*>(data) + 8;
  return true;
}

#if PROF_DETAIL_OS_LINUX
// Calls visit(context, record) for every file of every loaded object that includes prof.
struct file_record_visitor {
  void (*visit)(void* context, const file_record& record);
  void* context;
};
inline void for_each_file_record_sig(file_record_visitor visitor) PROF_DETAIL_SIG {
  for_each_image_note_sig({[](void* context, const elf_note& note) {
                             auto& target = *static_cast<file_record_visitor*>(context);
                             file_record record;
                             if (parse_file_record_sig(note.type, note.owner, note.address,
                                                       note.data, note.size, record)) {
                               target.visit(target.context, record);
                             }
                           },
                           &visitor});
}
#else
struct file_record_visitor {
  void (*visit)(void* context, const file_record& record);
  void* context;
};
inline void for_each_file_record_sig(file_record_visitor) PROF_DETAIL_SIG {}
#endif

// ---- finding or making the process state -----------------------------------------------------------

PROF_DETAIL_COLD inline process_state* make_process_sig() PROF_DETAIL_SIG {
  char* at = static_cast<char*>(os_map_sig(process_bytes));
  if (at == nullptr) return nullptr;
  auto* const process = new (at) process_state;
  at += page_round(sizeof(process_state));
  void* const stack_slots = at;
  at += page_round(stack_table::slot_bytes);
  auto* const words = reinterpret_cast<std::uintptr_t*>(at);
  at += stack_words * sizeof(std::uintptr_t);
  process->stacks.bind(stack_slots, words, stack_words);
  process->labels.bind(at, at + page_round(label_table::slot_bytes), label_text);
  at += page_round(label_table::slot_bytes) + label_text;
  // Zero pages are what both begin with; constructing them would touch them all.
  process->rules = reinterpret_cast<rule_cache*>(at);
  process->registry = reinterpret_cast<code_registry*>(at + page_round(sizeof(rule_cache)));
  process->layout = layout_version;
  process->version = PROF_VERSION;
  process->pid.store(os_process_id_sig(), std::memory_order_relaxed);
  process->depth.store(default_depth, std::memory_order_relaxed);
  process->hz.store(100, std::memory_order_relaxed);
  process->magic = process_magic;
  return process;
}

struct anchor_search {
  process_state* found = nullptr;
  object_anchor* first = nullptr;  // the arbiter: lowest address among objects with prof
};

inline void see_anchor_sig(void* context, const file_record& record) PROF_DETAIL_SIG {
  anchor_search& search = *static_cast<anchor_search*>(context);
  if (record.version / 1000 != PROF_VERSION / 1000) return;
  std::uintptr_t there = 0;
  // Copied: the object may be unloaded meanwhile.
  if (!os_copy_sig(&there, reinterpret_cast<std::uintptr_t>(&record.anchor->process), sizeof there)) return;
  if (search.first == nullptr || record.anchor < search.first) search.first = record.anchor;
  struct {
    std::uint64_t magic;
    std::uint32_t layout;
  } head{};
  static_assert(offsetof(process_head, layout) == sizeof head.magic, "the same beginning");
  if (there == 0 || !os_copy_sig(&head, there, sizeof head)) return;
  if (head.magic != process_magic || head.layout != layout_version) return;
  std::atomic_thread_fence(std::memory_order_acquire);
  search.found = static_cast<process_state*>(reinterpret_cast<process_head*>(there));
}

PROF_DETAIL_COLD inline process_state* attach_slow_sig() PROF_DETAIL_SIG {
  anchor_search search;
  for_each_file_record_sig({&see_anchor_sig, &search});
  if (search.found == nullptr) {
    // A hook cannot keep that object loaded: the loader knew it a moment ago.
    object_anchor& arbiter = search.first != nullptr ? *search.first : this_object;
    process_state* const made = make_process_sig();
    if (made == nullptr) return nullptr;
    process_head* winner = nullptr;
    if (arbiter.process.compare_exchange_strong(winner, made, std::memory_order_acq_rel)) {
      winner = made;
    } else {
      os_unmap_sig(made, process_bytes);
    }
    search.found = static_cast<process_state*>(winner);
  }
  this_object.process.store(search.found, std::memory_order_release);
  return search.found;
}

// The process state if this object is attached; the handler's way in.
inline process_state* attached_process_sig() PROF_DETAIL_SIG {
  return static_cast<process_state*>(this_object.process.load(std::memory_order_acquire));
}
// The same, attaching on first use; null only when no memory can be mapped.
inline process_state* process_sig() PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  return PROF_DETAIL_LIKELY(process != nullptr) ? process : attach_slow_sig();
}

inline void count_drop_sig(process_state& process, drop cause, std::uint64_t n = 1)
    PROF_DETAIL_SIG {
  process.drops[static_cast<unsigned>(cause)].fetch_add(n, std::memory_order_relaxed);
}

// True for the one object whose hooks count.
inline bool claim_hooks_sig(std::atomic<const hook_part*>& owner, const hook_part* mine)
    PROF_DETAIL_SIG {
  const hook_part* there = nullptr;
  return owner.compare_exchange_strong(there, mine, std::memory_order_acq_rel) || there == mine;
}

// ---- ordinary context ------------------------------------------------------------------------------------

// Waits its turn; for ordinary context. Whoever holds the lock may need this CPU, and a thread with a real-time
// policy leaves it to others only when it sleeps (sched(7)).
class spin_guard {
 public:
  explicit spin_guard(spin_lock& lock) noexcept : lock_(lock) {
    for (unsigned tries = 0; !lock_.try_lock(); ++tries) {
      if (tries < 100) os_yield();
      else os_sleep_ns(1000000);
    }
  }
  ~spin_guard() { lock_.unlock(); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;

 private:
  spin_lock& lock_;
};

// Code of ours that runs in ordinary context: its allocations and threads are not the host's. The
// counting hooks may be another object's, which has a flag of its own.
inline PROF_DETAIL_TLS int own_code_depth PROF_DETAIL_TLS_MODEL = 0;
inline int* own_code_depth_address() noexcept { return &own_code_depth; }

class own_code_scope {
 public:
  explicit own_code_scope(process_state& process) noexcept
      : heap_(owner_depth(process.heap_hooks.load())),
        threads_(owner_depth(process.thread_hooks.load())) {
    ++*heap_;
    ++*threads_;
  }
  ~own_code_scope() {
    --*heap_;
    --*threads_;
  }
  own_code_scope(const own_code_scope&) = delete;
  own_code_scope& operator=(const own_code_scope&) = delete;

 private:
  static int* owner_depth(const hook_part* hooks) noexcept {
    return hooks != nullptr ? hooks->own_depth() : &own_code_depth;
  }
  int* const heap_;
  int* const threads_;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_PROCESS_HPP
