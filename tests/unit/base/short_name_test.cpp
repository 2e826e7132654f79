// tests/unit/base/short_name_test.cpp - readable names without template arguments.

#include <prof/base/short_name.hpp>

#include <doctest/doctest.h>

#include <string>

#include <prof/os/os.hpp>

namespace {

std::string shortened(const std::string& name) {
    prof::detail::arena memory(prof::detail::os_pages);
    const prof::detail::text_view text = prof::detail::shorten({name.data(), name.size()}, memory);
    CHECK(text.data[text.size] == '\0');
    return std::string(text.data, text.size);
}

TEST_CASE("template arguments are left out, parameters are not") {
    CHECK(shortened("std::vector<int, std::allocator<int> >::push_back(int&&)") == "std::vector<...>::push_back(int&&)");
    CHECK(shortened("void sort<int*, less<int> >(int*, std::pair<int, int> const&)") ==
          "void sort<...>(int*, std::pair<...> const&)");
    CHECK(shortened("a<int>::b<char>::c()") == "a<...>::b<...>::c()");
    CHECK(shortened("a<>::b()") == "a<>::b()");
    CHECK(shortened("foo[abi:cxx11]<int>()") == "foo[abi:cxx11]<...>()");
}

TEST_CASE("inline namespaces of std are left out") {
    CHECK(shortened("std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >::size() const") ==
          "std::basic_string<...>::size() const");
    CHECK(shortened("f(std::__1::vector<int>, std::__cxx11::list<int>)") == "f(std::vector<...>, std::list<...>)");
    CHECK(shortened("std::__detail::_Node") == "std::__detail::_Node");
    CHECK(shortened("mystd::__1::x") == "mystd::__1::x");
    CHECK(shortened("my::std::__1::x") == "my::std::__1::x");
}

TEST_CASE("operators keep their symbols") {
    for (const char* symbol : {"<", "<<", "<=", "<=>", "<<=", ">", ">>", ">=", ">>=", "->", "->*", "()", "[]", "+", ",",
                               " new[]", " delete", " int*", "\"\" _km", " co_await"}) {
        const std::string name = std::string("a::operator") + symbol + "(a const&)";
        CHECK(shortened(name) == name);
        CHECK(shortened("b<int>::operator" + std::string(symbol) + "(int)") ==
              "b<...>::operator" + std::string(symbol) + "(int)");
    }
    CHECK(shortened("bool operator< <int>(a<int>)") == "bool operator< <...>(a<...>)");
    CHECK(shortened("s& operator<< <std::char_traits<char> >(s&)") == "s& operator<< <...>(s&)");
    CHECK(shortened("a::operator()<int>(int)") == "a::operator()<...>(int)");
    CHECK(shortened("a::operator-><int>()") == "a::operator-><...>()");
    CHECK(shortened("a::operator std::vector<int>()") == "a::operator std::vector<...>()");
    CHECK(shortened("myoperator<int>()") == "myoperator<...>()");
    CHECK(shortened("operator_of<int>()") == "operator_of<...>()");
}

TEST_CASE("brackets that are operators close no arguments") {
    CHECK(shortened("f<((1)>(2)), int>()") == "f<...>()");
    CHECK(shortened("f<((1)<(2)), int>()") == "f<...>()");
    CHECK(shortened("f<(a->b), int>()") == "f<...>()");
    CHECK(shortened("f<a->b, int>()") == "f<...>()");
    CHECK(shortened("f<&(A::operator>), int>()") == "f<...>()");
    CHECK(shortened("f<&(A::operator->), int>()") == "f<...>()");
    CHECK(shortened("f<&(A::operator<<), int>()") == "f<...>()");
    CHECK(shortened("f<sizeof (a<int>)>()") == "f<...>()");
}

TEST_CASE("lambdas and what is no template stay byte by byte") {
    for (const char* name :
         {"", "main", "malloc", "foo(int)::{lambda(int)#1}::operator()(int) const", "(anonymous namespace)::f()",
          "<lambda(int)>", "a < b", "foo() [clone .cold]", "std::string::size()", "x >> y", "operator", "std::__", "std::__1"}) {
        CHECK(shortened(name) == name);
    }
    CHECK(shortened("f(std::function<void ()>)::{lambda(a<int>)#1}::operator()(a<int>) const") ==
          "f(std::function<...>)::{lambda(a<...>)#1}::operator()(a<...>) const");
}

TEST_CASE("what does not close stays") {
    CHECK(shortened("f<int") == "f<int");
    CHECK(shortened("f<(int>)") == "f<(int>)");
    CHECK(shortened("f<int)>") == "f<int)>");
    CHECK(shortened("a<int>::f<int") == "a<...>::f<int");
    const std::string deep = "f<" + std::string(300, '(') + std::string(300, ')') + ">()";
    CHECK(shortened(deep) == deep);
    const std::string less_deep = "f<" + std::string(200, '(') + std::string(200, ')') + ">()";
    CHECK(shortened(less_deep) == "f<...>()");
}

}  // namespace
