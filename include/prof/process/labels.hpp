// prof/process/labels.hpp - interned sets of key/value labels, so that a sample carries one number.
// Floor 7 (process). Sets are made by ordinary code; the profile builder reads them.
// Safety: intern() is for ordinary context, any thread.
// Memory: at most 8,128 sets in 1 MiB of text, in pieces; one set too many gets the overflow set's id and is
//         counted.
// Source: Go's runtime/pprof labels (string to string, later key wins), with a cap.
#ifndef PROF_PROCESS_LABELS_HPP
#define PROF_PROCESS_LABELS_HPP

#include "prof/base/table.hpp"
#include "prof/process/annotation.hpp"

PROF_DETAIL_BEGIN

inline constexpr label_set_id overflow_labels = 1;

class label_table {
  struct slot {
    table_key key;
    std::atomic<std::uint64_t> where;  // 0 until written; then begin of the packed pairs + 1
  };

 public:
  static constexpr std::size_t slot_bytes = sizeof(slot);
  static constexpr std::size_t max_labels = 16;  // per set
  static constexpr std::size_t first_level = 64;
  static constexpr unsigned levels = 7;  // 8,128 sets

  void bind(table_memory& memory) noexcept {
    slots_.bind(memory, first_level, levels);
    text_.bind(memory);
  }

  // Sorts by key; of equal keys the later one wins.
  label_set_id intern(const label_pair* pairs, std::size_t count) noexcept {
    label_pair sorted[max_labels];
    const std::size_t kept = normalize(pairs, count, sorted);
    if (kept == 0) return no_labels;
    std::size_t size = 1;
    std::uint64_t hash = kept;
    for (std::size_t i = 0; i < kept; ++i) {
      size += 4 + sorted[i].key.size + sorted[i].value.size;
      hash = hash_text(hash_text(hash, sorted[i].key), sorted[i].value);
    }
    bool fresh = false;
    const std::size_t index = slots_.find_or_add_sig(hash > 2 ? hash : 3, fresh);
    if (index == no_slot) return full();
    const bool lost = slots_.at(index).where.load(std::memory_order_relaxed) == no_room;  // and is tried again
    if (fresh || lost) write(slots_.at(index), sorted, kept, size);
    if (slots_.at(index).where.load(std::memory_order_relaxed) == no_room) return full();
    return static_cast<label_set_id>(index + 2);
  }

  // Calls visit(pair) for each label of a set in key order.
  template <class Visit>
  void for_each(label_set_id id, Visit visit) const {
    if (id == no_labels) return;
    if (id == overflow_labels) return visit(label_pair{"prof", "label sets overflowed"});
    const std::uint64_t where = slots_.at(id - 2).where.load(std::memory_order_acquire);
    if (where == 0 || where == no_room) return;
    const char* at = text_.at_sig(where - 1);
    for (auto left = static_cast<unsigned char>(*at++); left != 0; --left) {
      const text_view key = take(at);
      const text_view value = take(at);
      visit(label_pair{key, value});
    }
  }

  std::size_t used() const noexcept { return slots_.used(); }
  std::uint64_t overflow() const noexcept { return overflow_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t no_room = ~std::uint64_t{0};
  static std::size_t normalize(const label_pair* pairs, std::size_t count, label_pair* sorted) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; ++i) {
      std::size_t at = 0;
      while (at < kept && less(sorted[at].key, pairs[i].key)) ++at;
      const bool same = at < kept && sorted[at].key.equals(pairs[i].key);
      if (!same && kept == max_labels) continue;
      for (std::size_t k = kept; !same && k > at; --k) sorted[k] = sorted[k - 1];
      if (!same) ++kept;
      sorted[at] = pairs[i];
    }
    return kept;
  }
  static bool less(text_view a, text_view b) {
    const std::size_t n = a.size < b.size ? a.size : b.size;
    const int order = n == 0 ? 0 : std::memcmp(a.data, b.data, n);
    return order != 0 ? order < 0 : a.size < b.size;
  }
  static std::uint64_t hash_text(std::uint64_t hash, text_view text) {
    for (std::size_t i = 0; i < text.size; ++i) {
      hash = mix_bits(hash ^ static_cast<unsigned char>(text.data[i]));
    }
    return mix_bits(hash + text.size);
  }
  static char* store(char* at, text_view text) {
    const auto size = static_cast<std::uint16_t>(text.size);
    std::memcpy(at, &size, 2);
    std::memcpy(at + 2, text.data, size);
    return at + 2 + size;
  }
  static text_view take(const char*& at) {
    std::uint16_t size = 0;
    std::memcpy(&size, at, 2);
    const text_view text{at + 2, size};
    at += 2 + size;
    return text;
  }
  void write(slot& target, const label_pair* pairs, std::size_t count, std::size_t size) {
    std::size_t begin = 0;
    if (!text_.reserve_sig(size, begin)) return target.where.store(no_room, std::memory_order_relaxed);
    char* at = text_.at_sig(begin);
    *at++ = static_cast<char>(count);
    for (std::size_t i = 0; i < count; ++i) at = store(store(at, pairs[i].key), pairs[i].value);
    target.where.store(begin + 1, std::memory_order_release);
  }
  label_set_id full() noexcept {
    overflow_.fetch_add(1, std::memory_order_relaxed);
    return overflow_labels;
  }

  add_only_table<slot> slots_;
  append_store<4> text_;
  std::atomic<std::uint64_t> overflow_{0};
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_LABELS_HPP
