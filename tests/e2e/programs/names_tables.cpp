// names_tables.cpp - containers, algorithms, many instances of a few templates; see names_work.hpp.
#include "names_work.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace work {
namespace {

template <int Stage>
struct stage {
  template <class Next>
  number operator()(const std::vector<number>& values, Next next) const {
    number sum = Stage;
    for (const number v : values) {
      if (v % (Stage + 2) == 0) sum += next(v + Stage);
      else if (v % (Stage + 3) == 1) sum ^= fourth_step(v);
    }
    return sum;
  }
};

template <int Stage>
__attribute__((noinline)) number run_stage(const std::vector<number>& values) {
  std::vector<number> copy(values.rbegin(), values.rend());
  std::nth_element(copy.begin(), copy.begin() + Stage % 7, copy.end(),
                   [](number a, number b) { return (a ^ Stage) < (b ^ Stage); });
  copy.erase(std::unique(copy.begin(), copy.end()), copy.end());
  return stage<Stage>()(copy, [&values](number v) { return mix(v) + values[v % values.size()]; });
}

template <std::size_t... Stages>
number run_stages(const std::vector<number>& values, std::index_sequence<Stages...>) {
  return (run_stage<static_cast<int>(Stages)>(values) ^ ... ^ 0);
}

template <class Key>
Key key_of(number x) {
  return static_cast<Key>(x);
}
template <>
std::string key_of<std::string>(number x) {
  return "key " + std::to_string(x);
}
template <>
std::pair<int, std::string> key_of(number x) {
  return {static_cast<int>(x % 5), std::to_string(x)};
}

template <class Map>
number fill(number count) {
  Map map;
  for (number i = 0; i < count; ++i) map[key_of<typename Map::key_type>(mix(i) % 97)] += i;
  for (number i = 0; i < count / 3; ++i) map.erase(key_of<typename Map::key_type>(mix(i) % 89));
  return each(map, [](const auto& entry) { return static_cast<number>(entry.second); });
}

template <class Type>
number sorted(number count) {
  std::vector<Type> values;
  for (number i = 0; i < count; ++i) values.push_back(key_of<Type>(mix(i)));
  std::sort(values.begin(), values.end(), std::greater<Type>());
  std::deque<Type> queue(values.begin(), values.end());
  std::rotate(queue.begin(), queue.begin() + 3, queue.end());
  const std::set<Type> once(queue.begin(), queue.end());
  return once.size() + static_cast<number>(std::lower_bound(once.begin(), once.end(), key_of<Type>(7)) != once.end());
}

// Clones for constants: .constprop, .isra, .part.
__attribute__((noinline)) number scaled(const std::vector<number>& values, number factor, bool is_checked) {
  if (is_checked && values.size() < 3) throw std::invalid_argument("too few values");
  return std::accumulate(values.begin(), values.end(), number{0},
                         [factor](number sum, number v) { return sum + v * factor; });
}

}  // namespace

number tables(number rounds) {
  number sum = 0;
  for (number round = 0; round < rounds; ++round) {
    std::vector<number> values(64);
    std::iota(values.begin(), values.end(), mix(round));
    sum += run_stages(values, std::make_index_sequence<14>());
    sum += fill<std::map<number, number>>(200) + fill<std::map<std::string, int>>(100);
    sum += fill<std::unordered_map<number, number>>(200) + fill<std::unordered_map<std::string, number>>(100);
    sum += fill<std::map<std::pair<int, std::string>, number>>(100);
    sum += sorted<int>(100) + sorted<double>(100) + sorted<std::string>(50);
    sum += sorted<std::pair<int, std::string>>(40);
    const std::vector<unsigned long long> others(values.begin(), values.end());
    sum += folded(values.data(), values.size()) + folded(others.data(), others.size());
    sum += scaled(values, 3, true) + scaled(values, 3, true);
  }
  return sum;
}

}  // namespace work
