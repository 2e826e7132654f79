// prof/collect/sessions.hpp - CPU sessions and write_profile: what the public calls of profiles.hpp lead to.
// Floor 11 (collect). In the table of api_functions.hpp.
// Safety: ordinary context, any thread.
// Memory: a session lives in pages, not in the host's heap.
// Source: Go's StartCPUProfile, StopCPUProfile and Lookup(name).WriteTo.
#ifndef PROF_COLLECT_SESSIONS_HPP
#define PROF_COLLECT_SESSIONS_HPP

#include "prof/collect/collection.hpp"
#include "prof/collect/deliver.hpp"
#include "prof/collect/enter.hpp"
#include "prof/process/versions.hpp"

PROF_DETAIL_BEGIN

// A struct that a caller of another version handed over: what it does not know keeps its default.
template <class Struct>
inline Struct known_of(const Struct& given, std::size_t bytes) noexcept {
  Struct known;
  std::memcpy(static_cast<void*>(&known), &given, bytes < sizeof known ? bytes : sizeof known);
  return known;
}

// How each running session begins, in all versions: a snapshot of prof whose sessions have other members may share the
// process state with this one, and ends them by their own table.
struct session_head {
  const api_table* table;
  std::uint32_t layout;
  std::uint32_t pid;  // a forked child must not write into its parent's file
};

// A running CPU profile and where it will be written.
struct cpu_recording {
  cpu_recording(process_state& process, const sink& target) noexcept;
  session_head head;
  collection work;
  delivery out;
};
inline constexpr std::uint32_t recording_layout =
    layout_of({sizeof(cpu_recording), sizeof(collection), sizeof(delivery), sizeof(profile_request), sizeof(profile_run)});
inline cpu_recording::cpu_recording(process_state& process, const sink& target) noexcept
    : head{&prof_api_v1, recording_layout, os_process_id_sig()}, work(process), out(target) {}

inline result start_recording(const sink& target, const cpu_options& wanted, cpu_recording*& recording) noexcept {
  process_state* const process = enter();
  void* const pages = process == nullptr ? nullptr : os_map_sig(sizeof(cpu_recording));
  if (pages == nullptr) return result(error::out_of_memory, "the CPU profile");
  process->used.store(true);
  auto* const made = new (pages) cpu_recording(*process, target);
  profile_request request;
  request.hz = wanted.hz;
  request.symbolize = wanted.symbolize;
  result started = check_versions();
  // The file is opened, and truncated, only when everything else has worked.
  if (started) started = made->work.begin("profile", request);
  if (started) started = made->out.open();
  if (started) {
    recording = made;
    return started;
  }
  made->~cpu_recording();
  os_unmap_sig(pages, sizeof(cpu_recording));
  return started;
}

inline result stop_session(void* session) noexcept {
  const session_head& head = *static_cast<const session_head*>(session);
  if (head.layout != recording_layout) return head.table->stop_session(session);
  auto* const recording = static_cast<cpu_recording*>(session);
  (void)enter();
  if (head.pid != os_process_id_sig()) return {};
  const result written = recording->work.finish(recording->out.out());
  const result closed = recording->out.close();
  recording->~cpu_recording();
  os_unmap_sig(recording, sizeof(cpu_recording));
  return closed ? written : closed;
}

inline result start_session(void*& session, const sink& target, const cpu_options& wanted, std::size_t bytes) {
  cpu_recording* recording = nullptr;
  result started = start_recording(target, known_of(wanted, bytes), recording);
  session = recording;
  return started;
}

// The one unnamed session; `process` itself marks a start under way.
inline result start_cpu(const sink& target, const cpu_options& wanted, std::size_t bytes) {
  process_state* const process = enter();
  if (process == nullptr) return result(error::out_of_memory, "the CPU profile");
  void* none = nullptr;
  if (!process->unnamed_session.compare_exchange_strong(none, process)) return result(error::cpu_in_use);
  cpu_recording* recording = nullptr;
  result started = start_recording(target, known_of(wanted, bytes), recording);
  process->unnamed_session.store(recording);
  return started;
}

inline result stop_cpu() {
  if (attached_process_sig() == nullptr) return {};
  process_state* const process = enter();
  void* running = process->unnamed_session.load();
  if (running == nullptr || running == process) return {};
  if (!process->unnamed_session.compare_exchange_strong(running, nullptr)) return {};
  return stop_session(running);
}

// Waits for a duration while a profile is taken; false when the caller asked to stop. Where walks meet
// libraries that were loaded meanwhile, their tables are made once a second, so that not the whole of a long
// profile is walked by interpretation.
inline bool wait_unless_canceled(process_state& process, std::uint64_t ns, const std::atomic<bool>* cancel) noexcept {
  const std::uint64_t step = cancel != nullptr ? 20000000 : 1000000000;
  const std::uint64_t end = os_monotonic_ns_sig() + ns;
  for (std::uint64_t now = end - ns; now < end; now = os_monotonic_ns_sig()) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    os_sleep_ns(end - now < step ? end - now : step);
    refresh_outdated_code_map(process);
  }
  return true;
}

// Not inlined: its caller is the host's code.
PROF_DETAIL_NOINLINE inline result write_named_profile(const char* name, const sink& target, const profile_request& given,
                                                       std::size_t bytes) {
  const registers asker = caller_registers_sig(PROF_DETAIL_CALL_FRAME());
  process_state* const process = enter();
  const profile_request request = known_of(given, bytes);
  if (process == nullptr) return result(error::out_of_memory, "the profile");
  if (name == nullptr) return result(error::unknown_profile, "(null)");
  if (find_row(*process, name).row == nullptr) return explain_missing(name);
  if (result agreed = check_versions(); !agreed) return agreed;
  process->used.store(true);
  delivery out(target);
  collection work(*process, &asker);
  if (result begun = work.begin(name, request); !begun) return begun;
  if (result opened = out.open(); !opened) return opened;
  if (!wait_unless_canceled(*process, work.duration_ns(), request.cancel)) return result(error::canceled);
  const result written = work.finish(out.out());
  const result closed = out.close();
  return closed ? written : closed;
}

inline result set_limits(const options& given, std::size_t bytes) {
  process_state* const process = process_sig();
  const options wanted = known_of(given, bytes);
  if (process == nullptr) return result(error::out_of_memory, "the profiler's tables");
  if (process->used.load()) return result(error::configured_late);
  if (wanted.max_depth < 1 || wanted.max_depth > max_depth) {
    return result(error::bad_argument, "options::max_depth must be 1 to 1024");
  }
  if (wanted.signal < 0 || wanted.signal > 64) {
    return result(error::bad_argument, "options::signal must be 0 (choose) or a signal number");
  }
  if (wanted.symbolize > symbols::inlines || wanted.symbolize == symbols::standard) {
    return result(error::bad_argument, "options::symbolize must be none, functions, lines or inlines");
  }
  process->depth.store(wanted.max_depth);
  process->detail_of_names.store(wanted.symbolize);
  process->time_for_names.store(std::uint64_t{wanted.symbolize_ms} * 1000000u);
  process->memory_for_names.store(wanted.symbolize_memory);
  process->wanted_signal.store(wanted.signal);
  return {};
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_SESSIONS_HPP
