// prof/process/hook_family.hpp - who counts what hooks see: each family of hooks has one owner among the objects of the
// process, whose hooks count; the others forward.
// Floor 7 (process). Claimed by hook/, kept by process/enter.hpp, shown by collect/status.hpp.
// Safety: claiming is one compare-and-swap; the rest is for ordinary context where it is not said.
// Memory: two words per family.
// Source: design decision "several DSOs with the header": the first object in symbol order is entered first.
#ifndef PROF_PROCESS_HOOK_FAMILY_HPP
#define PROF_PROCESS_HOOK_FAMILY_HPP

#include "prof/os/os.hpp"
#include "prof/process/part.hpp"

PROF_DETAIL_BEGIN

// One hooked entry, as status() shows it. `state` and `why` are string literals.
struct hook_record {
  const char* name;
  std::atomic<const char*> state;
  std::atomic<const char*> why;
};
inline void set_record_sig(hook_record& record, const char* state, const char* why) PROF_DETAIL_SIG {
  record.state.store(state, std::memory_order_relaxed);
  record.why.store(why, std::memory_order_relaxed);
}

inline constexpr std::uint64_t hook_family_magic = 0x70726f66686f6f6bu;  // "profhook"

// The hooks of one family in one object: what it knows of them and how it tests them.
struct hook_family_part {
  std::uint64_t magic;  // hook_family_magic: tells whether the object that claimed is still loaded
  hook_record* records;
  int count;
  void (*test)() noexcept;
  void (*rate_changed)() noexcept;  // the calling thread should notice at once; null: it does anyway
};

// X(identifier, how status() says whose hooks count, the part that counts what they see).
#define PROF_DETAIL_HOOK_FAMILIES(X)                   \
  X(heap, "malloc hooks counted by", heap)             \
  X(thread, "pthread_create hook counted by", threads) \
  X(lock, "lock hooks counted by", mutex)              \
  X(wait, "wait hooks counted by", block)              \
  X(join, "join hooks counted by", threads)            \
  X(blocking, "system call hooks counted by", block)

enum class hook_family : unsigned {
#define PROF_DETAIL_FAMILY(identifier, name, counts) identifier,
  PROF_DETAIL_HOOK_FAMILIES(PROF_DETAIL_FAMILY)
#undef PROF_DETAIL_FAMILY
      count_
};
inline constexpr unsigned hook_family_count = static_cast<unsigned>(hook_family::count_);

// Null where no file of this object defines the family's hooks.
#define PROF_DETAIL_FAMILY(identifier, name, counts) \
  extern "C" const hook_family_part prof_hooks_##identifier##_v2 __attribute__((__weak__, __visibility__("hidden")));
PROF_DETAIL_HOOK_FAMILIES(PROF_DETAIL_FAMILY)
#undef PROF_DETAIL_FAMILY

struct hook_family_row {
  const char* counted_by;
  part counts;
  const hook_family_part* own;
};
inline hook_family_row family_row(unsigned which) noexcept {
  switch (which) {
#define PROF_DETAIL_FAMILY(identifier, name, counts)  \
  case static_cast<unsigned>(hook_family::identifier): \
    return {name, part::counts, &prof_hooks_##identifier##_v2};
    PROF_DETAIL_HOOK_FAMILIES(PROF_DETAIL_FAMILY)
#undef PROF_DETAIL_FAMILY
    default: return {"", part::count_, nullptr};
  }
}

struct hook_owner {
  std::atomic<const hook_family_part*> owner;  // the object whose hooks count
  std::atomic<const hook_family_part*> kept;   // the same once its object is pinned
};

// Stands in the owner's place while what an unloaded one left is undone: an address that nothing has.
inline const hook_family_part* unloading_hooks() PROF_DETAIL_SIG { return reinterpret_cast<const hook_family_part*>(8); }

// True for the one object whose hooks count.
inline bool claim_hooks_sig(hook_owner& family, const hook_family_part* mine) PROF_DETAIL_SIG {
  const hook_family_part* there = nullptr;
  return family.owner.compare_exchange_strong(there, mine, std::memory_order_acq_rel) || there == mine;
}

// Another object may count instead.
inline void disclaim_hooks_sig(hook_owner& family, const hook_family_part* mine) PROF_DETAIL_SIG {
  family.owner.compare_exchange_strong(mine, nullptr, std::memory_order_acq_rel);
}

inline bool is_hook_family_sig(const hook_family_part* hooks) PROF_DETAIL_SIG {
  std::uint64_t magic = 0;
  return os_copy_sig(&magic, reinterpret_cast<std::uintptr_t>(hooks), sizeof magic) &&
         magic == hook_family_magic;
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_HOOK_FAMILY_HPP
