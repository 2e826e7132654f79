// tests/unit/collect/annotations_test.cpp - what user code may write: labels of any string type, scopes.

#include "prof/collect/annotations.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <type_traits>

#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using prof::label_scope;

static_assert(!std::is_copy_constructible<label_scope>::value, "a scope ends once");
static_assert(std::is_nothrow_constructible<label_scope, std::initializer_list<prof::label>>::value,
              "labels never throw");

// "k=v,k=v" of the calling thread.
std::string current() {
  std::string text;
  const auto* const process = prof::detail::attached_process_sig();
  if (process == nullptr) return text;
  process->labels.for_each(prof::detail::current_labels_sig(*process), [&](const auto& pair) {
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

#endif
