// prof/collect/annotations.hpp - what code says about itself: labels, and objects no hook sees.
// Floor 11 (collect). The public half of annotate.hpp and of prof.hpp; knows no profile.
// Safety: labels are for ordinary context, any thread; record_alloc and record_free may be called
//         from inside an allocator.
// Memory: none of its own.
// Source: labels as in Go's runtime/pprof.Do: string to string, the inner value of a key wins.
#ifndef PROF_COLLECT_ANNOTATIONS_HPP
#define PROF_COLLECT_ANNOTATIONS_HPP

#include <cstring>
#include <initializer_list>
#include <utility>

#include "prof/process/anchor.hpp"

PROF_DETAIL_BEGIN

// The sampled half of record_alloc. Where nobody records, it looks again after 4 MiB.
PROF_DETAIL_COLD inline void record_alloc_slow_sig(void* object,
                                                   std::size_t size) PROF_DETAIL_SIG {
  const annotate_part* const part = annotations_sig();
  explicit_gap.left = part == nullptr ? max_gap : explicit_gap.left;
  if (part == nullptr) return;
  part->record_alloc_sig(explicit_gap, object, size, PROF_DETAIL_CALL_FRAME());
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
// shown as "label sets overflowed". Costs about 0.2 us. Does nothing where no object of the process
// includes prof.hpp; in an object without it, labels count from the first public call of the
// process on. Source: Go's pprof.Do.
//
//   prof::label_scope labels{{"tenant", name}, {"stage", "parse"}};
class label_scope {
 public:
  label_scope(std::initializer_list<label> labels) noexcept {
    const detail::annotate_part* const part = detail::annotations_sig();
    if (part == nullptr) return;
    constexpr std::size_t most = 16;
    detail::label_pair pairs[most];
    std::size_t count = 0;
    for (const label& each : labels) {
      if (count == most) break;
      pairs[count++] = {{each.key.data(), each.key.size()}, {each.value.data(), each.value.size()}};
    }
    before_ = part->enter_labels(pairs, count);
    part_ = part;
  }
  ~label_scope() {
    if (part_ != nullptr) static_cast<const detail::annotate_part*>(part_)->leave_labels(before_);
  }
  label_scope(const label_scope&) = delete;
  label_scope& operator=(const label_scope&) = delete;

 private:
  const void* part_ = nullptr;  // a detail::annotate_part, whose visibility is narrower
  std::uint32_t before_ = 0;    // the label set in force before
};

// Calls function() under these labels; returns what it returns.
template <class Function>
decltype(auto) with_labels(std::initializer_list<label> labels, Function&& function) {
  const label_scope scope(labels);
  return static_cast<Function&&>(function)();
}

// Tells the heap profile of an object that no hook sees: from a pool, an mmap, a device. Sampled
// like malloc; costs a subtraction when not sampled. A null object is ignored. Any thread, also
// inside an allocator.
inline void record_alloc(void* object, std::size_t size) noexcept {
  if (object == nullptr) return;
  if (!detail::count_down_sig(detail::explicit_gap, size)) {
    detail::record_alloc_slow_sig(object, size);
  }
}

// To be called before the object's memory is given back. Unknown objects are ignored. Costs a call.
inline void record_free(void* object) noexcept {
  const detail::annotate_part* const part = detail::annotations_sig();
  if (part != nullptr) part->record_free_sig(object);
}

PROF_PUBLIC_END

#endif  // PROF_COLLECT_ANNOTATIONS_HPP
