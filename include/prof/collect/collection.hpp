// prof/collect/collection.hpp - one request for one profile, from its name to bytes: begin, wait, finish.
// Floor 11 (collect). Used by sessions and write_profile (which waits) and by http/ (whose server does not).
// Safety: ordinary context; thread-compatible (one collection, one thread at a time).
// Memory: an arena per collection, given back with it.
// Source: Go's runtime/pprof and net/http/pprof: names, shapes, delta semantics.
#ifndef PROF_COLLECT_COLLECTION_HPP
#define PROF_COLLECT_COLLECTION_HPP

#include "prof/collect/rows.hpp"
#include "prof/collect/writers.hpp"
#include "prof/process/capture.hpp"

PROF_DETAIL_BEGIN

class collection {
 public:
  // `asker`: the registers of the host's call that asks; it stays there as long. Null: code of ours asks.
  explicit collection(process_state& process, const registers* asker = nullptr) noexcept
      : process_(process), asker_(asker), memory_(os_pages) {}
  ~collection() { cancel(); }
  collection(const collection&) = delete;
  collection& operator=(const collection&) = delete;

  // Starts the clock. Afterwards duration_ns() tells how long to wait before finish().
  result begin(text_view name, const profile_request& request) noexcept {
    const known_row known = find_row(process_, name);
    if (known.row == nullptr) return explain_missing(name);
    request_ = request;
    if (request_.seconds == 0) request_.seconds = known.row->default_seconds;
    part_ = known.part;
    row_ = known.row;
    state_ = memory_.allocate(part_->run_bytes + 1);  // never null because it is nothing
    if (state_ == nullptr) return result(error::out_of_memory, "the profile");
    time_ns_ = os_realtime_ns_sig();
    profile_run started = run();
    result begun = part_->begin(started);
    running_ = begun && !memory_.exhausted();
    began_ns_ = os_monotonic_ns_sig();
    if (begun && !running_) {
      part_->cancel(started);
      return result(error::out_of_memory, "the counts at the profile's begin");
    }
    return begun;
  }

  const profile_row& row() const noexcept { return *row_; }
  std::uint64_t duration_ns() const noexcept { return std::uint64_t{request_.seconds} * 1000000000u; }

  // Ends the collection and writes it. False from `out` shows as the caller's own error.
  result finish(output out) noexcept {
    const own_code_scope own(process_);
    profile_run ending = run();
    running_ = false;
    if (result ended = part_->end(ending); !ended) return ended;
    const std::uint64_t took_ns = os_monotonic_ns_sig() - began_ns_;
    if (memory_.exhausted()) return result(error::out_of_memory, "the profile's counts");
    if (row_->write != nullptr) {
      return row_->write(process_, state_, request_, out) ? result() : refused();
    }
    // Behind the counts: the program goes on, and what walks meet from now on the map does not know.
    refresh_code_map(process_, request_.seconds == 0 ? tables_made::next_time : tables_made::now);
    // Behind the refresh, which could not give old maps back otherwise.
    const presence_guard reading(process_.code_readers);
    arena store(os_pages);
    profile p(store);
    part_->fill(p, ending);
    describe(p, took_ns);
    // Before it is named: frames and strings that were lost have no entry to look at.
    if (p.complete()) name(p);
    if (p.complete() && writer_of(*row_, request_).is_for_people && !request_.whole_names) shorten_names(p);
    if (!p.complete()) return result(error::out_of_memory, "the profile");
    return write(p, out) ? result() : refused();
  }

  // Frees the sampler without writing anything; harmless when nothing runs.
  void cancel() noexcept {
    if (!running_) return;
    profile_run ending = run();
    running_ = false;
    part_->cancel(ending);
  }

 private:
  profile_run run() noexcept { return {process_, *row_, request_, memory_, state_, asker_}; }

  static result refused() noexcept { return result(error::write_failed, "the sink refused the bytes"); }

  // What no part needs to know. A profile over some time has the time it began; one of what is known now, now.
  void describe(profile& p, std::uint64_t took_ns) const noexcept {
    p.time_ns = row_->default_seconds != 0 ? time_ns_ : os_realtime_ns_sig();
    p.duration_ns = request_.seconds != 0 ? took_ns : 0;
    if (row_->default_type.size != 0) p.default_type = p.string(row_->default_type);
    for (unsigned i = 0; i < drop_count; ++i) {
      const std::uint64_t lost = drops_of(process_, i);
      bounded_text<160> line;
      if (lost != 0) p.add_comment(line.decimal(lost).put(" ").put(drop_texts[i]).view());
    }
  }

  void name(profile& p) const noexcept {
    const auto* const names = find_part_sig<symbolize_part>(process_, part::symbolize);
    if (request_.symbolize == symbols::none || names == nullptr) return;
    names->symbolize(process_, p, process_.code.load(), request_.symbolize);
    if (row_->hides != nullptr) hide_leading_frames(p, row_->hides);
    // Of calls, not of samples over some time, in which our own work is shown as it is.
    if (row_->default_seconds == 0) hide_inlined_calls(p);
  }

  bool write(const profile& p, output out) const noexcept {
    arena scratch(os_pages);
    return writer_of(*row_, request_).write(p, scratch, out, *row_, request_);
  }

  process_state& process_;
  const registers* const asker_;
  arena memory_;
  profile_request request_;
  const profile_part* part_ = nullptr;
  const profile_row* row_ = nullptr;
  void* state_ = nullptr;
  bool running_ = false;
  std::uint64_t time_ns_ = 0;  // when it began, since 1970
  std::uint64_t began_ns_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_COLLECT_COLLECTION_HPP
