// prof/collect/api_table.hpp - the functions behind the public API, as one table, and how an object finds one.
// Floor 11 (collect). Part of the thin header. Filled by collect/api_functions.hpp, which prof.hpp includes.
// Safety: api_sig is two loads; finding another object's table is for ordinary context: it takes the loader's lock.
// Memory: none.
// Source: design rule "prof.hpp in one file, api.hpp everywhere else". No token here depends on a switch. A table
//         crosses objects: it carries its size and version and is only ever appended to. Options go with their size; what
//         else its functions get keeps its layout for ever.
#ifndef PROF_COLLECT_API_TABLE_HPP
#define PROF_COLLECT_API_TABLE_HPP

#include "prof/base/result.hpp"
#include "prof/base/sink.hpp"
#include "prof/os/objects.hpp"
#include "prof/process/annotation.hpp"
#include "prof/process/file_note.hpp"
#include "prof/process/http_part.hpp"
#include "prof/profile/request.hpp"

PROF_DETAIL_BEGIN

// A row of status(): a value (number, or text when there is one), a hook (state and reason) or a cause of loss.
struct status_row {
  enum class kind : std::uint32_t { value, hook, drop };
  kind type = kind::value;
  const char* name = "";
  std::uint64_t number = 0;
  const char* text = nullptr;  // of a value: instead of the number; of a hook: its state
  const char* why = "";        // of a hook
};

struct api_table {
  std::uint32_t size;     // of this table as its object knows it
  std::uint32_t version;  // PROF_VERSION

  // Puts labels on top of the calling thread's and returns the set in force before; takes them away again.
  label_set_id (*enter_labels)(const label_pair* pairs, std::size_t count);
  void (*leave_labels)(label_set_id before);
  // `countdown` is used up; `call` is the call to record_alloc. Also inside an allocator.
  void (*record_alloc_sig)(std::int64_t& countdown, void* object, std::size_t size, const call_frame& call) PROF_DETAIL_SIG;
  void (*record_free_sig)(void* object) PROF_DETAIL_SIG;

  // `bytes`: of the struct as the caller knows it.
  result (*configure)(const options& wanted, std::size_t bytes);
  result (*start_session)(void*& session, const sink& target, const cpu_options& wanted, std::size_t bytes);
  result (*stop_session)(void* session);
  result (*start_cpu)(const sink& target, const cpu_options& wanted, std::size_t bytes);
  result (*stop_cpu)();
  result (*write_profile)(const char* name, const sink& target, const profile_request& request, std::size_t bytes);
  void (*visit_profiles)(void (*visit)(void* context, const char* name, bool available), void* context);
  // Of the part that has the profile; returns the rate before, 0 where there is none.
  std::uint64_t (*set_rate)(const char* profile, std::uint64_t rate);
  void (*visit_status)(void (*visit)(void* context, const status_row& row), void* context);
  result (*write_status)(const sink& target);
  // The server's descriptor, or null where no file of the process brings it.
  const http_part* (*find_http)();
  // Locks of prof's own, see collect/locks.hpp. wait(lock) returns with the lock held; unlock(lock) lets it go, of which
  // `sharers` hold it; the calls are to the lock's own functions.
  void (*lock_taken)(void* lock);
  void (*lock_waits)(void* lock, std::uint32_t kind, void (*wait)(void* lock), const call_frame& call);
  void (*lock_unlocks)(void* lock, std::uint64_t sharers, void (*unlock)(void* lock), const call_frame& call);
  void (*record_contention)(std::uint64_t ns, const call_frame& call);
};

// Null where no file of this object includes the whole. Where symbols cannot stay undefined, it must be included.
extern "C" const api_table prof_api_v1 __attribute__((__weak__, __visibility__("hidden")));

// The table that this object's calls go through, if it has one or knows one.
inline const api_table* api_sig() PROF_DETAIL_SIG {
#if PROF_DETAIL_ELF
  if (&prof_api_v1 == nullptr) {
    return static_cast<const api_table*>(api_in_use.load(std::memory_order_acquire));
  }
#endif
  return &prof_api_v1;
}

// ---- another object's table ------------------------------------------------------------------------------

struct api_search {
  const api_table* found = nullptr;
  const char* object = "";  // valid while the object stays
  bounded_text<1024> file;
};

// A table is usable if it has all that this header calls; later versions of the same minor number append.
inline bool see_api(void* context, const object_note& note) noexcept {
  auto& search = *static_cast<api_search*>(context);
  if (note.type != api_note_type || note.size < 8) return true;
  std::int32_t words[2];  // version, how far the table is from here
  std::memcpy(words, note.data, sizeof words);
  if (static_cast<std::uint32_t>(words[0]) / 1000 != PROF_VERSION / 1000) return true;
  const auto* const table = reinterpret_cast<const api_table*>(note.data + 4 + words[1]);
  if (table->size < sizeof(api_table)) return true;
  search.found = table;
  search.file.clear();
  search.file.put(note.object);
  return false;
}

// Looks through the loaded objects. What is found is kept, and its object stays loaded from then on; what is not found
// is looked for again, for it may be loaded yet.
PROF_DETAIL_COLD inline const api_table* find_api_slow() noexcept {
  api_search first;
  os_for_each_object_note({&see_api, &first});
  if (first.found == nullptr) return nullptr;
  if (!os_pin_file(first.file.c_str())) return nullptr;
  // It may have been unloaded before it was pinned: what is there now stays.
  api_search again;
  os_for_each_object_note({&see_api, &again});
  if (again.found != first.found) return nullptr;
  const void* none = nullptr;
  api_in_use.compare_exchange_strong(none, again.found, std::memory_order_acq_rel);
  return again.found;
}

inline const api_table* api() noexcept {
  const api_table* const known = api_sig();
  return PROF_DETAIL_LIKELY(known != nullptr) ? known : find_api_slow();
}

// The same for labels, of which there may be millions a second: where nobody has a table they look once a second.
inline std::atomic<std::uint64_t> api_missed_at_ms{0};
PROF_DETAIL_COLD inline const api_table* find_api_for_labels_slow() noexcept {
  const std::uint64_t now = loader_clock_ms();
  const std::uint64_t missed = api_missed_at_ms.load(std::memory_order_relaxed);
  if (missed != 0 && now - missed < 1000) return nullptr;
  const api_table* const found = find_api_slow();
  if (found == nullptr) api_missed_at_ms.store(now, std::memory_order_relaxed);
  return found;
}
inline const api_table* api_for_labels() noexcept {
  const api_table* const known = api_sig();
  return PROF_DETAIL_LIKELY(known != nullptr) ? known : find_api_for_labels_slow();
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_API_TABLE_HPP
