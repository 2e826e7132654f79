// Compiled with -fno-exceptions, and uses what the other file uses.
#define PROF_ENABLE_CPU 0
#define PROF_ENABLE_HEAP 0
#define PROF_ENABLE_MUTEX 0
#define PROF_ENABLE_BLOCK 0
#define PROF_ENABLE_THREADS 0
#define PROF_ENABLE_SYMBOLIZE 0
#include <prof/prof.hpp>

bool write_without_exceptions(const char* path) {
  std::FILE* const file = std::fopen(path, "wb");
  const auto write = [](void* to, const void* data, std::size_t size) {
    return std::fwrite(data, 1, size, static_cast<std::FILE*>(to)) == size;
  };
  const prof::result written = prof::write_profile("heap", {write, file});
  return std::fclose(file) == 0 && written;
}
