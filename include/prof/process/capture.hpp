// prof/process/capture.hpp - from registers to the number of a stack; and the code map that walks look
// into, replaced while they do.
// Floor 7 (process). Used by the samplers; every profile refreshes the code map before and after.
// Safety: functions ending in _sig run in handlers and hooks; the others are for ordinary context.
// Memory: a new map is pages of its own; the replaced one goes back when no walk can hold it.
// Source: a walk leases its frame buffer before it loads the map, so a map that was replaced before
//         all buffers were seen free is unreachable: the grace period of read-copy-update (McKenney
//         and Slingwine, 1998) with the buffers as readers.
#ifndef PROF_PROCESS_CAPTURE_HPP
#define PROF_PROCESS_CAPTURE_HPP

#include "prof/process/own_code.hpp"
#include "prof/unwind/probed_memory.hpp"
#include "prof/unwind/unwind.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_OS_LINUX
// Without a search header nothing can be looked up in a walk: -static, some of musl. A few
// milliseconds once, which a hook's slow path may have to spend too.
inline void build_headerless_tables_sig(module_registry& modules, const code_map& map,
                                        const never_unloaded_objects& never_unloaded) PROF_DETAIL_SIG {
  const std::uintptr_t program = os_program_header_sig();
  for (std::size_t i = 0; i < map.current; ++i) {
    const code_range& range = map.ranges[i];
    if (range.module == nullptr || range.cfi.header != 0) continue;
    if (range.header != program && never_unloaded.count == 0) continue;  // it may be unloaded meanwhile
    build_table_once(modules, *range.module, image_of(range));
  }
}
#else
inline void build_headerless_tables_sig(module_registry&, const code_map&,
                                        const never_unloaded_objects&) PROF_DETAIL_SIG {}
#endif

// Caller holds refresh_lock, and no object can be unloaded, or there is no map yet.
inline void replace_code_map_sig(process_state& process, const never_unloaded_objects& never_unloaded)
    PROF_DETAIL_SIG {
  const code_map* const before = process.code.load(std::memory_order_acquire);
  process.code_map_outdated.store(false, std::memory_order_relaxed);  // first: what comes now counts again
  const code_map* const now = read_code_map_sig(before, process.registry, never_unloaded);
  if (now == before) return;
  if (process.retired_count == max_retired_maps) {
    os_unmap_sig(const_cast<code_map*>(now), now->bytes);
    process.code_map_outdated.store(true, std::memory_order_relaxed);
    return count_drop_sig(process, drop::code_map_busy);
  }
  const range_registry& ranges = process.registry.ranges;
  if (ranges.full() || ranges.others_full()) count_drop_sig(process, drop::ranges_full);
  build_headerless_tables_sig(process.registry.modules, *now, never_unloaded);
  process.code_map_bytes.fetch_add(now->bytes, std::memory_order_relaxed);
  process.code.store(now);  // in the single order of all walks' loads: see give_back_maps
  process.rule_epoch.fetch_add(1);
  if (before != nullptr) process.retired[process.retired_count++] = before;
}

// Makes the first code map; a hook calls it. Does nothing when somebody else is at it. The loader's list is
// not asked for here, which takes a lock: until the first profile all objects count as ones that may go.
inline void first_code_map_sig(process_state& process) PROF_DETAIL_SIG {
  if (process.code.load(std::memory_order_acquire) != nullptr) return;
  if (!process.refresh_lock.try_lock()) return;
  replace_code_map_sig(process, {});
  process.refresh_lock.unlock();
}

// Gives replaced maps back. A walk leases its frame buffer before it loads the map, so when every
// buffer has been seen free since the map was replaced, no walk holds an old one. Caller holds
// refresh_lock.
inline void give_back_maps(process_state& process) noexcept {
  if (process.retired_count == 0 || process.code_readers.load() != 0) return;
  const bool all_free = process.buffers.for_each([](frame_buffer& buffer) {
    for (int i = 0; i < 100 && buffer.taken.load() != 0; ++i) os_yield();
    return buffer.taken.load() == 0;
  });
  if (!all_free) return;  // next time
  while (process.retired_count != 0) {
    const code_map* const old = process.retired[--process.retired_count];
    const std::size_t bytes = old->bytes;
    process.code_map_bytes.fetch_sub(bytes, std::memory_order_relaxed);
    os_unmap_sig(const_cast<code_map*>(old), bytes);
  }
}

#if PROF_DETAIL_OS_LINUX
inline bool wants_table(const code_range& range) noexcept {
  return range.module != nullptr && range.module->wanted.load() && !range.module->tried.load();
}

// Under the loader's lock, so that no module is unloaded meanwhile.
inline void build_tables_of(process_state& process, const code_map& map) noexcept {
  for (std::size_t i = 0; i < map.current; ++i) {
    const code_range& range = map.ranges[i];
    os_object object;
    if (!wants_table(range) || !still_loaded_sig(range, object)) continue;
    if (!build_table_once(process.registry.modules, *range.module, image_of(range))) {
      count_drop_sig(process, drop::tables_full);
    }
  }
  process.rule_epoch.fetch_add(1);  // .debug_frame may know more than what was cached
}

inline bool wants_tables(const code_map& map) noexcept {
  for (std::size_t i = 0; i < map.current; ++i) {
    if (wants_table(map.ranges[i])) return true;
  }
  return false;
}

// Compiles the unwind tables of modules that walks went through. Caller holds refresh_lock.
inline void build_wanted_tables(process_state& process) noexcept {
  const code_map* const map = process.code.load();
  if (map != nullptr && wants_tables(*map)) build_tables_of(process, *map);
}
#else
inline void build_wanted_tables(process_state&) noexcept {}
#endif

// Who forks goes first, or refreshes that follow each other would never let it: see
// wait_for_refresh_before_fork.
inline void let_forks_pass(const process_state& process) noexcept {
  for (int i = 0; i < 1000 && process.forks.load() != 0; ++i) os_sleep_ns(1000000);
}

// The same as os_never_unloaded_objects, by the last map, while the loader is busy.
inline std::size_t known_never_unloaded(const process_state& process, std::uintptr_t* headers, std::size_t room) noexcept {
  const code_map* const map = process.code.load();
  std::size_t count = 0;
  for (std::size_t i = 0; map != nullptr && i < map->current && count < room; ++i) {
    if (map->ranges[i].never_unloaded) headers[count++] = map->ranges[i].header;
  }
  return count;
}

// Brings the code map up to date: ordinary code, before and after every profile. Where another thread keeps the loader's
// lock (os_loader_is_busy) the map is read all the same, as hooks do it, but no table is built.
// Whether the unwind tables that walks asked for are made now. For a profile of what is known already they are not needed: a
// process's first one puts them off, so that it does not wait for them, and the next refresh makes them.
enum class tables_made { now, next_time };

inline void refresh_code_map(process_state& process, tables_made when = tables_made::now) noexcept {
  let_forks_pass(process);
  const spin_guard lock(process.refresh_lock);
  give_back_maps(process);  // first, so that there is room for one more
  constexpr std::size_t room = 512;
  std::uintptr_t headers[room];  // 4 KiB; of a program that is linked to more libraries the last count as going
  struct refresh {
    process_state& process;
    bool makes_tables;
    never_unloaded_objects never_unloaded;
  } wanted{process, when == tables_made::now || process.put_off_tables.exchange(true), {}};
  process.refreshed_at.store(os_monotonic_ns_sig(), std::memory_order_relaxed);
  wanted.never_unloaded.headers = headers;
  wanted.never_unloaded.loaded = os_objects_loaded();
  wanted.never_unloaded.count = os_never_unloaded_objects(headers, room);
  const bool answers = os_with_objects_kept(
      [](void* context) {
        const refresh& r = *static_cast<refresh*>(context);
        replace_code_map_sig(r.process, r.never_unloaded);
        if (r.makes_tables) build_wanted_tables(r.process);
      },
      &wanted);
  if (!answers) {
    wanted.never_unloaded.count = known_never_unloaded(process, headers, room);
    replace_code_map_sig(process, wanted.never_unloaded);
  }
  if (process.registry.unread.load()) count_drop_sig(process, drop::code_map_unread);
  give_back_maps(process);
}

#if PROF_DETAIL_OS_LINUX
// The program, libc and the C++ library: code that nearly every stack goes through.
inline bool is_in_most_stacks(const code_range& range) noexcept {
  if (range.header == os_program_header_sig()) return true;
  const text_view path(range.path, range.path_size);
  const std::size_t folder = path.rfind('/');
  for (const char* const library : {"/libc.so", "/libc-", "/ld-musl", "/libstdc++.so", "/libc++.so"}) {
    if (folder < path.size && path.from(folder).starts_with(library)) return true;
  }
  return false;
}
#endif

// Before a sampler begins that captures stacks in the host's hot paths: makes the tables that nearly all walks need, without
// which a walk takes a system call or more for each frame. Some milliseconds at the first time. Ordinary code.
inline void prepare_walks(process_state& process) noexcept {
  refresh_code_map(process);
#if PROF_DETAIL_OS_LINUX
  const code_map* const map = process.code.load();
  for (std::size_t i = 0; map != nullptr && i < map->current; ++i) {
    const code_range& range = map->ranges[i];
    if (range.module != nullptr && is_in_most_stacks(range)) range.module->wanted.store(true);
  }
  refresh_code_map(process);
#endif
}

// Refreshes where walks met code that the map does not know, once a second at most: for whoever comes by while profiles
// run, which may take minutes. Ordinary context.
inline void refresh_outdated_code_map(process_state& process) noexcept {
  constexpr std::uint64_t pause_ns = 1000000000;
  if (!process.code_map_outdated.load(std::memory_order_relaxed)) return;
  const std::uint64_t last = process.refreshed_at.load(std::memory_order_relaxed);
  if (os_monotonic_ns_sig() - last >= pause_ns) refresh_code_map(process);
}

// A frame buffer from the pool; null (counted) when 64 captures are under way.
class frame_lease {
 public:
  frame_lease(process_state& process, std::uint32_t thread) PROF_DETAIL_SIG : buffer_(process.buffers.take_sig(thread)) {
    if (buffer_ == nullptr) count_drop_sig(process, drop::no_frame_buffer);
  }
  ~frame_lease() {
    if (buffer_ != nullptr) buffer_->taken.store(0, std::memory_order_release);
  }
  frame_lease(const frame_lease&) = delete;
  frame_lease& operator=(const frame_lease&) = delete;
  frame_buffer* buffer() const PROF_DETAIL_SIG { return buffer_; }

 private:
  frame_buffer* const buffer_;
};

// All that a walk needs while it goes on, so that a handler's stack needs little.
struct walk_scratch {
  walk_scratch(process_state& process, frame_buffer& buffer, std::uint64_t period_ns = whole_period_ns) PROF_DETAIL_SIG
      // The map after the lease, see give_back_maps; and after the epoch, or an old map's rules
      // would be kept under a new one.
      : epoch(process.rule_epoch.load()),
        rules(process.code.load(), process.registry, *process.rules, epoch, process.code_map_outdated,
              cfi),
        walk(memory, rules, buffer.frames, process.depth.load(std::memory_order_relaxed), period_ns) {}
  const std::uint64_t epoch;  // initialised first
  walk_memory memory;
  cfi_scratch cfi;
  rule_lookup rules;
  stack_walk<walk_memory, rule_lookup> walk;
};
static_assert(sizeof(walk_scratch) <= sizeof(frame_buffer::scratch), "make room in frame_buffer");

// The registers of the caller. Its rbx is not known; its lr is not needed.
inline registers caller_registers_sig(const call_frame& call) PROF_DETAIL_SIG {
  registers r;
  r.pc = strip_address_sig(reinterpret_cast<std::uintptr_t>(call.return_address));
  r.sp = reinterpret_cast<std::uintptr_t>(call.cfa);
  std::memcpy(&r.fp, call.frame, sizeof r.fp);
  return r;
}

// ---- where the host called us ------------------------------------------------------------------------

// Functions of ours that the host's call goes through to the one that takes a stack. Optimized they jump on and leave no
// frame; else they are the leaf end of the stack, and dropped by their addresses. `places`: where pointers to them lie,
// null behind the last; `sizes`: of their code, 0 as long as it is not known.
struct own_functions {
  static constexpr std::size_t most = 4;
  const void* places[most];
  std::atomic<std::uint32_t>* sizes;
};
// The registers of the function that called ours, which may be one of `through`; null: it is the host's.
struct host_call : registers {
  const own_functions* through = nullptr;
};
inline host_call host_call_sig(const call_frame& call, const own_functions* through = nullptr) PROF_DETAIL_SIG {
  host_call made;
  static_cast<registers&>(made) = caller_registers_sig(call);
  made.through = through;
  return made;
}

// The size of the function's code that begins at an address, by its call frame information; 0: there is none.
PROF_DETAIL_COLD inline std::uint32_t function_size_sig(walk_scratch& scratch, std::uintptr_t begin) PROF_DETAIL_SIG {
  if (scratch.rules.function_start_sig(begin, scratch.memory) == 0) return 0;
  return static_cast<std::uint32_t>(scratch.cfi.fde.limit - begin);
}
// Whether an address is in a function of ours. Its size is asked for only within reach: host code follows it everywhere.
inline bool is_in_own_sig(walk_scratch& scratch, std::uintptr_t address, const own_functions& own) PROF_DETAIL_SIG {
  constexpr std::uintptr_t reach = 4096;
  for (std::size_t i = 0; i < own_functions::most && own.places[i] != nullptr; ++i) {
    std::uintptr_t begin = 0;
    std::memcpy(&begin, own.places[i], sizeof begin);
    if (begin == 0 || address < begin || address - begin >= reach) continue;
    std::uint32_t size = own.sizes[i].load(std::memory_order_relaxed);
    if (size == 0) own.sizes[i].store(size = function_size_sig(scratch, begin), std::memory_order_relaxed);
    if (address - begin < size) return true;
  }
  return false;
}
// How many frames at the leaf end are ours.
inline std::size_t own_frames_sig(walk_scratch& scratch, const stack_view& stack, const own_functions& own) PROF_DETAIL_SIG {
  std::size_t count = 0;
  while (count < own_functions::most && count + 1 < stack.depth &&
         is_in_own_sig(scratch, frame_address_sig(stack.frames[count]), own)) {
    ++count;
  }
  return count;
}

// Walks and interns the stack that `start` belongs to, which is `thread`'s, the calling one. `period_ns`: how often the
// thread is walked.
inline stack_id capture_stack_sig(process_state& process, std::uint32_t thread, const registers& start,
                                  bool leaf_is_return, std::uint64_t period_ns = whole_period_ns,
                                  const own_functions* through = nullptr) PROF_DETAIL_SIG {
  const frame_lease lease(process, thread);
  frame_buffer* const buffer = lease.buffer();
  if (buffer == nullptr) return overflow_stack;
  auto& scratch = *new (static_cast<void*>(buffer->scratch)) walk_scratch(process, *buffer, period_ns);
  const walked_stack walked = scratch.walk.run_sig(start, leaf_is_return);
  stack_view view{buffer->frames, walked.depth, walked.approximate, walked.truncated};
  const std::size_t own = through == nullptr ? 0 : own_frames_sig(scratch, view, *through);
  view.frames += own;
  view.depth -= own;
  const std::uint64_t full_before = process.stacks.overflow();
  const stack_id id = process.stacks.intern_sig(view);
  if (id == overflow_stack && full_before != process.stacks.overflow()) {
    count_drop_sig(process, drop::stack_table_full);
  }
  return id;
}
// The same from the host's call on.
inline stack_id capture_call_sig(process_state& process, std::uint32_t thread, const host_call& caller) PROF_DETAIL_SIG {
  return capture_stack_sig(process, thread, caller, true, whole_period_ns, caller.through);
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_CAPTURE_HPP
