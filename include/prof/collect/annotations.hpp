// prof/collect/annotations.hpp - what code says about itself: labels, and objects no hook sees.
// Floor 11 (collect). Public; part of the thin header.
// Safety: labels are for ordinary context, any thread; record_alloc and record_free may be called
//         from inside an allocator.
// Memory: none of its own.
// Source: labels as in Go's runtime/pprof.Do: string to string, the inner value of a key wins.
#ifndef PROF_COLLECT_ANNOTATIONS_HPP
#define PROF_COLLECT_ANNOTATIONS_HPP

#include <initializer_list>

#include "prof/collect/api_table.hpp"

PROF_DETAIL_BEGIN

// The sampled half of record_alloc. Where no table is known, it looks again after some bytes more: a look is one load.
inline constexpr std::int64_t gap_without_table = std::int64_t{64} << 10;
PROF_DETAIL_COLD inline void record_alloc_slow_sig(void* object, std::size_t size) PROF_DETAIL_SIG {
  const api_table* const table = api_sig();
  if (table != nullptr) return table->record_alloc_sig(alloc_countdown, object, size, PROF_DETAIL_CALL_FRAME());
  alloc_countdown = gap_without_table;
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// A label's key or value: a literal, or anything with data() and size(). Borrowed: the characters
// are copied when the label is set.
class label_string {
 public:
  label_string(const char* text) noexcept
      : data_(text), size_(std::strlen(text)) {}
  template <class String, class = decltype(std::declval<const String&>().data()),
            class = decltype(std::declval<const String&>().size())>
  label_string(const String& text) noexcept : data_(text.data()), size_(text.size()) {}
  const char* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  const char* data_;
  std::size_t size_;
};

struct label {
  label_string key;
  label_string value;
};

// Labels the calling thread's samples for a scope, on top of those in force: CPU and heap samples
// carry them, `go tool pprof -tagfocus tenant=a` selects them. Of one key the innermost value wins;
// at most 16 keys. Equal sets are kept once, at most 8,128 of them; one too many is counted and
// shown as "label sets overflowed". Costs about 0.3 us. Does nothing where no object of the process
// includes prof.hpp: it looks for one once a second then, under the loader's lock. Source: Go's pprof.Do.
//
//   prof::label_scope labels{{"tenant", name}, {"stage", "parse"}};
class label_scope {
 public:
  PROF_DETAIL_LOCAL label_scope(std::initializer_list<label> labels) noexcept {
    const detail::api_table* const table = detail::api_for_labels();
    if (table == nullptr) return;
    constexpr std::size_t most = 16;
    detail::label_pair pairs[most];
    std::size_t count = 0;
    for (const label& each : labels) {
      if (count == most) break;
      pairs[count++] = {{each.key.data(), each.key.size()}, {each.value.data(), each.value.size()}};
    }
    before_ = table->enter_labels(pairs, count);
    table_ = table;
  }
  PROF_DETAIL_LOCAL ~label_scope() {
    if (table_ != nullptr) static_cast<const detail::api_table*>(table_)->leave_labels(before_);
  }
  label_scope(const label_scope&) = delete;
  label_scope& operator=(const label_scope&) = delete;

 private:
  const void* table_ = nullptr;  // a detail::api_table, whose visibility is narrower
  std::uint32_t before_ = 0;     // the label set in force before
};

// Calls function() under these labels; returns what it returns.
template <class Function>
decltype(auto) with_labels(std::initializer_list<label> labels, Function&& function) {
  const label_scope scope(labels);
  return static_cast<Function&&>(function)();
}

// Tells the heap profile of an object that no hook sees: from a pool, an mmap, a device. Sampled
// like malloc; costs a subtraction when not sampled. A null object is ignored. Any thread, also
// inside an allocator. In an object without prof.hpp it counts from that object's first other call on, or from the
// first public call that another object makes.
PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void record_alloc(void* object, std::size_t size) noexcept {
  if (object == nullptr) return;
  if (!detail::count_down_sig(detail::alloc_countdown, size)) detail::record_alloc_slow_sig(object, size);
}

// To be called before the object's memory is given back. Unknown objects are ignored. Costs a call.
PROF_DETAIL_LOCAL inline void record_free(void* object) noexcept {
  const detail::api_table* const table = detail::api_sig();
  if (table != nullptr) table->record_free_sig(object);
}

PROF_PUBLIC_END

#endif  // PROF_COLLECT_ANNOTATIONS_HPP
