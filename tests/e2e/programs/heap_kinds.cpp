// Usage: heap_kinds PREFIX. Every way to ask for memory, each in a function of its own, at rate 1. Writes
// PREFIXlive.pb.gz, the same as text (PREFIXlive.txt) and as allocs (PREFIXallocs.pb.gz).
#include "heap_work.hpp"

#include <new>
#include <vector>

namespace {
void* volatile kept;

struct alignas(64) wide { char bytes[192]; };

SITE void by_malloc() { for (int i = 0; i < 100; ++i) kept = std::malloc(100); }
SITE void by_calloc() { for (int i = 0; i < 100; ++i) kept = std::calloc(10, 20); }
SITE void by_realloc() {  // 16, 32 ... 4096: one object lives, nine were allocated
  void* object = nullptr;
  for (std::size_t size = 16; size <= 4096; size *= 2) object = std::realloc(object, size);
  kept = object;
}
SITE void by_reallocarray() { for (int i = 0; i < 10; ++i) kept = reallocarray(nullptr, 7, 11); }
SITE void by_new() { for (int i = 0; i < 100; ++i) kept = new double[1]{}; }
SITE void by_new_object() { for (int i = 0; i < 100; ++i) kept = new std::pair<long, long>; }
SITE void by_new_array() { for (int i = 0; i < 100; ++i) kept = new char[333]; }
SITE void by_new_nothrow() { for (int i = 0; i < 100; ++i) kept = new (std::nothrow) char[55]; }
SITE void by_new_aligned() { for (int i = 0; i < 100; ++i) kept = new wide; }
SITE void by_posix_memalign() {
  for (int i = 0; i < 100; ++i) {
    void* object = nullptr;
    if (posix_memalign(&object, 128, 640) == 0) kept = object;
  }
}
SITE void by_aligned_alloc() { for (int i = 0; i < 100; ++i) kept = std::aligned_alloc(64, 448); }
SITE void by_vector(std::vector<int>& to) { for (int i = 0; i < 1024; ++i) to.push_back(i); }
SITE void by_string(std::string& to) { to.assign(999, 'x'); STAY_ON_STACK(); }
SITE void freed_at_once() { for (int i = 0; i < 100; ++i) { kept = std::malloc(77); std::free(kept); } }
SITE void by_malloc_of_nothing() { for (int i = 0; i < 10; ++i) kept = std::malloc(0); }
}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  prof::set_mem_profile_rate(1);
  std::vector<int> numbers;
  std::string text;
  by_malloc();
  by_calloc();
  by_realloc();
  by_reallocarray();
  by_new();
  by_new_object();
  by_new_array();
  by_new_nothrow();
  by_new_aligned();
  by_posix_memalign();
  by_aligned_alloc();
  by_vector(numbers);
  by_string(text);
  freed_at_once();
  by_malloc_of_nothing();
  need(prof::write_heap_profile(path_of(argv[1], "live.pb.gz").text), "live");
  prof::profile_request as_text;
  as_text.debug = 1;
  need(prof::write_profile("heap", path_of(argv[1], "live.txt").text, as_text), "text");
  need(prof::write_profile("allocs", path_of(argv[1], "allocs.pb.gz").text), "allocs");
  std::printf("%zu %zu\n", numbers.size(), text.size());
}
