// names_shapes.cpp - virtual hierarchies, local classes, exceptions with cold paths; see names_work.hpp.
#include "names_work.hpp"

#include <algorithm>
#include <functional>

namespace work {
namespace {

struct rectangle final : painted, placed {
  rectangle(number w, number h) : named("rectangle"), painted(w), placed(w, h), width(w), height(h) {
    if (w == 0 || h == 0) throw std::invalid_argument(name + " without area");
  }
  ~rectangle() override { width = height = 0; }
  number area() const override { return width * height; }
  number edges() const override { return 4; }
  number width, height;
};

class circle : public painted {
 public:
  explicit circle(number r) : named("circle " + std::to_string(r)), painted(r), radius_(r), trail_(r % 40 + 1, r) {}
  number area() const override { return radius_ * radius_ * 355 / 113; }

 private:
  number radius_;
  std::vector<number> trail_;
};

template <int Corners>
class polygon : public placed {
 public:
  explicit polygon(number side) : named("polygon"), placed(side, Corners), side_(side) {
    for (auto& corner : corners_) corner = fourth_step(side_++);
  }
  number area() const override {
    number sum = 0;
    for (int i = 0; i < Corners; ++i) sum += corners_[i] ^ corners_[(i + 1) % Corners];
    return sum;
  }
  number edges() const override { return Corners; }

 private:
  number side_;
  number corners_[Corners];
};

// Of the same name in names_text.cpp.
static __attribute__((noinline)) number helper(number x) {
  number sum = 0;
  for (number i = 0; i < x % 9 + 1; ++i) sum += third_step(x ^ i);
  return sum;
}

// With the body of another in names_text.cpp.
static __attribute__((noinline)) number summed_shapes(const std::vector<number>& values) {
  number sum = 1;
  for (const number v : values) {
    sum = mix(sum ^ third_step(v));
    if (v % 17 == 3) sum += fourth_step(sum) ^ fourth_step(v + 9) ^ second_step(v / 5);
    if (v % 19 == 4) sum ^= mix(first_step(v) + third_step(sum));
  }
  return sum;
}

__attribute__((noinline)) number risky(number x) {
  if (x % 5 == 1) throw std::runtime_error("risky " + std::to_string(x));
  if (x % 7 == 2) throw static_cast<int>(x % 100);
  return fourth_step(x);
}

number guarded(number x) {
  try {
    return risky(x) + helper(x);
  } catch (const std::exception& failure) {
    return each(std::string(failure.what()), [](char c) { return static_cast<number>(c) * 3; });
  } catch (int code) {
    return static_cast<number>(code);
  }
}

number local_classes(number x) {
  struct counter {
    explicit counter(number start) : value(start) {}
    number next() { return value = mix(value) + helper(value % 3); }
    number value;
  };
  class by_remainder {
   public:
    explicit by_remainder(number d) : divisor_(d) {}
    bool operator()(number a, number b) const { return a % divisor_ < b % divisor_; }

   private:
    number divisor_;
  };
  counter c(x);
  std::vector<number> values(50);
  std::generate(values.begin(), values.end(), [&c] { return c.next(); });
  std::sort(values.begin(), values.end(), by_remainder(x % 11 + 2));
  std::make_heap(values.begin(), values.end(), by_remainder(x % 5 + 2));
  return each(values, [x](number v) { return v ^ x; }) + summed_shapes(values);
}

}  // namespace

std::vector<std::unique_ptr<named>> make_shapes(number count) {
  std::vector<std::unique_ptr<named>> made;
  for (number i = 1; i <= count; ++i) {
    switch (i % 6) {
      case 0: made.push_back(std::make_unique<rectangle>(i, i + 1)); break;
      case 1: made.push_back(std::make_unique<circle>(i)); break;
      case 2: made.push_back(std::make_unique<polygon<3>>(i)); break;
      case 3: made.push_back(std::make_unique<polygon<5>>(i)); break;
      case 4: made.push_back(std::make_unique<polygon<8>>(i)); break;
      default: made.emplace_back(new polygon<12>(i));
    }
  }
  return made;
}

number shapes(number rounds) {
  number sum = 0;
  for (number round = 0; round < rounds; ++round) {
    auto made = make_shapes(30);
    std::sort(made.begin(), made.end(), [](const auto& a, const auto& b) { return a->area() < b->area(); });
    std::function<number(const named&)> weigh = [round](const named& one) { return one.area() * one.edges() + round; };
    for (const auto& one : made) sum += weigh(*one) + guarded(sum) + local_classes(sum);
    try {
      const rectangle flat(round, 0);
      sum += flat.area();
    } catch (const std::invalid_argument& failure) {
      sum += std::string(failure.what()).size();
    }
  }
  return sum;
}

}  // namespace work
