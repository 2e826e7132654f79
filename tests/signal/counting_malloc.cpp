// A preloaded allocator: glibc's own, with a count of the calls of each kind.
#include <atomic>
#include <cerrno>
#include <cstddef>

static std::atomic<unsigned long> allocations{0};
static std::atomic<unsigned long> frees{0};

extern "C" {
void* __libc_malloc(std::size_t) noexcept;
void* __libc_calloc(std::size_t, std::size_t) noexcept;
void* __libc_realloc(void*, std::size_t) noexcept;
void* __libc_memalign(std::size_t, std::size_t) noexcept;
void __libc_free(void*) noexcept;

unsigned long counted_allocations() { return allocations.load(); }
unsigned long counted_frees() { return frees.load(); }

void* malloc(std::size_t n) { return ++allocations, __libc_malloc(n); }
void* calloc(std::size_t n, std::size_t each) { return ++allocations, __libc_calloc(n, each); }
void* realloc(void* p, std::size_t n) { return ++allocations, __libc_realloc(p, n); }
void* memalign(std::size_t alignment, std::size_t n) { return ++allocations, __libc_memalign(alignment, n); }
void* aligned_alloc(std::size_t alignment, std::size_t n) { return ++allocations, __libc_memalign(alignment, n); }
int posix_memalign(void** place, std::size_t alignment, std::size_t n) {
  ++allocations;
  *place = __libc_memalign(alignment, n);
  return *place != nullptr ? 0 : ENOMEM;
}
void free(void* p) {
  if (p != nullptr) ++frees;
  __libc_free(p);
}
}
