// tests/unit/process/labels_test.cpp - label sets: order, overrides, limits.

#include "prof/process/labels.hpp"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

struct bound_labels {
  own_memory memory;
  label_table table;

  bound_labels() { table.bind(memory); }
  bound_labels(const bound_labels&) = delete;
  bound_labels& operator=(const bound_labels&) = delete;

  label_set_id intern(std::initializer_list<label_pair> pairs) {
    return table.intern(pairs.begin(), pairs.size());
  }
  std::string shown(label_set_id id) const {
    std::string all;
    table.for_each(id, [&](const label_pair& pair) {
      all.append(pair.key.data, pair.key.size).append("=");
      all.append(pair.value.data, pair.value.size).append(";");
    });
    return all;
  }
};

}  // namespace

TEST_CASE("no labels is number 0") {
  bound_labels t;
  CHECK(t.table.intern(nullptr, 0) == no_labels);
  CHECK(t.shown(no_labels).empty());
}

TEST_CASE("labels are sorted by key, whatever order they came in") {
  bound_labels t;
  const label_set_id id = t.intern({{"b", "2"}, {"a", "1"}, {"ab", "3"}, {"", "0"}});
  CHECK(id > overflow_labels);
  CHECK(t.shown(id) == "=0;a=1;ab=3;b=2;");
  CHECK(t.intern({{"", "0"}, {"ab", "3"}, {"b", "2"}, {"a", "1"}}) == id);
  CHECK(t.table.used() == 1);
}

TEST_CASE("of equal keys the later value wins") {
  bound_labels t;
  const label_set_id id = t.intern({{"k", "old"}, {"x", "y"}, {"k", "new"}});
  CHECK(t.shown(id) == "k=new;x=y;");
  CHECK(t.intern({{"k", "new"}, {"x", "y"}}) == id);
}

TEST_CASE("keys and values are kept apart") {
  bound_labels t;
  CHECK(t.intern({{"ab", "c"}}) != t.intern({{"a", "bc"}}));
  CHECK(t.intern({{"a", "b"}, {"c", "d"}}) != t.intern({{"a", "b"}}));
  CHECK(t.intern({{"a", ""}}) != t.intern({{"", "a"}}));
}

TEST_CASE("a set holds sixteen labels; later values of kept keys still count") {
  bound_labels t;
  std::vector<std::string> keys;
  std::vector<label_pair> pairs;
  for (char c = 'a'; c <= 'z'; ++c) keys.push_back(std::string(1, c));
  for (const std::string& key : keys) pairs.push_back({key.c_str(), "v"});
  pairs.push_back({"c", "late"});
  const std::string shown = t.shown(t.table.intern(pairs.data(), pairs.size()));
  CHECK(shown.compare(0, 16, "a=v;b=v;c=late;d") == 0);
  CHECK(shown.find("p=v;") != std::string::npos);
  CHECK(shown.find("q=v;") == std::string::npos);
}

TEST_CASE("without room for the text a set overflows, is counted and says so") {
  bound_labels t;
  const std::string big(60000, 'x');
  std::vector<label_pair> pairs;
  const char* const keys[] = {"a", "b", "c", "d", "e"};
  for (const char* key : keys) pairs.push_back({key, {big.data(), big.size()}});  // more than a piece
  CHECK(t.intern({{"key", "value"}}) > overflow_labels);
  const label_set_id lost = t.table.intern(pairs.data(), pairs.size());
  CHECK(lost == overflow_labels);
  CHECK(t.table.overflow() == 1);
  CHECK(t.shown(lost) == "prof=label sets overflowed;");
  CHECK(t.table.intern(pairs.data(), pairs.size()) == overflow_labels);  // the next time, too
}

TEST_CASE("without memory every set overflows") {
  bound_labels t;
  t.memory.run_out();
  CHECK(t.intern({{"another key", "another value"}}) == overflow_labels);
  CHECK(t.intern({{"another key", "another value"}}) == overflow_labels);
  CHECK(t.table.overflow() == 2);
}

TEST_CASE("too many sets overflow") {
  bound_labels t;
  label_set_id last = no_labels;
  std::size_t made = 0;
  for (int i = 0; i < 20000 && last != overflow_labels; ++i, ++made) {
    const std::string value = std::to_string(i);
    last = t.intern({{"n", value.c_str()}});
  }
  CHECK(last == overflow_labels);
  CHECK(made > 4000);
  CHECK(made <= 8128 + 1);
  CHECK(t.shown(2).empty() == false);
}

TEST_CASE("a value longer than 65535 bytes does not disturb its neighbours") {
  bound_labels t;
  const std::string big(70000, 'x');
  const label_pair pairs[2] = {{"a", {big.data(), big.size()}}, {"b", "2"}};
  const std::string shown = t.shown(t.table.intern(pairs, 2));
  CHECK(shown.compare(0, 3, "a=x") == 0);
  CHECK(shown.compare(shown.size() - 4, 4, "b=2;") == 0);
}

TEST_CASE("threads that intern at once get sets that read right") {
  bound_labels t;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3000; ++i) {
        const std::string value = std::to_string(i % 500);
        const label_set_id id = t.intern({{"v", value.c_str()}});
        const std::string shown = t.shown(id);
        if (!shown.empty() && shown != "v=" + value + ";") ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
}
