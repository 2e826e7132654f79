// prof/base/memory.hpp - arena and growing arrays over pages, so that nothing of ours is malloc'ed.
// Floor 2 (base). Used by the profile model, the writers, the symbolizer and the server.
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
      : source_(source), first_chunk_(first_chunk), next_chunk_(first_chunk) {}
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
    used_ += size;
    return place;
  }

  // A NUL-terminated copy of a text; null when exhausted.
  char* copy(const char* text, std::size_t length) noexcept {
    char* const place = static_cast<char*>(allocate(length + 1));
    if (place != nullptr) std::memcpy(place, text, length);
    return place;
  }

  // As allocate(), but not zeroed: may be memory that was given back.
  void* allocate_again(std::size_t size) noexcept {
    size = (size + 15) & ~std::size_t{15};
    for (block** link = &free_; *link != nullptr; link = &(*link)->next) {
      block* const found = *link;
      if (found->size < size) continue;
      // The rear part goes out; a rest that is not worth finding again goes with it.
      const bool whole = found->size - size < smallest_block;
      if (whole) *link = found->next;
      found->size -= size;
      return whole ? static_cast<void*>(found) : reinterpret_cast<char*>(found) + found->size;
    }
    return allocate(size);
  }
  // For memory that allocate_again(size) returned and nobody looks at any more.
  void give_back(void* place, std::size_t size) noexcept {
    if (size < smallest_block) return;  // a longer search is not worth it
    free_ = new (place) block{free_, (size + 15) & ~std::size_t{15}};
  }

  bool exhausted() const noexcept { return exhausted_; }
  std::size_t bytes() const noexcept { return bytes_; }
  // Of these, what was ever asked for; the rest of a chunk has not been touched.
  std::size_t used() const noexcept { return used_; }

  // As if it were new; the first chunk stays, zeroed, if it was enough.
  void reuse() noexcept {
    chunk* const kept = chunks_ != nullptr && chunks_->next == nullptr && chunks_->size == first_chunk_ ? chunks_ : nullptr;
    const auto used = kept != nullptr ? static_cast<std::size_t>(cursor_ - reinterpret_cast<char*>(kept)) : 0;
    if (kept != nullptr) chunks_ = nullptr;
    release();
    next_chunk_ = first_chunk_;
    exhausted_ = false;
    if (kept == nullptr) return;
    std::memset(static_cast<void*>(kept), 0, used);
    take(kept, first_chunk_);
  }

  void release() noexcept {
    while (chunks_ != nullptr) {
      chunk* const gone = chunks_;
      chunks_ = gone->next;
      source_.unmap(gone, gone->size);
    }
    cursor_ = nullptr;
    free_ = nullptr;
    room_ = 0;
    bytes_ = 0;
    used_ = 0;
  }

 private:
  struct chunk {
    chunk* next;
    std::size_t size;
  };
  struct block {
    block* next;
    std::size_t size;
  };
  static constexpr std::size_t smallest_block = 4096;

  PROF_DETAIL_COLD bool add_chunk(std::size_t need) noexcept {
    std::size_t size = next_chunk_;
    while (size < need + sizeof(chunk)) size *= 2;
    chunk* const fresh = static_cast<chunk*>(source_.map(size));
    if (fresh == nullptr) {
      exhausted_ = true;
      return false;
    }
    take(fresh, size);
    return true;
  }
  void take(chunk* fresh, std::size_t size) noexcept {
    fresh->next = chunks_;
    fresh->size = size;
    chunks_ = fresh;
    cursor_ = reinterpret_cast<char*>(fresh) + sizeof(chunk);
    room_ = size - sizeof(chunk);
    bytes_ += size;
    next_chunk_ = size * 2;
  }

  page_source source_;
  chunk* chunks_ = nullptr;
  block* free_ = nullptr;
  char* cursor_ = nullptr;
  std::size_t room_ = 0;
  std::size_t bytes_ = 0;
  std::size_t used_ = 0;
  std::size_t first_chunk_;
  std::size_t next_chunk_;
  bool exhausted_ = false;
};

// What all growing arrays share whatever they hold: compiled once. Values to add may lie in the array
// itself, as with std::vector: an old place is given back only when they have been copied.
class arena_array {
 public:
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  bool full() const noexcept { return size_ == capacity_; }  // one more needs another place
  arena& memory() const noexcept { return *memory_; }
  void clear() noexcept { size_ = 0; }
  // Takes the last elements away, at most all of them.
  void drop(std::size_t count) noexcept { size_ -= count < size_ ? count : size_; }

 protected:
  explicit arena_array(arena& memory) noexcept : memory_(&memory) {}
  // Two arrays must not own one place: what one leaves behind is used again.
  arena_array(const arena_array&) = delete;
  arena_array& operator=(const arena_array&) = delete;

  PROF_DETAIL_NOINLINE bool append(const void* values, std::size_t count,
                                   std::size_t element) noexcept {
    if (count == 0) return true;
    const block before{place_, capacity_};
    if (size_ + count > capacity_ && !move(size_ + count, element)) return false;
    std::memcpy(static_cast<char*>(place_) + size_ * element, values, count * element);
    size_ += count;
    if (place_ != before.place) give_back(before, element);
    return true;
  }
  PROF_DETAIL_NOINLINE bool grow(std::size_t need, std::size_t element) noexcept {
    const block before{place_, capacity_};
    if (!move(need, element)) return false;
    give_back(before, element);
    return true;
  }
  PROF_DETAIL_NOINLINE bool resize(std::size_t size, std::size_t element) noexcept {
    if (size > capacity_ && !grow(size, element)) return false;
    if (size > size_) {
      std::memset(static_cast<char*>(place_) + size_ * element, 0, (size - size_) * element);
    }
    size_ = size;
    return true;
  }
  // Gives the memory back to the arena.
  void release(std::size_t element) noexcept {
    give_back({place_, capacity_}, element);
    place_ = nullptr;
    size_ = capacity_ = 0;
  }
  // Takes over what another array holds, whatever its arena, and leaves it empty.
  void take_over(arena_array& other, std::size_t element) noexcept {
    if (&other == this) return;
    give_back({place_, capacity_}, element);
    memory_ = other.memory_;
    place_ = other.place_;
    size_ = other.size_;
    capacity_ = other.capacity_;
    other.place_ = nullptr;
    other.size_ = other.capacity_ = 0;
  }

  arena* memory_;
  void* place_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;

 private:
  struct block {
    void* place;
    std::size_t capacity;
  };
  // To a larger place; the old one is as it was.
  bool move(std::size_t need, std::size_t element) noexcept {
    std::size_t capacity = capacity_ == 0 ? 16 : capacity_ * 2;
    while (capacity < need) capacity *= 2;
    void* const fresh = memory_->allocate_again(capacity * element);
    if (fresh == nullptr) return false;
    if (size_ != 0) std::memcpy(fresh, place_, size_ * element);
    place_ = fresh;
    capacity_ = capacity;
    return true;
  }
  void give_back(block old, std::size_t element) noexcept {
    if (old.place != nullptr) memory_->give_back(old.place, old.capacity * element);
  }
};

// A growing array of trivial values. Growth doubles and gives the old copy back to the arena; without a
// destructor the last one stays there until the arena ends. push on an exhausted arena drops the
// value; the arena's flag tells.
template <class T>
class arena_vector : public arena_array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit arena_vector(arena& memory) noexcept : arena_array(memory) {}

  bool push(const T& value) noexcept {
    if (PROF_DETAIL_UNLIKELY(size_ == capacity_)) return append(&value, 1);
    data()[size_++] = value;
    return true;
  }
  bool append(const T* values, std::size_t count) noexcept {
    return arena_array::append(values, count, sizeof(T));
  }
  // New elements are zero bytes.
  bool resize(std::size_t size) noexcept { return arena_array::resize(size, sizeof(T)); }
  void release() noexcept { arena_array::release(sizeof(T)); }
  void take_over(arena_vector& other) noexcept { arena_array::take_over(other, sizeof(T)); }
  // Where `count` more elements may be written before take() counts them; null when exhausted.
  T* room(std::size_t count) noexcept {
    if (size_ + count > capacity_ && !grow(size_ + count, sizeof(T))) return nullptr;
    return data() + size_;
  }
  void take(std::size_t count) noexcept { size_ += count; }
  T& operator[](std::size_t i) noexcept { return data()[i]; }
  const T& operator[](std::size_t i) const noexcept { return data()[i]; }
  T* data() noexcept { return static_cast<T*>(place_); }
  const T* data() const noexcept { return static_cast<const T*>(place_); }
  T* begin() noexcept { return data(); }
  T* end() noexcept { return data() + size_; }
  const T* begin() const noexcept { return data(); }
  const T* end() const noexcept { return data() + size_; }
};

// How many of `count` things in order are before what is looked for: of the first ones is_before(index) holds.
template <class IsBefore>
std::size_t count_before(std::size_t count, IsBefore is_before) noexcept {
  std::size_t low = 0;
  std::size_t high = count;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (is_before(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Sorts in place without recursion or allocation (heapsort; Williams, 1964): worst case n log n.
template <class T, class Less>
void heap_sort(T* values, std::size_t count, Less less) noexcept {
  const auto sift = [&](std::size_t root, std::size_t end) PROF_DETAIL_NOINLINE {
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
