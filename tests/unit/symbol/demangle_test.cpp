// tests/unit/symbol/demangle_test.cpp - linker names as people write them.

#include <prof/symbol/demangle.hpp>

#include <doctest/doctest.h>

#include <string>

#include <prof/os/os.hpp>

namespace {

std::string shown(const std::string& mangled) {
    prof::detail::arena memory(prof::detail::os_pages);
    const prof::detail::text_view text = prof::detail::demangle(mangled.c_str(), memory);
    CHECK(text.data[text.size] == '\0');
    return std::string(text.data, text.size);
}

std::string cleaned(std::string text) {
    prof::detail::clean_utf8(&text[0], text.size());
    return text;
}

TEST_CASE("C++ names are demangled, others stay") {
    CHECK(shown("_Z3fooi") == "foo(int)");
    CHECK(shown("_ZN2ns3boxIiE3putEi") == "ns::box<int>::put(int)");
    CHECK(shown("_ZnwmSt11align_val_t") == "operator new(unsigned long, std::align_val_t)");
    CHECK(shown("malloc") == "malloc");
    CHECK(shown("") == "");
    CHECK(shown("_Z") == "_Z");
    CHECK(shown("_Znot_a_name") == "_Znot_a_name");
    CHECK(shown("main.cold") == "main.cold");
}

TEST_CASE("versions go, stubs stay") {
    CHECK(shown("memcpy@@GLIBC_2.14") == "memcpy");
    CHECK(shown("memcpy@GLIBC_2.2.5") == "memcpy");
    CHECK(shown("_Z3foov@@LIB_1.0") == "foo()");
    CHECK(shown("_Z3foov.cold@@LIB_1.0") == "foo() [clone .cold]");
    CHECK(shown("malloc@plt") == "malloc@plt");
    CHECK(shown("_Z3foov@plt") == "foo()@plt");
    CHECK(shown("@") == "@");
    CHECK(shown("@plt") == "@plt");
}

TEST_CASE("clone suffixes read as binutils shows them") {
    CHECK(shown("_Z3foov.cold") == "foo() [clone .cold]");
    CHECK(shown("_Z3foov.cold.12") == "foo() [clone .cold.12]");
    CHECK(shown("_Z3fooi.part.0") == "foo(int) [clone .part.0]");
    CHECK(shown("_Z3fooi.part.0.cold") == "foo(int) [clone .part.0] [clone .cold]");
    CHECK(shown("_Z3fooi.constprop.0.isra.0") == "foo(int) [clone .constprop.0] [clone .isra.0]");
    CHECK(shown("_ZN1a3fooEv.llvm.1234567890") == "a::foo() [clone .llvm.1234567890]");
    CHECK(shown("_Z3foov.__uniq.42") == "foo() [clone .__uniq.42]");
    CHECK(shown("_Z3foov.7") == "foo() [clone .7]");
    CHECK(shown("_Z3foov.") == "_Z3foov.");
    CHECK(shown("_Z3foov..cold") == "_Z3foov..cold");
    CHECK(shown("_Znonsense.cold") == "_Znonsense.cold");
}

TEST_CASE("a dot inside a name, as the frames of g++'s coroutines have, is no suffix's") {
    CHECK(shown("_Z4bodyPZL4bodyjE15_ZL4bodyj.Frame.actor") ==
          "body(body(unsigned int)::_ZL4bodyj.Frame*) [clone .actor]");
    CHECK(shown("_Z4bodyPZL4bodyjE15_ZL4bodyj.Frame.actor.cold") ==
          "body(body(unsigned int)::_ZL4bodyj.Frame*) [clone .actor] [clone .cold]");
    CHECK(shown("_Z4bodyPZL4bodyjE15_ZL4bodyj.Frame") == "body(body(unsigned int)::_ZL4bodyj.Frame*)");
    CHECK(shown("_Z.a.b.c.d.e.f.g.h.i.j.k.l") == "_Z.a.b.c.d.e.f.g.h.i.j.k.l");
}

TEST_CASE("long names are shown, or left alone where the runtime refuses them") {
    std::string mangled = "_Z1f";
    std::string readable = "f(";
    for (int i = 0; i < 100; ++i) {
        mangled += "1A";
        readable += i == 0 ? "A" : ", A";
    }
    CHECK(shown(mangled) == readable + ")");
    const std::string refused = "_Z1f" + std::string(4000, 'i');
    const std::string answer = shown(refused);
    CHECK((answer == refused || answer.compare(0, 8, "f(int, i") == 0));
}

TEST_CASE("invalid UTF-8 becomes question marks") {
    CHECK(cleaned("plain") == "plain");
    CHECK(cleaned("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
    CHECK(cleaned("\xe2\x82\xac \xf0\x9f\x98\x80") == "\xe2\x82\xac \xf0\x9f\x98\x80");
    CHECK(cleaned("\xff\xfe") == "??");
    CHECK(cleaned("a\xc3") == "a?");
    CHECK(cleaned("\x80z") == "?z");
    CHECK(cleaned("\xc0\xaf") == "??");              // longer than needed
    CHECK(cleaned("\xe0\x80\xaf") == "???");         // the same with three
    CHECK(cleaned("\xed\xa0\x80") == "???");         // a surrogate
    CHECK(cleaned("\xf4\x90\x80\x80") == "????");    // above U+10FFFF
    CHECK(cleaned("\xe2\x82") == "??");
    CHECK(shown("f\xe9") == "f?");
    CHECK(shown("_Z3f\xc3\xbcv") == "f\xc3\xbc()");
}

}  // namespace
