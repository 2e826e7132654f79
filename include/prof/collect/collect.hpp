// prof/collect/collect.hpp - one request for one profile, from its name to bytes: begin, wait, finish.
// Floor 11 (collect). Used by api.hpp (which waits) and routes.hpp (whose server does not).
// Safety: ordinary context; thread-compatible (one collection, one thread at a time).
// Memory: an arena per collection, given back with it.
// Source: Go's runtime/pprof and net/http/pprof: names, shapes, delta semantics.
#ifndef PROF_COLLECT_COLLECT_HPP
#define PROF_COLLECT_COLLECT_HPP

#include "prof/part/parts.hpp"
#include "prof/write/pprof.hpp"
#include "prof/write/text.hpp"
#include "prof/write/top.hpp"

PROF_PUBLIC_BEGIN

// How a profile is written. pprof: gzipped profile.proto. text: what Go writes for debug=1. top: the
// hottest functions as a table for a terminal.
enum class format { pprof, text, top };

// What to collect. New members are only ever appended.
struct profile_request {
  // As in Go: not 0 = text.
  int debug = 0;
  // 0: what is known now ("profile": 30 s). Otherwise how long to collect; for heap and allocs the
  // difference between the two ends.
  unsigned seconds = 0;
  // False: addresses and build ids only.
  bool symbolize = true;
  prof::format format = prof::format::pprof;
  // Samples per second of "profile", 1 to 10000; 0: the process's rate (100).
  unsigned hz = 0;
  // Set from another thread to end the wait early with an error; may be null.
  const std::atomic<bool>* cancel = nullptr;
  // Rows of format::top; 0: all.
  unsigned top_rows = 10;
  // Value type that format::top sorts by ("inuse_space"); null: the profile's default.
  const char* top_type = nullptr;
};

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

inline constexpr unsigned default_cpu_seconds = 30;  // Go's

struct known_profile {
  text_view name;
  text_view switch_name;
  part provider;
  bool available;  // in this version
  text_view description;
};

// Sorted by name, as the index page lists them.
inline constexpr known_profile known_profiles[] = {
    {{"allocs", 6}, {"PROF_ENABLE_HEAP", 16}, part::heap, true,
     {"A sampling of all past memory allocations", 41}},
    {{"block", 5}, {"PROF_ENABLE_BLOCK", 17}, part::count_, false, {"", 0}},
    {{"goroutine", 9}, {"PROF_ENABLE_THREADS", 19}, part::count_, false, {"", 0}},
    {{"heap", 4}, {"PROF_ENABLE_HEAP", 16}, part::heap, true,
     {"A sampling of memory allocations of live objects", 48}},
    {{"mutex", 5}, {"PROF_ENABLE_MUTEX", 17}, part::count_, false, {"", 0}},
    {{"profile", 7}, {"PROF_ENABLE_CPU", 15}, part::cpu, true,
     {"CPU profile. Collects for the number of seconds given by the seconds parameter", 78}},
    {{"threadcreate", 12}, {"PROF_ENABLE_THREADS", 19}, part::count_, false, {"", 0}},
    {{"threads", 7}, {"PROF_ENABLE_THREADS", 19}, part::count_, false, {"", 0}},
};

inline const known_profile* find_profile(text_view name) noexcept {
  for (const known_profile& known : known_profiles) {
    if (known.name.equals(name)) return &known;
  }
  return nullptr;
}

// Whether a profile can be collected here, or the error that says why not.
inline result check_profile(const process_state& process, text_view name) noexcept {
  char what[160];
  what[0] = '\0';
  const known_profile* const known = find_profile(name);
  if (known == nullptr) {
    append_text(what, sizeof what, name.data, name.size);
    return result(error::unknown_profile, what);
  }
  if (known->available && find_part_sig<void>(process, known->provider) != nullptr) return {};
  append_text(what, sizeof what, "profile \"");
  append_text(what, sizeof what, known->name.data, known->name.size);
  append_text(what, sizeof what, "\" needs ");
  append_text(what, sizeof what, known->switch_name.data, known->switch_name.size);
  append_text(what, sizeof what, ", which");
  return result(known->available ? error::profile_off : error::not_in_version, what);
}

inline constexpr const char* drop_texts[static_cast<unsigned>(drop::count_)] = {
    "stacks lost: the stack table is full",
    "samples under [stack table full]: the count table is full",
    "objects not tracked until freed: the live table is full",
    "stacks lost: more than 64 captures at once",
    "threads not sampled: the thread table is full",
    "threads not sampled: no timer (RLIMIT_SIGPENDING)",
    "CPU profiles without the threads that existed before: /proc/self/task cannot be read",
    "threads started unwrapped: more than 256 starts at once",
    "signals that were not from our timers",
    "ticks that arrived after the end",
    "refreshes of the code map put off: old maps are still in use",
    "profiles with nameless code: more than 3072 code segments, or 1024 of no ELF file, were loaded",
    "modules walked without a table, which is slower: 12 MiB of tables are built",
    "refreshes of the code map failed, new code has no names: /proc/self/maps cannot be read (is /proc mounted?)",
};
static_assert(max_ranges == 3072 && max_other_ranges == 1024 && max_table_bytes >> 20 == 12,
              "drop_texts says how many");

class collection {
 public:
  explicit collection(process_state& process) noexcept
      : process_(process), memory_(os_pages), cpu_(memory_), base_(memory_), heap_(memory_) {}
  ~collection() { cancel(); }
  collection(const collection&) = delete;
  collection& operator=(const collection&) = delete;

  // Starts the clock. Afterwards duration_ns() tells how long to wait before finish().
  result begin(text_view name, const profile_request& request) noexcept {
    kind_ = find_profile(name);
    if (result known = check_profile(process_, name); kind_ == nullptr || !known) return known;
    request_ = request;
    const bool is_cpu = kind_->provider == part::cpu;
    seconds_ = is_cpu && request.seconds == 0 ? default_cpu_seconds : request.seconds;
    return is_cpu ? begin_cpu_run(request) : begin_heap_run();
  }

  std::uint64_t duration_ns() const noexcept { return std::uint64_t{seconds_} * 1000000000u; }

  // Ends the collection and writes it. False from `out` shows as the caller's own error.
  result finish(output out) noexcept {
    const own_code_scope own(process_);
    if (result read = read_counts(); !read) return read;
    // Behind the reading: the program goes on, and what walks meet from now on the map does not know.
    refresh_code_map(process_);
    // Behind the refresh, which could not give old maps back otherwise.
    const presence_guard reading(process_.code_readers);
    arena store(os_pages);
    profile p(store);
    fill(p);
    comment(p);
    // Before it is named: frames and strings that were lost have no entry to look at.
    if (p.complete()) name(p);
    if (!p.complete()) return result(error::out_of_memory, "the profile");
    return write(p, out) ? result() : result(error::write_failed, "the sink refused the bytes");
  }

  // Frees the sampler without writing anything; harmless when nothing runs.
  void cancel() noexcept {
    if (kind_ != nullptr && kind_->provider == part::cpu) end_cpu_run();
    kind_ = nullptr;
  }

 private:
  bool is_cpu() const noexcept { return kind_->provider == part::cpu; }

  result begin_cpu_run(const profile_request& request) noexcept {
    cpu_.hz = request.hz != 0 ? request.hz : process_.hz.load(std::memory_order_relaxed);
    return find_part_sig<cpu_part>(process_, part::cpu)->begin(process_, cpu_);
  }
  void end_cpu_run() noexcept {
    if (cpu_.slot >= 0) find_part_sig<cpu_part>(process_, part::cpu)->end(process_, cpu_);
  }
  result begin_heap_run() noexcept {
    if (seconds_ == 0) return {};
    started_ = os_monotonic_ns_sig();
    return read_heap_into(base_);
  }
  result read_heap_into(heap_reading& reading) noexcept {
    const heap_part* const heap = find_part_sig<heap_part>(process_, part::heap);
    if (heap->read(process_, reading) && !memory_.exhausted()) return {};
    return result(error::out_of_memory, "the heap reading");
  }
  result read_counts() noexcept {
    if (!is_cpu()) return read_heap_into(heap_);
    end_cpu_run();
    return memory_.exhausted() ? result(error::out_of_memory, "the CPU reading") : result();
  }

  void fill(profile& p) noexcept {
    if (is_cpu()) return find_part_sig<cpu_part>(process_, part::cpu)->fill(p, process_, cpu_);
    find_part_sig<heap_part>(process_, part::heap)->fill(p, process_, heap_, seconds_ != 0 ? &base_ : nullptr);
    if (seconds_ != 0) p.duration_ns = os_monotonic_ns_sig() - started_;
    if (kind_->name.equals("allocs")) p.default_type = p.string("alloc_space");
  }

  void comment(profile& p) const noexcept {
    for (unsigned i = 0; i < static_cast<unsigned>(drop::count_); ++i) {
      const std::uint64_t lost = process_.drops[i].load(std::memory_order_relaxed);
      if (lost == 0) continue;
      char line[128];
      std::size_t n = format_decimal(lost, line);
      line[n++] = ' ';
      line[n] = '\0';
      append_text(line, sizeof line, drop_texts[i]);
      p.add_comment(line);
    }
  }

  void name(profile& p) const noexcept {
    const auto* const names = find_part_sig<symbolize_part>(process_, part::symbolize);
    if (!request_.symbolize || names == nullptr) return;
    names->symbolize(p, process_.code.load(), !is_cpu());
  }

  bool write(const profile& p, output out) const noexcept {
    arena scratch(os_pages);
    if (request_.format == prof::format::top) {
      top_options table;
      if (request_.top_type != nullptr) table.type = request_.top_type;
      table.limit = request_.top_rows;
      return write_top(p, scratch, out, table);
    }
    const bool text = request_.format == prof::format::text || request_.debug != 0;
    if (text && !is_cpu()) return write_heap_text(p, scratch, out, nullptr, 0);
    return write_pprof(p, scratch, out, true);
  }

  process_state& process_;
  arena memory_;
  cpu_run cpu_;
  heap_reading base_;
  heap_reading heap_;
  profile_request request_;
  const known_profile* kind_ = nullptr;
  unsigned seconds_ = 0;
  std::uint64_t started_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_COLLECT_COLLECT_HPP
