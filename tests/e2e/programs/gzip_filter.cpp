// tests/e2e/programs/gzip_filter.cpp - standard input, compressed, to standard output.
#include <prof/prof.hpp>

#include <cstdio>
#include <memory>

int main() {
  const auto gzip = std::make_unique<prof::detail::gzip_writer>(
      [](void* out, const void* data, std::size_t size) {
        return std::fwrite(data, 1, size, static_cast<std::FILE*>(out)) == size;
      },
      stdout);
  char piece[5000];
  for (std::size_t n = 0; (n = std::fread(piece, 1, sizeof piece, stdin)) != 0;) {
    if (!gzip->write(piece, n)) return 1;
  }
  return gzip->finish() ? 0 : 1;
}
