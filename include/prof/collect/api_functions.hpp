// prof/collect/api_functions.hpp - the whole's side of the public API: the functions of its table, and the table.
// Floor 11 (collect). Included by prof.hpp, whatever the switches.
// Safety: functions ending in _sig may run in a handler or an allocator; the rest is for ordinary
//         context, any thread.
// Memory: none of its own.
// Source: collect/api_table.hpp. The table is emitted by every file that includes the whole, with all that it leads to.
#ifndef PROF_COLLECT_API_FUNCTIONS_HPP
#define PROF_COLLECT_API_FUNCTIONS_HPP

#include "prof/collect/report.hpp"
#include "prof/collect/sessions.hpp"

PROF_DETAIL_BEGIN

// ---- annotations -----------------------------------------------------------------------------------------------

inline label_set_id enter_labels(const label_pair* pairs, std::size_t count) {
  process_state* const process = object_entered.load(std::memory_order_acquire) ? attached_process_sig() : enter();
  thread_state* const thread = process == nullptr ? nullptr : this_thread_sig(*process);
  if (thread == nullptr) return no_labels;
  label_pair all[2 * label_table::max_labels];
  std::size_t size = 0;
  const label_set_id before = thread->labels.load(std::memory_order_relaxed);
  process->labels.for_each(before, [&](const label_pair& outer) { all[size++] = outer; });
  for (std::size_t i = 0; i < count && i < label_table::max_labels; ++i) all[size++] = pairs[i];
  thread->labels.store(process->labels.intern(all, size), std::memory_order_relaxed);
  return before;
}

inline void leave_labels(label_set_id before) {
  process_state* const process = attached_process_sig();
  thread_state* const thread = process == nullptr ? nullptr : process->threads.find_sig(os_thread_id_sig());
  if (thread != nullptr) thread->labels.store(before, std::memory_order_relaxed);
}

// This object's part, else another's.
inline const record_part* record_part_sig(const process_state& process) PROF_DETAIL_SIG {
  const part_head* const own = own_part_sig(static_cast<unsigned>(part::records));
  return own != nullptr ? reinterpret_cast<const record_part*>(own) : find_part_sig<record_part>(process, part::records);
}

inline void record_any_alloc_sig(std::int64_t& countdown, void* object, std::size_t size,
                                 const call_frame& call) PROF_DETAIL_SIG {
  process_state* const process = process_sig();
  const record_part* const records = process == nullptr ? nullptr : record_part_sig(*process);
  if (records != nullptr) return records->record_alloc_sig(*process, countdown, object, size, call);
  countdown = max_gap;  // looks again behind that
}

inline void record_any_free_sig(void* object) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  const record_part* const records = process == nullptr ? nullptr : record_part_sig(*process);
  if (records != nullptr) records->record_free_sig(*process, object);
}

inline const lock_part* find_lock_part() {
  process_state* const process = process_sig();
  return process == nullptr ? nullptr : find_part_sig<lock_part>(*process, part::locks);
}
inline void note_lock_taken(void* lock) {
  const lock_part* const locks = find_lock_part();
  if (locks != nullptr) locks->taken(lock);
}
inline void follow_lock_wait(void* lock, std::uint32_t kind, void (*wait)(void*), const call_frame& call) {
  const lock_part* const locks = find_lock_part();
  if (locks != nullptr) locks->waits(lock, kind, wait, call);
  else wait(lock);
}
inline void follow_unlock(void* lock, std::uint64_t sharers, void (*unlock)(void*), const call_frame& call) {
  const lock_part* const locks = find_lock_part();
  if (locks != nullptr) locks->unlocks(lock, sharers, unlock, call);
  else unlock(lock);
}
inline void record_any_contention(std::uint64_t ns, const call_frame& call) {
  const lock_part* const locks = find_lock_part();
  if (locks != nullptr) locks->contended(ns, call);
}

// ---- profiles and rates ------------------------------------------------------------------------------------------

inline void visit_profiles(void (*visit)(void* context, const char* name, bool available), void* context) {
  process_state* const process = enter();
  arena memory(os_pages);
  arena_vector<listed_row> rows(memory);
  if (process == nullptr) return;
  list_rows(*process, rows);
  for (const listed_row& row : rows) {
    const char* const name = memory.copy(row.name.data, row.name.size);
    if (name != nullptr) visit(context, name, row.known.row != nullptr);
  }
}

inline std::uint64_t set_rate_of(const char* profile, std::uint64_t rate) {
  process_state* const process = enter();
  const known_row known = process == nullptr ? known_row{} : find_row(*process, profile);
  const bool has_rate = known.part != nullptr && known.part->set_rate != nullptr;
  return has_rate ? known.part->set_rate(*process, rate) : 0;
}

inline const http_part* find_http_part() {
  process_state* const process = enter();
  return process == nullptr ? nullptr : find_part_sig<http_part>(*process, part::http);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const api_table prof_api_v1 = {
    sizeof(api_table),
    PROF_VERSION,
    &enter_labels,
    &leave_labels,
    &record_any_alloc_sig,
    &record_any_free_sig,
    &set_limits,
    &start_session,
    &stop_session,
    &start_cpu,
    &stop_cpu,
    &write_named_profile,
    &visit_profiles,
    &set_rate_of,
    &visit_status,
    &write_status_to,
    &find_http_part,
    &note_lock_taken,
    &follow_lock_wait,
    &follow_unlock,
    &record_any_contention};

PROF_DETAIL_END

PROF_DETAIL_NOTE(4, "prof_api_v1", "");

#endif  // PROF_COLLECT_API_FUNCTIONS_HPP
