// prof/base/memory.hpp - arena and growing arrays over pages, so that nothing of ours is malloc'ed.
// Floor 1 (base). Used by the waist, the writers, the symbolizer and the server.
// Safety: ordinary context; thread-compatible (one arena, one thread).
// Memory: chunks from the page source given at construction, returned to it all at once; when the
//         source is exhausted allocate() returns null and exhausted() stays true: every user of
//         an array checks one flag at the end instead of one result per push.
// Source: region allocation as in Hanson, "Fast allocation and deallocation of memory based on
//         object lifetimes", 1990.
#ifndef PROF_BASE_MEMORY_HPP
#define PROF_BASE_MEMORY_HPP

#include <cstring>
#include <new>
#include <type_traits>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// Where an arena gets its pages. map returns zeroed, page-aligned memory or null.
struct page_source {
  void* (*map)(std::size_t size) noexcept;
  void (*unmap)(void* pages, std::size_t size) noexcept;
};

class arena {
 public:
  explicit arena(page_source source, std::size_t first_chunk = std::size_t{64} * 1024) noexcept
      : source_(source), next_chunk_(first_chunk) {}
  ~arena() { release(); }
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;

  // Zeroed memory, aligned to 16; null when the page source is exhausted.
  void* allocate(std::size_t size) noexcept {
    size = (size + 15) & ~std::size_t{15};
    if (size > room_ && !add_chunk(size)) return nullptr;
    char* const place = cursor_;
    cursor_ += size;
    room_ -= size;
    return place;
  }

  // A NUL-terminated copy of a text; null when exhausted.
  char* copy(const char* text, std::size_t length) noexcept {
    char* const place = static_cast<char*>(allocate(length + 1));
    if (place != nullptr) std::memcpy(place, text, length);
    return place;
  }

  bool exhausted() const noexcept { return exhausted_; }
  std::size_t bytes() const noexcept { return bytes_; }

  void release() noexcept {
    while (chunks_ != nullptr) {
      chunk* const gone = chunks_;
      chunks_ = gone->next;
      source_.unmap(gone, gone->size);
    }
    cursor_ = nullptr;
    room_ = 0;
    bytes_ = 0;
  }

 private:
  struct chunk {
    chunk* next;
    std::size_t size;
  };

  PROF_DETAIL_COLD bool add_chunk(std::size_t need) noexcept {
    std::size_t size = next_chunk_;
    while (size < need + sizeof(chunk)) size *= 2;
    chunk* const fresh = static_cast<chunk*>(source_.map(size));
    if (fresh == nullptr) {
      exhausted_ = true;
      return false;
    }
    fresh->next = chunks_;
    fresh->size = size;
    chunks_ = fresh;
    cursor_ = reinterpret_cast<char*>(fresh) + sizeof(chunk);
    room_ = size - sizeof(chunk);
    bytes_ += size;
    next_chunk_ = size * 2;
    return true;
  }

  page_source source_;
  chunk* chunks_ = nullptr;
  char* cursor_ = nullptr;
  std::size_t room_ = 0;
  std::size_t bytes_ = 0;
  std::size_t next_chunk_;
  bool exhausted_ = false;
};

// A growing array of trivial values. Growth doubles and leaves the old copy to the arena, so at
// most as much again is wasted as is used. push on an exhausted arena drops the value; the
// arena's flag tells.
template <class T>
class arena_vector {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit arena_vector(arena& memory) noexcept : memory_(&memory) {}

  bool push(const T& value) noexcept {
    if (size_ == capacity_ && !grow(size_ + 1)) return false;
    data_[size_++] = value;
    return true;
  }
  bool append(const T* values, std::size_t count) noexcept {
    if (count == 0) return true;
    if (size_ + count > capacity_ && !grow(size_ + count)) return false;
    std::memcpy(static_cast<void*>(data_ + size_), values, count * sizeof(T));
    size_ += count;
    return true;
  }
  // New elements are zero bytes.
  bool resize(std::size_t size) noexcept {
    if (size > capacity_ && !grow(size)) return false;
    if (size > size_) std::memset(static_cast<void*>(data_ + size_), 0, (size - size_) * sizeof(T));
    size_ = size;
    return true;
  }
  void clear() noexcept { size_ = 0; }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  PROF_DETAIL_NOINLINE bool grow(std::size_t need) noexcept {
    std::size_t capacity = capacity_ == 0 ? 16 : capacity_ * 2;
    while (capacity < need) capacity *= 2;
    T* const fresh = static_cast<T*>(memory_->allocate(capacity * sizeof(T)));
    if (fresh == nullptr) return false;
    if (size_ != 0) std::memcpy(static_cast<void*>(fresh), data_, size_ * sizeof(T));
    data_ = fresh;
    capacity_ = capacity;
    return true;
  }

  arena* memory_;
  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Sorts in place without recursion or allocation (heapsort; Williams, 1964): worst case n log n.
template <class T, class Less>
void heap_sort(T* values, std::size_t count, Less less) noexcept {
  const auto sift = [&](std::size_t root, std::size_t end) {
    const T moving = values[root];
    for (std::size_t child = 2 * root + 1; child < end; child = 2 * root + 1) {
      if (child + 1 < end && less(values[child], values[child + 1])) ++child;
      if (!less(moving, values[child])) break;
      values[root] = values[child];
      root = child;
    }
    values[root] = moving;
  };
  for (std::size_t i = count / 2; i-- > 0;) sift(i, count);
  for (std::size_t end = count; end-- > 1;) {
    const T last = values[end];
    values[end] = values[0];
    values[0] = last;
    sift(0, end);
  }
}

PROF_DETAIL_END

#endif  // PROF_BASE_MEMORY_HPP
