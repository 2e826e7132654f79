// tests/unit/hook/new_test.cpp - all 8 forms of operator new and all 12 of operator delete count
// once, fail as the standard says, and honour the new-handler.

#include "prof/hook/new.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// By their linker names: clang declares the sized forms on request only.
extern "C" {
void* prof_test_new(std::size_t) __asm__("_Znwm");
void* prof_test_new_array(std::size_t) __asm__("_Znam");
void* prof_test_new_nothrow(std::size_t, const std::nothrow_t*) __asm__("_ZnwmRKSt9nothrow_t");
void* prof_test_new_array_nothrow(std::size_t, const std::nothrow_t*)
    __asm__("_ZnamRKSt9nothrow_t");
void* prof_test_new_aligned(std::size_t, std::size_t) __asm__("_ZnwmSt11align_val_t");
void* prof_test_new_array_aligned(std::size_t, std::size_t) __asm__("_ZnamSt11align_val_t");
void* prof_test_new_aligned_nothrow(std::size_t, std::size_t, const std::nothrow_t*)
    __asm__("_ZnwmSt11align_val_tRKSt9nothrow_t");
void* prof_test_new_array_aligned_nothrow(std::size_t, std::size_t, const std::nothrow_t*)
    __asm__("_ZnamSt11align_val_tRKSt9nothrow_t");
void prof_test_delete(void*) __asm__("_ZdlPv");
void prof_test_delete_array(void*) __asm__("_ZdaPv");
void prof_test_delete_sized(void*, std::size_t) __asm__("_ZdlPvm");
void prof_test_delete_array_sized(void*, std::size_t) __asm__("_ZdaPvm");
void prof_test_delete_nothrow(void*, const std::nothrow_t*) __asm__("_ZdlPvRKSt9nothrow_t");
void prof_test_delete_array_nothrow(void*, const std::nothrow_t*) __asm__("_ZdaPvRKSt9nothrow_t");
void prof_test_delete_aligned(void*, std::size_t) __asm__("_ZdlPvSt11align_val_t");
void prof_test_delete_array_aligned(void*, std::size_t) __asm__("_ZdaPvSt11align_val_t");
void prof_test_delete_sized_aligned(void*, std::size_t, std::size_t)
    __asm__("_ZdlPvmSt11align_val_t");
void prof_test_delete_array_sized_aligned(void*, std::size_t, std::size_t)
    __asm__("_ZdaPvmSt11align_val_t");
void prof_test_delete_aligned_nothrow(void*, std::size_t, const std::nothrow_t*)
    __asm__("_ZdlPvSt11align_val_tRKSt9nothrow_t");
void prof_test_delete_array_aligned_nothrow(void*, std::size_t, const std::nothrow_t*)
    __asm__("_ZdaPvSt11align_val_tRKSt9nothrow_t");
}

constexpr std::size_t size = 23457;
constexpr std::size_t alignment = 128;
constexpr std::size_t huge = SIZE_MAX / 2;

struct tally {
  std::int64_t allocated = 0;
  std::int64_t freed = 0;
};

// A request that libstdc++ rounds up to its alignment is counted where it is made: at the new.
tally of_size(std::uint64_t wanted) {
  const heap_state& heap = *heap_sig(*process_sig());
  arena memory(os_pages);
  count_snapshot now(memory);
  heap.counts.read(now);
  tally sum;
  heap.counts.for_each_since(nullptr, now, [&](const count_key& key, const std::uint64_t* counted) {
    if (key.extra != wanted) return;
    sum.allocated += whole_objects(counted[allocated_objects]);
    sum.freed += whole_objects(counted[freed_objects]);
  });
  return sum;
}

constexpr std::size_t rounded = (size + alignment - 1) / alignment * alignment;

tally of_either() {
  const tally exact = of_size(size);
  const tally up = of_size(rounded);
  return {exact.allocated + up.allocated, exact.freed + up.freed};
}

class watch {
 public:
  bool saw(std::int64_t allocated, std::int64_t freed) {
    const tally now = of_either();
    const bool right = now.allocated - last_.allocated == allocated &&
                       now.freed - last_.freed == freed;
    last_ = now;
    return right;
  }

 private:
  tally last_ = of_either();
};

struct rate_scope {
  std::size_t before;
  explicit rate_scope(std::size_t rate) : before(prof::set_mem_profile_rate(rate)) {}
  ~rate_scope() { prof::set_mem_profile_rate(before); }
  rate_scope(const rate_scope&) = delete;
  rate_scope& operator=(const rate_scope&) = delete;
};

void* volatile g_object = nullptr;  // keeps compilers from removing a new without a use
int g_handler_calls = 0;
void give_up_after_three() {
  if (++g_handler_calls == 3) std::set_new_handler(nullptr);
}

}  // namespace

TEST_CASE("every form of new counts once") {
  const rate_scope all(1);
  watch w;
  void* object = nullptr;
  bool aligned = false;
  SUBCASE("new") { object = prof_test_new(size); }
  SUBCASE("new[]") { object = prof_test_new_array(size); }
  SUBCASE("new nothrow") { object = prof_test_new_nothrow(size, &std::nothrow); }
  SUBCASE("new[] nothrow") { object = prof_test_new_array_nothrow(size, &std::nothrow); }
  SUBCASE("new aligned") {
    object = prof_test_new_aligned(size, alignment);
    aligned = true;
  }
  SUBCASE("new[] aligned") {
    object = prof_test_new_array_aligned(size, alignment);
    aligned = true;
  }
  SUBCASE("new aligned nothrow") {
    object = prof_test_new_aligned_nothrow(size, alignment, &std::nothrow);
    aligned = true;
  }
  SUBCASE("new[] aligned nothrow") {
    object = prof_test_new_array_aligned_nothrow(size, alignment, &std::nothrow);
    aligned = true;
  }
  REQUIRE(object != nullptr);
  std::memset(object, 1, size);
  if (aligned) CHECK(reinterpret_cast<std::uintptr_t>(object) % alignment == 0);
  CHECK(w.saw(1, 0));
  if (aligned) prof_test_delete_aligned(object, alignment);
  else prof_test_delete(object);
  CHECK(w.saw(0, 1));
}

TEST_CASE("every form of delete counts once") {
  const rate_scope all(1);
  watch w;
  void* const plain = prof_test_new(size);
  void* const aligned = prof_test_new_aligned(size, alignment);
  CHECK(w.saw(2, 0));
  SUBCASE("delete") { prof_test_delete(plain); }
  SUBCASE("delete[]") { prof_test_delete_array(plain); }
  SUBCASE("delete sized") { prof_test_delete_sized(plain, size); }
  SUBCASE("delete[] sized") { prof_test_delete_array_sized(plain, size); }
  SUBCASE("delete nothrow") { prof_test_delete_nothrow(plain, &std::nothrow); }
  SUBCASE("delete[] nothrow") { prof_test_delete_array_nothrow(plain, &std::nothrow); }
  CHECK(w.saw(0, 1));
  prof_test_delete_aligned(aligned, alignment);
  CHECK(w.saw(0, 1));
}

TEST_CASE("every aligned form of delete counts once") {
  const rate_scope all(1);
  watch w;
  void* const object = prof_test_new_aligned(size, alignment);
  CHECK(w.saw(1, 0));
  SUBCASE("delete") { prof_test_delete_aligned(object, alignment); }
  SUBCASE("delete[]") { prof_test_delete_array_aligned(object, alignment); }
  SUBCASE("delete sized") { prof_test_delete_sized_aligned(object, size, alignment); }
  SUBCASE("delete[] sized") { prof_test_delete_array_sized_aligned(object, size, alignment); }
  SUBCASE("delete nothrow") {
    prof_test_delete_aligned_nothrow(object, alignment, &std::nothrow);
  }
  SUBCASE("delete[] nothrow") {
    prof_test_delete_array_aligned_nothrow(object, alignment, &std::nothrow);
  }
  CHECK(w.saw(0, 1));
}

TEST_CASE("delete of null is harmless in every form") {
  const rate_scope all(1);
  prof_test_delete(nullptr);
  prof_test_delete_array(nullptr);
  prof_test_delete_sized(nullptr, size);
  prof_test_delete_array_sized(nullptr, size);
  prof_test_delete_nothrow(nullptr, &std::nothrow);
  prof_test_delete_array_nothrow(nullptr, &std::nothrow);
  prof_test_delete_aligned(nullptr, alignment);
  prof_test_delete_array_aligned(nullptr, alignment);
  prof_test_delete_sized_aligned(nullptr, size, alignment);
  prof_test_delete_array_sized_aligned(nullptr, size, alignment);
  prof_test_delete_aligned_nothrow(nullptr, alignment, &std::nothrow);
  prof_test_delete_array_aligned_nothrow(nullptr, alignment, &std::nothrow);
  CHECK(true);
}

TEST_CASE("without memory the throwing forms throw through the hook, the others answer null") {
  const rate_scope all(1);
  CHECK_THROWS_AS(g_object = prof_test_new(huge), std::bad_alloc);
  CHECK_THROWS_AS(g_object = prof_test_new_array(huge), std::bad_alloc);
  CHECK_THROWS_AS(g_object = prof_test_new_aligned(huge, alignment), std::bad_alloc);
  CHECK_THROWS_AS(g_object = prof_test_new_array_aligned(huge, alignment), std::bad_alloc);
  CHECK(prof_test_new_nothrow(huge, &std::nothrow) == nullptr);
  CHECK(prof_test_new_array_nothrow(huge, &std::nothrow) == nullptr);
  CHECK(prof_test_new_aligned_nothrow(huge, alignment, &std::nothrow) == nullptr);
  CHECK(prof_test_new_array_aligned_nothrow(huge, alignment, &std::nothrow) == nullptr);
  watch w;
  prof_test_delete(prof_test_new(size));
  CHECK(w.saw(1, 1));
}

TEST_CASE("new expressions of the language end here too") {
  const rate_scope all(1);
  struct alignas(64) wide {
    char bytes[64];
  };
  struct odd {
    char bytes[size];
  };
  watch w;
  odd* volatile one = new odd;
  CHECK(w.saw(1, 0));
  delete one;
  CHECK(w.saw(0, 1));
  char* volatile many = new char[size];
  CHECK(w.saw(1, 0));
  delete[] many;
  CHECK(w.saw(0, 1));
  const auto shared = std::make_unique<wide[]>(3);
  CHECK(reinterpret_cast<std::uintptr_t>(shared.get()) % 64 == 0);
}

TEST_CASE("the default new of a static link: new-handler, then bad_alloc or null") {
  const std::new_handler before = std::get_new_handler();
  g_handler_calls = 0;
  std::set_new_handler(&give_up_after_three);
  CHECK_THROWS_AS(default_new(huge, 16, true), std::bad_alloc);
  CHECK(g_handler_calls == 3);
  g_handler_calls = 0;
  std::set_new_handler(&give_up_after_three);
  CHECK(default_new(huge, 256, false) == nullptr);
  CHECK(g_handler_calls == 3);
  std::set_new_handler(before);
  void* const nothing = default_new(0, 16, true);
  CHECK(nothing != nullptr);
  std::free(nothing);
  void* const aligned = default_new(10, 256, true);
  CHECK(reinterpret_cast<std::uintptr_t>(aligned) % 256 == 0);
  std::free(aligned);
}

TEST_CASE("the alignment is what the form says") {
  CHECK(alignment_in() == 16);
  CHECK(alignment_in(&std::nothrow) == 16);
  CHECK(alignment_in(std::size_t{64}) == 64);
  CHECK(alignment_in(std::size_t{64}, &std::nothrow) == 64);
}

#endif
