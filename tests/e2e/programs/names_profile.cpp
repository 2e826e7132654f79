// names_profile.cpp - `names_profile PREFIX`: allocates through functions that are inlined into each other and writes the
// same heap profile twice: PREFIXnamed.pb.gz with names, PREFIXplain.pb.gz with addresses only.
#include "heap_work.hpp"

#include <cstdint>

namespace busy {

constexpr std::size_t count = 600;

struct list {
  void** next;
};

inline void* kept(std::size_t size) {
  void* const block = std::malloc(size);
  __asm__ volatile("" : : "r"(block) : "memory");  // malloc is not the last call
  return block;
}

template <class Type>
inline Type* made(list& to, std::size_t items) {
  auto* const block = static_cast<Type*>(kept(items * sizeof(Type)));
  *to.next++ = block;
  return block;
}

inline void small_ones(list& to, std::size_t i) {
  if (i % 3 == 0)
    made<char>(to, 100);
  else
    made<double>(to, 20);
}

template <class Type, std::size_t Items>
struct table {
  explicit table(list& to) : items(made<Type>(to, Items)) {}
  __attribute__((always_inline)) Type* again(list& to) {
    return made<Type>(to, Items / 2);
  }
  Type* items;
};

SITE void tables(list& to) {
  for (std::size_t i = 0; i < count / 4; ++i) {
    table<std::uint64_t, 64> one(to);
    one.again(to);
  }
  STAY_ON_STACK();
}

SITE void loop(list& to) {
  const auto step = [&to](std::size_t i) {
    small_ones(to, i);
    kept(48);
  };
  for (std::size_t i = 0; i < count; ++i) step(i);
  STAY_ON_STACK();
}

SITE void run(list& to) {
  loop(to);
  tables(to);
  loop(to);
}

}  // namespace busy

int main(int, char** arguments) {
  prof::set_mem_profile_rate(1);
  busy::list all{pages_for<void*>(4 * busy::count)};
  const path_of named(arguments[1], "named.pb.gz");
  const path_of plain(arguments[1], "plain.pb.gz");
  busy::run(all);
  prof::profile_request request;
  request.symbolize = prof::symbols::inlines;
  need(prof::write_profile("heap", named.text, request), "named");
  request.symbolize = prof::symbols::none;
  need(prof::write_profile("heap", plain.text, request), "plain");
}
