// An allocator under the names that musl's libc.a has for its own. Zig's static libc has an allocator of its
// own instead, with no second name: a hook of malloc has nothing behind it there.
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstring>

namespace {

// Sizes are powers of two with a header in front, which holds the exponent or the next free block.
struct block {
  block* next;
  std::size_t exponent;
};
block* g_free[48];
char* g_rest;
std::size_t g_rest_size;
std::atomic_flag g_lock = ATOMIC_FLAG_INIT;

block* take(std::size_t exponent) {
  if (block* const old = g_free[exponent]) {
    g_free[exponent] = old->next;
    return old;
  }
  const std::size_t size = std::size_t{1} << exponent;
  if (g_rest_size < size) {
    g_rest_size = size > (1 << 24) ? size : 1 << 24;
    g_rest = static_cast<char*>(mmap(nullptr, g_rest_size, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  }
  auto* const fresh = reinterpret_cast<block*>(g_rest);
  g_rest += size;
  g_rest_size -= size;
  fresh->exponent = exponent;
  return fresh;
}

}  // namespace

extern "C" {

void* __libc_malloc(std::size_t size) {
  std::size_t exponent = 5;
  while ((std::size_t{1} << exponent) < size + sizeof(block)) ++exponent;
  while (g_lock.test_and_set()) {
  }
  block* const taken = take(exponent);
  g_lock.clear();
  return taken + 1;
}
void __libc_free(void* object) {
  if (object == nullptr) return;
  block* const old = static_cast<block*>(object) - 1;
  while (g_lock.test_and_set()) {
  }
  old->next = g_free[old->exponent];
  g_free[old->exponent] = old;
  g_lock.clear();
}
void* __libc_calloc(std::size_t count, std::size_t each) {
  void* const object = __libc_malloc(count * each);
  return std::memset(object, 0, count * each);
}
void* __libc_realloc(void* object, std::size_t size) {
  void* const to = __libc_malloc(size);
  if (object == nullptr) return to;
  const std::size_t room =
      (std::size_t{1} << (static_cast<block*>(object) - 1)->exponent) - sizeof(block);
  std::memcpy(to, object, room < size ? room : size);
  __libc_free(object);
  return to;
}
void* __libc_memalign(std::size_t, std::size_t size) { return __libc_malloc(size); }

}  // extern "C"
