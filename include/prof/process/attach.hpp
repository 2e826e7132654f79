// prof/process/attach.hpp - how an object finds the process state, or makes it.
// Floor 7 (process). Entered by every hook, handler and public call, once per object.
// Safety: async-signal-safe: raw system calls, no loader lock, no allocation but pages. Concurrent first calls agree by
//         compare-and-swap.
// Memory: see process.hpp.
// Source: an anchor is arbiter only among objects of its layout, and what is offered there is joined only when all
//         parts of both have equal states: two snapshots of prof in one process stay apart.
#ifndef PROF_PROCESS_ATTACH_HPP
#define PROF_PROCESS_ATTACH_HPP

#include "prof/process/process.hpp"

PROF_DETAIL_BEGIN

// A note of prof as read back: the version and the symbol it leads to.
struct prof_note {
  std::uint32_t type = 0;
  std::uint32_t version = 0;
  std::uintptr_t symbol = 0;
  const char* text = "";  // what follows; dies with the visitor's call
};

inline bool parse_note_sig(std::uint32_t type, text_view owner, std::uintptr_t address, const unsigned char* data,
                           std::size_t size, prof_note& note) PROF_DETAIL_SIG {
  if (!owner.equals({"prof", 4}) || type < file_note_type || size < 8) return false;
  if (type == file_note_type && (size < 9 || data[size - 1] != '\0')) return false;
  std::int32_t words[2];
  std::memcpy(words, data, sizeof words);
  note.type = type;
  note.version = static_cast<std::uint32_t>(words[0]);
  note.symbol = address + 4 + static_cast<std::uintptr_t>(static_cast<std::intptr_t>(words[1]));
  note.text = type == file_note_type ? reinterpret_cast<const char*>(data) + 8 : "";
  return true;
}

// Calls visit(note) for every note of prof in every loaded object.
#if PROF_DETAIL_OS_LINUX
inline void for_each_note_sig(visitor<prof_note> visit) PROF_DETAIL_SIG {
  for_each_image_note_sig({[](void* context, const elf_note& note) {
                             prof_note found;
                             if (parse_note_sig(note.type, note.owner, note.address, note.data, note.size, found)) {
                               (*static_cast<visitor<prof_note>*>(context))(found);
                             }
                           },
                           &visit});
}
#else
inline void for_each_note_sig(visitor<prof_note>) PROF_DETAIL_SIG {}
#endif

// ---- making one --------------------------------------------------------------------------------------------

inline void unmake_process_sig(process_state* process) PROF_DETAIL_SIG {
  os_unmap_sig(process->rules, page_round(sizeof(rule_cache)));
  os_unmap_sig(process, page_round(sizeof(process_state)));
}

PROF_DETAIL_COLD inline process_state* make_process_sig() PROF_DETAIL_SIG {
  void* const pages = os_map_sig(page_round(sizeof(process_state)));
  if (pages == nullptr) return nullptr;
  auto* const process = new (pages) process_state;
  table_memory& memory = process->memory;
  memory.map_sig = &os_map_in_steps_sig;
  memory.unmap_sig = &os_unmap_sig;
  memory.bytes.store(page_round(sizeof(process_state)), std::memory_order_relaxed);
  // Zero pages are what it begins with; constructing it would touch them all.
  process->rules = static_cast<rule_cache*>(memory.take_sig(sizeof(rule_cache)));
  if (process->rules == nullptr) {
    os_unmap_sig(pages, page_round(sizeof(process_state)));
    return nullptr;
  }
  process->registry.bind(memory);
  process->stacks.bind(memory);
  process->labels.bind(memory);
  process->threads.bind(memory);
  process->waits.bind(memory);
  process->gaps.bind(memory);
  process->buffers.bind(memory);
  process->head.layout = layout_version;
  process->head.version = PROF_VERSION;
  process->pid.store(os_process_id_sig(), std::memory_order_relaxed);
  constexpr options defaults{};
  process->depth.store(default_depth, std::memory_order_relaxed);
  process->detail_of_names.store(defaults.symbolize, std::memory_order_relaxed);
  process->time_for_names.store(std::uint64_t{defaults.symbolize_ms} * 1000000u, std::memory_order_relaxed);
  process->memory_for_names.store(defaults.symbolize_memory, std::memory_order_relaxed);
  process->head.magic = process_magic;
  return process;
}

// ---- agreeing on one -----------------------------------------------------------------------------------------

// Whether this object's parts have the same states as those of the objects that use a process state.
inline bool parts_fit_sig(const process_state& process) PROF_DETAIL_SIG {
  for (unsigned i = 0; i < part_count; ++i) {
    const part_head* const own = own_part_sig(i);
    const std::uint32_t there = process.parts[i].layout.load(std::memory_order_acquire);
    if (own != nullptr && there != 0 && own->layout != 0 && there != own->layout) return false;
  }
  return true;
}
// The same, and from now on other objects must fit this one's, too.
inline bool join_parts_sig(process_state& process) PROF_DETAIL_SIG {
  if (!parts_fit_sig(process)) return false;
  for (unsigned i = 0; i < part_count; ++i) {
    const part_head* const own = own_part_sig(i);
    std::uint32_t there = 0;
    if (own == nullptr || own->layout == 0) continue;
    process.parts[i].layout.compare_exchange_strong(there, own->layout, std::memory_order_acq_rel);
    if (there != 0 && there != own->layout) return false;
  }
  return true;
}

struct anchor_search {
  process_state* found = nullptr;
  object_anchor* first = nullptr;  // the arbiter: the lowest address where nothing is offered yet
};

// The process state that a word of an anchor leads to, if this object can share it.
inline process_state* usable_sig(process_head* there) PROF_DETAIL_SIG {
  std::uint64_t head[2] = {};  // magic; layout and version
  static_assert(sizeof(process_head) == sizeof head, "all of it");
  if (there == nullptr || !os_copy_sig(head, reinterpret_cast<std::uintptr_t>(there), sizeof head)) return nullptr;
  process_head copy{};
  std::memcpy(&copy, head, sizeof copy);
  if (copy.magic != process_magic || copy.layout != layout_version) return nullptr;
  std::atomic_thread_fence(std::memory_order_acquire);
  auto* const process = reinterpret_cast<process_state*>(there);
  return parts_fit_sig(*process) ? process : nullptr;
}

inline void see_anchor_sig(void* context, const prof_note& note) PROF_DETAIL_SIG {
  auto& search = *static_cast<anchor_search*>(context);
  if (note.type != anchor_note_type || note.version / 1000 != PROF_VERSION / 1000) return;
  struct {
    process_head* process;
    process_head* offered;
    std::uint32_t version;
    std::uint32_t layout;
  } copy{};
  static_assert(sizeof copy == sizeof(object_anchor), "a copy of its words");
  // Copied: the object may be unloaded meanwhile.
  if (!os_copy_sig(&copy, note.symbol, sizeof copy) || copy.layout != layout_version) return;
  if (search.found == nullptr) search.found = usable_sig(copy.process);
  if (search.found == nullptr) search.found = usable_sig(copy.offered);
  auto* const anchor = reinterpret_cast<object_anchor*>(note.symbol);
  if (copy.offered == nullptr && (search.first == nullptr || anchor < search.first)) search.first = anchor;
}

// Two first calls in two objects meet at the same anchor: one offers its state there, the other finds it when it looks
// again. Whoever cannot share what is offered goes to the next anchor.
PROF_DETAIL_COLD inline process_state* attach_slow_sig() PROF_DETAIL_SIG {
  process_state* made = nullptr;
  for (int tries = 0; tries < 16; ++tries) {
    anchor_search search;
    for_each_note_sig({&see_anchor_sig, &search});
    if (search.found != nullptr && join_parts_sig(*search.found)) {
      if (made != nullptr) unmake_process_sig(made);
      this_object.process.store(&search.found->head, std::memory_order_release);
      return search.found;
    }
    if (made == nullptr) made = make_process_sig();
    if (made == nullptr) return nullptr;
    (void)join_parts_sig(*made);  // before anybody else can see it
    // A hook cannot keep that object loaded: the loader knew it a moment ago.
    object_anchor& arbiter = search.first != nullptr ? *search.first : this_object;
    process_head* none = nullptr;
    if (!arbiter.offered.compare_exchange_strong(none, &made->head, std::memory_order_acq_rel)) continue;
    break;
  }
  this_object.process.store(&made->head, std::memory_order_release);
  return made;
}

// The process state if this object is attached; the handler's way in.
inline process_state* attached_process_sig() PROF_DETAIL_SIG {
  return reinterpret_cast<process_state*>(this_object.process.load(std::memory_order_acquire));
}
// The same, attaching on first use; null only when no memory can be mapped.
inline process_state* process_sig() PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  return PROF_DETAIL_LIKELY(process != nullptr) ? process : attach_slow_sig();
}

// A part's state, made on first use; null when no memory can be mapped. make_sig(process) maps one, drop_sig(process,
// state) gives it back, for another thread may have been quicker.
template <class State>
inline State* part_state_sig(process_state& process, part which, State* (*make_sig)(process_state&),
                             void (*drop_sig)(process_state&, State*)) PROF_DETAIL_SIG {
  std::atomic<void*>& place = process.parts[static_cast<unsigned>(which)].state;
  void* there = place.load(std::memory_order_acquire);
  if (PROF_DETAIL_LIKELY(there != nullptr)) return static_cast<State*>(there);
  State* const made = make_sig(process);
  if (made == nullptr) return nullptr;
  if (place.compare_exchange_strong(there, made, std::memory_order_acq_rel)) return made;
  drop_sig(process, made);
  return static_cast<State*>(there);
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_ATTACH_HPP
