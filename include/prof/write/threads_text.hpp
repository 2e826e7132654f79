// prof/write/threads_text.hpp - writes every thread with its stack as text (debug=2), like a traceback of Go's.
// Floor 9 (write). Called by parts, as what debug=2 writes.
// Safety: ordinary context; thread-compatible. Not for signal handlers.
// Memory: 16 bytes per thread in the caller's scratch arena.
// Source: Go 1.26 runtime/traceback.go (goroutineheader, printing of frames, "created by"), with labels as since 1.27. What
//         a profile's samples say of threads stands in labels whose keys begin with a dot: see part/threads_part.hpp.
#ifndef PROF_WRITE_THREADS_TEXT_HPP
#define PROF_WRITE_THREADS_TEXT_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/profile/model.hpp"

PROF_DETAIL_BEGIN

class thread_dump_writer {
 public:
  thread_dump_writer(const profile& p, arena& scratch, output out, text_view title) noexcept
      : p_(p), out_(out), title_(title), order_(scratch), makers_(scratch) {}

  bool write() noexcept {
    for (std::size_t i = 0; i < p_.samples.size(); ++i) {
      const bool is_thread = number(p_.samples[i], ".thread") != 0;
      const bool is_maker = number(p_.samples[i], ".made") != 0;
      if (is_thread && !order_.push(static_cast<std::uint32_t>(i))) return false;
      if (is_maker && !makers_.push(static_cast<std::uint32_t>(i))) return false;
    }
    heap_sort(makers_.data(), makers_.size(), [&](std::uint32_t a, std::uint32_t b) { return made(a) < made(b); });
    heap_sort(order_.data(), order_.size(), [&](std::uint32_t a, std::uint32_t b) { return before(a, b); });
    put_circles();
    for (const std::uint32_t sample : order_) put_thread(p_.samples[sample]);
    return out_.flush();
  }

 private:
  // Those that wait longest first, as far as it is known; then by id.
  bool before(std::uint32_t a, std::uint32_t b) const noexcept {
    const std::int64_t waited_a = number(p_.samples[a], ".waited");
    const std::int64_t waited_b = number(p_.samples[b], ".waited");
    if (waited_a != waited_b) return waited_a > waited_b;
    return number(p_.samples[a], ".thread") < number(p_.samples[b], ".thread");
  }

  const profile_label* label(const profile_sample& sample, text_view key) const noexcept {
    for (std::size_t i = 0; i < sample.label_count; ++i) {
      const profile_label& there = p_.labels[sample.first_label + i];
      if (string(there.key).equals(key)) return &there;
    }
    return nullptr;
  }
  std::int64_t number(const profile_sample& sample, text_view key) const noexcept {
    const profile_label* const there = label(sample, key);
    return there != nullptr ? there->number : 0;
  }
  text_view text(const profile_sample& sample, text_view key) const noexcept {
    const profile_label* const there = label(sample, key);
    return there != nullptr ? string(there->text) : text_view();
  }
  text_view string(string_index index) const noexcept {
    return index < p_.strings.size() ? p_.strings[index] : text_view();
  }

  // "deadlock 1: thread 12 waits for the mutex 0x... of thread 13, thread 13 for the mutex 0x... of thread 12"
  void put_circles() noexcept {
    for (std::int64_t circle = 1; put_circle(circle); ++circle) {
    }
  }
  bool put_circle(std::int64_t circle) noexcept {
    const char* between = "";
    for (const std::uint32_t index : order_) {
      const profile_sample& sample = p_.samples[index];
      if (number(sample, ".circle") != circle) continue;
      if (between[0] == '\0') out_.put("deadlock ").signed_decimal(circle).put(": ");
      out_.put(between).put("thread ").signed_decimal(number(sample, ".thread")).put(" waits for the ");
      put_object(sample);
      out_.put(" of thread ").signed_decimal(number(sample, ".owner"));
      between = ", ";
    }
    if (between[0] != '\0') out_.put("\n\n");
    return between[0] != '\0';
  }
  void put_object(const profile_sample& sample) noexcept {
    out_.put(text(sample, ".wait"));
    const profile_label* const descriptor = label(sample, ".descriptor");
    if (descriptor != nullptr) out_.put(" of descriptor ").signed_decimal(descriptor->number);
    if (label(sample, ".object") != nullptr) out_.put(" ").hex(static_cast<std::uint64_t>(number(sample, ".object")));
  }

  // "goroutine 12 [mutex, 3 minutes labels:{"a": "b"}]:", and what Go does not know in a comment.
  void put_thread(const profile_sample& sample) noexcept {
    out_.put(title_).put(" ").signed_decimal(number(sample, ".thread")).put(" [");
    put_state(sample);
    put_labels(sample);
    out_.put("]:\n# ");
    put_facts(sample);
    const std::uint32_t* const frames = p_.frames_of(sample);
    for (std::size_t i = 0; i < sample.depth; ++i) put_location(frames[i]);
    put_maker(number(sample, ".thread"));
    out_.put("\n");
  }
  void put_state(const profile_sample& sample) noexcept {
    const text_view wait = text(sample, ".wait");
    const text_view state = text(sample, ".state");
    if (wait.size != 0) out_.put(wait);
    else if (state.equals("R")) out_.put("running");
    else if (state.equals("D")) out_.put("uninterruptible");
    else if (state.equals("T") || state.equals("t")) out_.put("stopped");
    else out_.put("waiting");
    constexpr std::int64_t minute = 60000000000;
    const std::int64_t waited = number(sample, ".waited");
    if (waited >= minute) out_.put(", ").signed_decimal(waited / minute).put(" minutes");
  }
  void put_labels(const profile_sample& sample) noexcept {
    const char* before_pair = " labels:{";
    for (std::size_t i = 0; i < sample.label_count; ++i) {
      const profile_label& there = p_.labels[sample.first_label + i];
      const text_view key = string(there.key);
      if (there.text == 0 || key.starts_with({".", 1})) continue;
      out_.put(before_pair);
      put_quoted(key);
      out_.put(": ");
      put_quoted(string(there.text));
      before_pair = ", ";
    }
    if (before_pair[1] == ' ' && before_pair[2] == '\0') out_.put("}");
  }
  void put_quoted(text_view value) noexcept {
    out_.put("\"");
    for (std::size_t i = 0; i < value.size; ++i) {
      if (value.data[i] == '"' || value.data[i] == '\\') out_.put("\\");
      out_.printable({value.data + i, 1});
    }
    out_.put("\"");
  }
  void put_seconds(std::int64_t ns) noexcept {
    out_.signed_decimal(ns / 1000000000).put(".");
    const std::int64_t thousandths = ns / 1000000 % 1000;
    if (thousandths < 100) out_.put("0");
    if (thousandths < 10) out_.put("0");
    out_.signed_decimal(thousandths).put(" s");
  }
  void put_facts(const profile_sample& sample) noexcept {
    out_.put("name ");
    put_quoted(text(sample, ".name"));
    out_.put(", state ").put(text(sample, ".state")).put(", cpu ");
    put_seconds(number(sample, ".cpu"));
    const text_view channel = text(sample, ".channel");
    if (channel.size != 0 && !channel.equals("0")) out_.put(", kernel ").put(channel);
    if (text(sample, ".wait").size != 0) {
      out_.put(", waits for ");
      put_object(sample);
    }
    if (number(sample, ".waited") != 0) {
      out_.put(" since ");
      put_seconds(number(sample, ".waited"));
    }
    if (number(sample, ".owner") != 0) out_.put(", held by thread ").signed_decimal(number(sample, ".owner"));
    if (number(sample, ".circle") != 0) out_.put(", deadlock ").signed_decimal(number(sample, ".circle"));
    if (text(sample, ".why").size != 0) out_.put(", no stack: ").put(text(sample, ".why"));
    out_.put("\n");
  }

  // Two lines for each function: its name, and where in which file, or the address.
  void put_location(std::uint32_t index) noexcept {
    if (index >= p_.locations.size()) return;
    const profile_location& location = p_.locations[index];
    if (location.line_count == 0) out_.hex(location.address).put("\n");
    for (std::size_t i = 0; i < location.line_count; ++i) put_line(location, p_.lines[location.first_line + i]);
  }
  void put_line(const profile_location& location, const profile_line& line) noexcept {
    if (line.function >= p_.functions.size()) return;
    const profile_function& function = p_.functions[line.function];
    out_.printable(string(function.name));
    out_.put("\n\t");
    put_place(location, line, function);
    out_.put("\n");
  }
  void put_place(const profile_location& location, const profile_line& line, const profile_function& function) noexcept {
    if (string(function.file).size != 0) {
      out_.printable(string(function.file));
      out_.put(":").signed_decimal(line.line);
    } else if (location.mapping < p_.mappings.size()) {
      out_.printable(string(p_.mappings[location.mapping].file));
      out_.put(":0");
    }
    out_.put(" pc=").hex(location.address);
  }

  std::int64_t made(std::uint32_t sample) const noexcept { return number(p_.samples[sample], ".made"); }
  void put_maker(std::int64_t thread) noexcept {
    std::size_t from = 0;
    for (std::size_t end = makers_.size(); from < end;) {
      const std::size_t middle = from + (end - from) / 2;
      if (made(makers_[middle]) < thread) from = middle + 1;
      else end = middle;
    }
    if (from == makers_.size() || made(makers_[from]) != thread) return;
    const profile_sample& sample = p_.samples[makers_[from]];
    const std::uint32_t* const frames = p_.frames_of(sample);
    for (std::size_t i = 0; i < sample.depth; ++i) {
      if (i == 0) out_.put("created in thread ").signed_decimal(number(sample, ".creator")).put(" by ");
      put_location(frames[i]);
    }
  }

  const profile& p_;
  text_writer out_;
  text_view title_;
  arena_vector<std::uint32_t> order_;
  arena_vector<std::uint32_t> makers_;  // by the thread they made
};

// As parts' rows have them.
inline bool write_thread_dump(const profile& p, arena& scratch, output out) noexcept {
  return thread_dump_writer(p, scratch, out, "thread").write();
}
inline bool write_goroutine_dump(const profile& p, arena& scratch, output out) noexcept {
  return thread_dump_writer(p, scratch, out, "goroutine").write();
}

PROF_DETAIL_END

#endif  // PROF_WRITE_THREADS_TEXT_HPP
