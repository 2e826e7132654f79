// tests/unit/hook/malloc_test.cpp - at rate 1 every form of malloc counts once and every free takes
// it back; failures and errno are libc's.

#include "prof/hook/malloc.hpp"

#include <doctest/doctest.h>

#include <malloc.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// Called through volatile pointers, so that no compiler pairs and removes calls.
void* (*volatile call_malloc)(std::size_t) = &std::malloc;
void (*volatile call_free)(void*) = &std::free;
void* (*volatile call_calloc)(std::size_t, std::size_t) = &std::calloc;
void* (*volatile call_realloc)(void*, std::size_t) = &std::realloc;
void* (*volatile call_reallocarray)(void*, std::size_t, std::size_t) = &reallocarray;
void* (*volatile call_memalign)(std::size_t, std::size_t) = &memalign;
int (*volatile call_posix_memalign)(void**, std::size_t, std::size_t) = &posix_memalign;
void* (*volatile call_aligned_alloc)(std::size_t, std::size_t) = &std::aligned_alloc;
void* (*volatile call_valloc)(std::size_t) = &valloc;
void* (*volatile call_pvalloc)(std::size_t) = &pvalloc;

constexpr std::size_t huge = SIZE_MAX / 2;

// Objects of one size seen so far: how many came, how many went.
struct tally {
  std::int64_t allocated = 0;
  std::int64_t freed = 0;
};

tally of_size(std::uint64_t size) {
  const heap_state& heap = *heap_sig(*process_sig());
  arena memory(os_pages);
  count_snapshot now(memory);
  heap.counts.read(now);
  tally sum;
  heap.counts.for_each_since(nullptr, now, [&](const count_key& key, const std::uint64_t* counted) {
    if (key.extra != size) return;
    sum.allocated += whole_objects(counted[allocated_objects]);
    sum.freed += whole_objects(counted[freed_objects]);
  });
  return sum;
}

// What happened to objects of one size since the last question.
class watch {
 public:
  explicit watch(std::uint64_t size) : size_(size), last_(of_size(size)) {}
  bool saw(std::int64_t allocated, std::int64_t freed) {
    const tally now = of_size(size_);
    const bool right = now.allocated - last_.allocated == allocated &&
                       now.freed - last_.freed == freed;
    last_ = now;
    return right;
  }

 private:
  std::uint64_t size_;
  tally last_;
};

struct rate_scope {
  std::size_t before;
  explicit rate_scope(std::size_t rate) : before(prof::set_mem_profile_rate(rate)) {}
  ~rate_scope() { prof::set_mem_profile_rate(before); }
  rate_scope(const rate_scope&) = delete;
  rate_scope& operator=(const rate_scope&) = delete;
};

}  // namespace

TEST_CASE("malloc and free count once each") {
  const rate_scope all(1);
  watch w(12345);
  void* const object = call_malloc(12345);
  REQUIRE(object != nullptr);
  CHECK(w.saw(1, 0));
  call_free(object);
  CHECK(w.saw(0, 1));
}

TEST_CASE("every form that allocates counts once and is freed once") {
  const rate_scope all(1);
  watch w(12345);
  void* object = nullptr;
  SUBCASE("calloc") {
    object = call_calloc(5, 2469);
    CHECK(static_cast<char*>(object)[12344] == 0);
  }
  SUBCASE("realloc of null") { object = call_realloc(nullptr, 12345); }
  SUBCASE("reallocarray of null") { object = call_reallocarray(nullptr, 3, 4115); }
  SUBCASE("memalign") {
    object = call_memalign(256, 12345);
    CHECK(reinterpret_cast<std::uintptr_t>(object) % 256 == 0);
  }
  SUBCASE("posix_memalign") {
    CHECK(call_posix_memalign(&object, 512, 12345) == 0);
    CHECK(reinterpret_cast<std::uintptr_t>(object) % 512 == 0);
  }
  SUBCASE("aligned_alloc") { object = call_aligned_alloc(64, 12345); }
  SUBCASE("valloc") {
    object = call_valloc(12345);
    CHECK(reinterpret_cast<std::uintptr_t>(object) % 4096 == 0);
  }
  SUBCASE("pvalloc") { object = call_pvalloc(12345); }
  REQUIRE(object != nullptr);
  CHECK(w.saw(1, 0));
  std::memset(object, 1, 12345);
  call_free(object);
  CHECK(w.saw(0, 1));
}

TEST_CASE("realloc is a free and an allocation in one") {
  const rate_scope all(1);
  watch small(12347);
  watch large(54321);
  void* object = call_malloc(12347);
  std::memset(object, 7, 12347);
  CHECK(small.saw(1, 0));
  SUBCASE("it grows") {
    object = call_realloc(object, 54321);
    REQUIRE(object != nullptr);
    CHECK(static_cast<char*>(object)[12346] == 7);
    CHECK(small.saw(0, 1));
    CHECK(large.saw(1, 0));
    SUBCASE("and shrinks") {
      object = call_realloc(object, 12347);
      CHECK(small.saw(1, 0));
      CHECK(large.saw(0, 1));
      call_free(object);
      CHECK(small.saw(0, 1));
    }
    SUBCASE("and is freed") {
      call_free(object);
      CHECK(large.saw(0, 1));
    }
  }
  SUBCASE("it keeps its size") {
    object = call_realloc(object, 12347);
    CHECK(small.saw(1, 1));
    call_free(object);
    CHECK(small.saw(0, 1));
  }
  SUBCASE("it fails: the object is still there and still live") {
    errno = 0;
    CHECK(call_realloc(object, huge) == nullptr);
    CHECK(errno == ENOMEM);
    CHECK(small.saw(0, 0));
    CHECK(static_cast<char*>(object)[12346] == 7);
    call_free(object);
    CHECK(small.saw(0, 1));
  }
  SUBCASE("reallocarray overflows: the same") {
    errno = 0;
    CHECK(call_reallocarray(object, huge, 16) == nullptr);
    CHECK(errno == ENOMEM);
    CHECK(small.saw(0, 0));
    call_free(object);
    CHECK(small.saw(0, 1));
  }
  SUBCASE("realloc to zero frees") {
    CHECK(call_realloc(object, 0) == nullptr);
    CHECK(small.saw(0, 1));
  }
  SUBCASE("reallocarray grows") {
    object = call_reallocarray(object, 3, 18107);
    CHECK(small.saw(0, 1));
    CHECK(large.saw(1, 0));
    call_free(object);
    CHECK(large.saw(0, 1));
  }
}

TEST_CASE("an object that was sampled before is followed when nothing is sampled now") {
  watch w(12349);
  void* object = nullptr;
  {
    const rate_scope all(1);
    object = call_malloc(12349);
  }
  const rate_scope none(0);
  CHECK(w.saw(1, 0));
  SUBCASE("free") { call_free(object); }
  SUBCASE("realloc") { call_free(call_realloc(object, 99)); }
  SUBCASE("realloc that fails, then free") {
    CHECK(call_realloc(object, huge) == nullptr);
    CHECK(w.saw(0, 0));
    call_free(object);
  }
  CHECK(w.saw(0, 1));
}

TEST_CASE("free(nullptr) and malloc(0) are harmless") {
  const rate_scope all(1);
  call_free(nullptr);
  watch w(0);
  void* const nothing = call_malloc(0);
  CHECK(nothing != nullptr);
  CHECK(w.saw(1, 0));
  call_free(nothing);
  CHECK(w.saw(0, 1));
}

TEST_CASE("allocations that fail are not counted and say ENOMEM") {
  const rate_scope all(1);
  watch w(huge);
  void* object = &w;
  errno = 0;
  CHECK(call_malloc(huge) == nullptr);
  CHECK(errno == ENOMEM);
  errno = 0;
  CHECK(call_calloc(huge, 1) == nullptr);
  CHECK(errno == ENOMEM);
  errno = 0;
  CHECK(call_calloc(huge, 3) == nullptr);
  CHECK(errno == ENOMEM);
  CHECK(call_memalign(64, huge) == nullptr);
  CHECK(call_aligned_alloc(64, huge) == nullptr);
  errno = 33;
  CHECK(call_posix_memalign(&object, 64, huge) == ENOMEM);
  CHECK(object == &w);
  CHECK(call_posix_memalign(&object, 3, 100) == EINVAL);
  CHECK(w.saw(0, 0));
}

TEST_CASE("a thread is sampled again after it asked for more than half of the address space") {
  const rate_scope all(1);
  for (const std::size_t much :
       {huge, huge + 1, huge + 2, huge + (std::size_t{1} << 62), SIZE_MAX}) {
    CAPTURE(much);
    watch w(12351);
    CHECK(call_malloc(much) == nullptr);
    call_free(call_malloc(12351));
    CHECK(w.saw(1, 1));
    prof::set_mem_profile_rate(1);
    CHECK(call_calloc(much, 1) == nullptr);
    call_free(call_malloc(12351));
    CHECK(w.saw(1, 1));
    prof::set_mem_profile_rate(1);
    CHECK(call_realloc(nullptr, much) == nullptr);
    call_free(call_malloc(12351));
    CHECK(w.saw(1, 1));
    prof::set_mem_profile_rate(1);
  }
}

TEST_CASE("hooks that succeed leave errno alone") {
  const rate_scope all(1);
  errno = 77;
  void* object = call_malloc(12353);
  object = call_realloc(object, 40000);
  call_free(object);
  call_free(call_calloc(3, 50));
  call_free(call_memalign(64, 50));
  CHECK(errno == 77);
  CHECK(call_posix_memalign(&object, 3, 10) == EINVAL);
  CHECK(errno == 77);
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
TEST_CASE("a sampled allocation takes nothing of the host's heap for itself") {
  const rate_scope all(1);
  call_free(call_malloc(70001));
  const struct mallinfo2 before = mallinfo2();
  void* const object = call_malloc(70001);
  const struct mallinfo2 during = mallinfo2();
  const std::size_t usable = malloc_usable_size(object);
  call_free(object);
  const struct mallinfo2 after = mallinfo2();
  CHECK(during.uordblks - before.uordblks == usable + 8);
  CHECK(after.uordblks == before.uordblks);
}
#endif

TEST_CASE("no allocation is recorded while code of ours runs") {
  const rate_scope all(1);
  watch w(12355);
  {
    const own_code_scope own(*process_sig());
    call_free(call_malloc(12355));
  }
  CHECK(w.saw(0, 0));
  call_free(call_malloc(12355));
  CHECK(w.saw(1, 1));
}

TEST_CASE("an object allocated here and freed by another thread") {
  const rate_scope all(1);
  watch w(12357);
  void* const object = call_malloc(12357);
  std::thread([object] { call_free(object); }).join();
  CHECK(w.saw(1, 1));
}

TEST_CASE("the profile names this test's own line of calls") {
  const rate_scope all(1);
  void* const object = call_malloc(12359);
  const heap_state& heap = *heap_sig(*process_sig());
  std::size_t deep = 0;
  arena memory(os_pages);
  count_snapshot now(memory);
  heap.counts.read(now);
  heap.counts.for_each_since(nullptr, now, [&](const count_key& key, const std::uint64_t*) {
    if (key.extra != 12359) return;
    const stack_view view = process_sig()->stacks.view(key.stack);
    deep = view.depth;
    const code_map* const code = process_sig()->code.load();
    REQUIRE(code != nullptr);
    REQUIRE(view.depth >= 1);
    CHECK(code->find_frame(view.frames[0]) == code->find(reinterpret_cast<std::uintptr_t>(&of_size)));
  });
  CHECK(deep >= 1);
  call_free(object);
}

TEST_CASE("products that overflow are the greatest size") {
  CHECK(product_or_max(3, 4) == 12);
  CHECK(product_or_max(0, SIZE_MAX) == 0);
  CHECK(product_or_max(SIZE_MAX, 2) == SIZE_MAX);
  CHECK(product_or_max(std::size_t{1} << 32, std::size_t{1} << 32) == SIZE_MAX);
}

TEST_CASE("without a next definition libc's own entry is used") {
  void* const object = malloc_entry::fallback(100);
  REQUIRE(object != nullptr);
  void* const bigger = realloc_entry::fallback(object, 200);
  REQUIRE(bigger != nullptr);
  free_entry_::fallback(bigger);
  char* const zeros = static_cast<char*>(calloc_entry::fallback(10, 10));
  REQUIRE(zeros != nullptr);
  CHECK(zeros[99] == 0);
  free_entry_::fallback(zeros);
  void* const aligned = memalign_entry::fallback(128, 100);
  CHECK(reinterpret_cast<std::uintptr_t>(aligned) % 128 == 0);
  free_entry_::fallback(aligned);
  void* const page = pvalloc_entry::fallback(1);
  CHECK(malloc_usable_size(page) >= 4096);
  free_entry_::fallback(page);
  errno = 0;
  CHECK(reallocarray_entry::fallback(nullptr, SIZE_MAX, 2) == nullptr);
  CHECK(errno == ENOMEM);
}

#endif
