// tests/unit/collect/annotations_test.cpp - what user code may write: labels of any string type, scopes.

#include "prof/collect/annotations.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>

#include "prof/api.hpp"
#include "prof/os/os.hpp"
#include "prof/sample/heap.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using prof::label_scope;

static_assert(!std::is_copy_constructible<label_scope>::value, "a scope ends once");
static_assert(std::is_nothrow_constructible<label_scope, std::initializer_list<prof::label>>::value,
              "labels never throw");

// "k=v,k=v" of the calling thread.
std::string current() {
  std::string text;
  auto* const process = prof::detail::attached_process_sig();
  if (process == nullptr) return text;
  const prof::detail::label_set_id set = prof::detail::labels_of_sig(*process, prof::detail::os_thread_id_sig());
  process->labels.for_each(set, [&](const auto& pair) {
    if (!text.empty()) text += ',';
    text += std::string(pair.key.data, pair.key.size) + '=' +
            std::string(pair.value.data, pair.value.size);
  });
  return text;
}

}  // namespace

TEST_CASE("keys and values are literals, strings, views or anything like them") {
  const std::string string = "string";
  const std::string_view view("view of more", 4);
  const char* const pointer = "pointer";
  const label_scope labels{{"a", string}, {view, "literal"}, {pointer, std::string("temporary")}};
  CHECK(current() == "a=string,pointer=temporary,view=literal");
}

TEST_CASE("scopes nest: the inner value wins and goes away again") {
  CHECK(current() == "");
  {
    const label_scope outer{{"tenant", "a"}, {"stage", "parse"}};
    CHECK(current() == "stage=parse,tenant=a");
    {
      const label_scope inner{{"stage", "run"}, {"query", "7"}};
      CHECK(current() == "query=7,stage=run,tenant=a");
    }
    CHECK(current() == "stage=parse,tenant=a");
  }
  CHECK(current() == "");
}

TEST_CASE("with_labels returns what the function returns, references too") {
  int value = 5;
  int& same = prof::with_labels({{"k", "v"}}, [&]() -> int& {
    CHECK(current() == "k=v");
    return value;
  });
  CHECK(&same == &value);
  CHECK(current() == "");
}

TEST_CASE("sixteen labels at most, and none at all") {
  const label_scope many{{"a", ""}, {"b", ""}, {"c", ""}, {"d", ""}, {"e", ""}, {"f", ""},
                         {"g", ""}, {"h", ""}, {"i", ""}, {"j", ""}, {"k", ""}, {"l", ""},
                         {"m", ""}, {"n", ""}, {"o", ""}, {"p", ""}, {"q", ""}};
  CHECK(current() == "a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=,l=,m=,n=,o=,p=");
  const label_scope none{};
  CHECK(current() == "a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=,l=,m=,n=,o=,p=");
  const label_scope known{{"p", "inner"}};
  CHECK(current() == "a=,b=,c=,d=,e=,f=,g=,h=,i=,j=,k=,l=,m=,n=,o=,p=inner");
}

TEST_CASE("labels are the calling thread's") {
  const label_scope labels{{"who", "main"}};
  std::string elsewhere = "?";
  std::string labeled_elsewhere;
  std::thread([&] {
    elsewhere = current();
    const label_scope own{{"who", "other"}};
    labeled_elsewhere = current();
  }).join();
  CHECK(elsewhere == "");
  CHECK(labeled_elsewhere == "who=other");
  CHECK(current() == "who=main");
}

namespace {

char g_object[2];

struct rate_scope {
  std::size_t before;
  explicit rate_scope(std::size_t rate) : before(prof::set_mem_profile_rate(rate)) {}
  ~rate_scope() { prof::set_mem_profile_rate(before); }
  rate_scope(const rate_scope&) = delete;
  rate_scope& operator=(const rate_scope&) = delete;
};

bool is_live(const void* object) {
  return prof::detail::heap_sig(*prof::detail::process_sig())
      ->live.contains_sig(reinterpret_cast<std::uintptr_t>(object));
}

}  // namespace

TEST_CASE("an object that is told is live until it is told to be freed") {
  const rate_scope all(1);
  prof::record_alloc(g_object, 45673);
  CHECK(is_live(g_object));
  prof::record_free(g_object);
  CHECK_FALSE(is_live(g_object));
  prof::record_free(g_object);  // unknown by now
  prof::record_free(nullptr);
  prof::record_alloc(nullptr, 45673);
  CHECK_FALSE(is_live(nullptr));
}

TEST_CASE("what is told and what the hooks see use one countdown up") {
  const rate_scope none(0);
  void* (*volatile call_malloc)(std::size_t) = &std::malloc;
  void (*volatile call_free)(void*) = &std::free;
  call_free(call_malloc(1));  // draws a gap
  const std::int64_t at_first = prof::detail::alloc_countdown;
  prof::record_alloc(g_object, 400);
  const std::int64_t told = prof::detail::alloc_countdown;
  prof::record_alloc(nullptr, 400);  // is no object
  const std::int64_t ignored = prof::detail::alloc_countdown;
  call_free(call_malloc(600));
  const std::int64_t hooked = prof::detail::alloc_countdown;
  prof::record_alloc(g_object, static_cast<std::size_t>(hooked));
  const std::int64_t used_up = prof::detail::alloc_countdown;
  CHECK(at_first > 1000);
  CHECK(told == at_first - 400);
  CHECK(ignored == told);
  CHECK(hooked == told - 600);
  CHECK(used_up > 0);  // the next gap
  CHECK_FALSE(is_live(g_object));
}

#endif
