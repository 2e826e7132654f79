// names_work.hpp - code that several files of one program inline: what test_names.py asks names of.
#ifndef PROF_TESTS_E2E_NAMES_WORK_HPP
#define PROF_TESTS_E2E_NAMES_WORK_HPP

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace work {

using number = std::uint64_t;

// ---- functions inlined into functions that are inlined ----

inline number mix(number x) {
  x ^= x >> 31;
  x *= 0x9e3779b97f4a7c15ULL;
  return x ^ (x >> 29);
}
__attribute__((always_inline)) inline number first_step(number x) { return mix(x) + 1; }
__attribute__((always_inline)) inline number second_step(number x) {
  if (x % 3 == 0) return first_step(x) ^ 5;
  return first_step(x + 1);
}
__attribute__((always_inline)) inline number third_step(number x) {
  const number before = second_step(x);
  return before % 7 == 0 ? second_step(before) : before;
}
inline number fourth_step(number x) {
  number sum = 0;
  for (int i = 0; i < 3; ++i) sum += third_step(x + static_cast<number>(i));
  return sum;
}

// ---- what is told apart by its arguments ----

template <class Type, std::size_t Size>
class ring {
 public:
  void push(const Type& value) {
    if (used_ == Size) throw std::length_error("ring of " + std::to_string(Size));
    at_[(first_ + used_++) % Size] = value;
  }
  Type pop() {
    if (used_ == 0) throw std::out_of_range("empty ring");
    Type value = at_[first_];
    first_ = (first_ + 1) % Size;
    --used_;
    return value;
  }
  bool full() const { return used_ == Size; }
  std::size_t size() const { return used_; }

 private:
  Type at_[Size]{};
  std::size_t first_ = 0;
  std::size_t used_ = 0;
};

template <class Items, class Function>
number each(const Items& items, Function function) {
  number sum = 0;
  for (const auto& item : items) sum = mix(sum ^ function(item));
  return sum;
}

template <class... Numbers>
number sum_of(Numbers... numbers) {
  return (mix(numbers) + ... + 0);
}

// ---- the same code under several names, which a linker may fold ----

template <class Word>
__attribute__((noinline)) Word folded(const Word* from, std::size_t size) {
  Word sum = 0;
  for (std::size_t i = 0; i + 4 < size; ++i) {
    sum += static_cast<Word>(fourth_step(from[i]) ^ fourth_step(from[i + 1] + 3));
    if (sum % 11 == 0) sum ^= static_cast<Word>(second_step(from[i + 2]) + third_step(from[i + 3]));
    if (sum % 13 == 5) sum += static_cast<Word>(mix(mix(mix(mix(from[i + 4])))));
  }
  return sum;
}

// ---- constructors and destructors, with virtual bases ----

struct named {
  explicit named(std::string text) : name(std::move(text)) {}
  virtual ~named() { name.clear(); }
  virtual number area() const = 0;
  virtual number edges() const { return 0; }
  std::string name;
};
struct painted : virtual named {
  explicit painted(number c) : named("painted"), color(mix(c)) {}
  number edges() const override { return color % 5; }
  number color;
};
struct placed : virtual named {
  placed(number x_, number y_) : named("placed"), x(x_), y(y_) {}
  ~placed() override { x = y = 0; }
  number x, y;
};
std::vector<std::unique_ptr<named>> make_shapes(number count);

// ---- the files ----

number shapes(number rounds);
number texts(number rounds);
number tables(number rounds);

}  // namespace work

#endif  // PROF_TESTS_E2E_NAMES_WORK_HPP
