// prof/collect/enter.hpp - what every public call does first.
// Floor 11 (collect). Called by the functions behind the API and by http/.
// Safety: ordinary context, any thread.
// Memory: none.
// Source: process/enter.hpp.
#ifndef PROF_COLLECT_ENTER_HPP
#define PROF_COLLECT_ENTER_HPP

#include "prof/collect/api_table.hpp"
#include "prof/process/capture.hpp"
#include "prof/process/enter.hpp"

PROF_DETAIL_BEGIN

// Gives this object's table to objects that have none and were loaded since the last time: a record_alloc inside an
// allocator cannot look for one itself. Under the loader's lock, so that none is unloaded meanwhile.
inline void offer_api(process_state& process) noexcept {
  if (os_loader_is_busy()) return;
  const std::uint64_t loaded = os_objects_loaded();
  if (process.objects_seen.exchange(loaded, std::memory_order_relaxed) == loaded) return;
  (void)os_with_objects_kept(
      [](void*) {
        for_each_note_sig({[](void*, const prof_note& note) {
                             const void* none = nullptr;
                             // A later version may call what this table lacks.
                             const bool is_newer = note.version > PROF_VERSION;
                             if (note.type != file_note_type || is_newer || note.version / 1000 != PROF_VERSION / 1000) return;
                             auto* const place = reinterpret_cast<std::atomic<const void*>*>(note.symbol);
                             place->compare_exchange_strong(none, &prof_api_v1);
                           },
                           nullptr});
      },
      nullptr);
}

// The process state, with this object's parts in it; null only when no memory can be mapped. Where walks of a running
// profile meet libraries that were loaded meanwhile, their tables are made now.
inline process_state* enter() noexcept {
  process_state* const process = enter_process();
  if (process == nullptr) return nullptr;
  offer_api(*process);
  refresh_outdated_code_map(*process);
  return process;
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_ENTER_HPP
