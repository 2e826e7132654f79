// tests/unit/symbol/demangle_test.cpp - linker names as people write them.

#include <prof/symbol/demangle.hpp>

#include <doctest/doctest.h>

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include <prof/os/os.hpp>

#if PROF_DETAIL_OS_LINUX
#include <dlfcn.h>
#include <elf.h>
#endif

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

TEST_CASE("long names are shown") {
    std::string mangled = "_Z1f";
    std::string readable = "f(";
    for (int i = 0; i < 100; ++i) {
        mangled += "1A";
        readable += i == 0 ? "A" : ", A";
    }
    CHECK(shown(mangled) == readable + ")");
    const std::string integers = shown("_Z1f" + std::string(4000, 'i'));
    CHECK(integers.size() == 3 + 4000 * 5 - 2);
    CHECK(integers.compare(0, 8, "f(int, i") == 0);
}

// f<A0000, A0001, ...>()
std::string many_arguments(int count, std::string& readable) {
    std::string mangled = "_Z1fI";
    readable = "void f<";
    for (int i = 0; i < count; ++i) {
        const std::string name = "A" + std::to_string(10000 + i);
        mangled += std::to_string(name.size()) + name;
        readable += (i == 0 ? "" : ", ") + name;
    }
    readable += ">()";
    return mangled + "Evv";
}

TEST_CASE("a name of ten thousand characters is readable") {
    std::string readable;
    const std::string mangled = many_arguments(1429, readable);
    CHECK(mangled.size() > 10000);
    CHECK(shown(mangled) == readable);
}

TEST_CASE("a readable name is cut at the bound") {
    std::string readable;
    const std::string mangled = many_arguments(9000, readable);
    CHECK(shown(mangled) == readable.substr(0, prof::detail::max_readable_name));
    CHECK(shown(mangled + ".cold") == readable.substr(0, prof::detail::max_readable_name) + " [clone .cold]");
}

// Each level holds the one before it twice: 30 of them stand for gigabytes. `argument` is what is doubled.
std::string doubling(const std::string& argument, int levels) {
    const std::string digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    std::string mangled = "_Z1fI1aI" + argument + argument + "E";
    std::string last = "S1_";
    for (int i = 0; i < levels; ++i) {
        mangled += "S0_I" + last + last + "E";
        last = std::string("S") + digits[static_cast<std::size_t>(i) + 2] + "_";
    }
    return mangled + "Evv";
}

TEST_CASE("no name takes more than its steps") {
    prof::detail::arena memory(prof::detail::os_pages);
    prof::detail::demangler names(memory);
    const auto steps = [&](const std::string& mangled) {
        const prof::detail::text_view text = names.demangle({mangled.data(), mangled.size()}, memory);
        CHECK(text.size <= prof::detail::max_readable_name);
        return names.steps();
    };
    constexpr std::uint32_t bound = prof::detail::mangled_name::max_steps + 100;
    for (int levels = 0; levels < 33; ++levels) {
        CHECK(steps(doubling("i", levels)) < bound);
        CHECK(steps(doubling("JE", levels)) < bound);  // and nothing is printed
        CHECK(steps(doubling("PFvvE", levels)) < bound);
        CHECK(steps(doubling("N1b1cE", levels)) < bound);
    }
    CHECK(steps(doubling("i", 10)) < 50000);
    CHECK(shown(doubling("i", 30)).size() == prof::detail::max_readable_name);
    // What would take more stays as it is: printed, these have few characters for many steps.
    std::string empty = "_Z1fIJEEv1aIDpT_S2_S2_S2_S2_S2_S2_S2_S2_S2_S2_S2_S2_S2_S2_S2_E";
    for (const char last : std::string("3456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
        empty += std::string("S0_IS") + last + "_S" + last + "_E";
    }
    CHECK(steps(empty) > prof::detail::mangled_name::max_steps);
    CHECK(steps(empty) < bound);
    CHECK(shown(empty) == empty);
    const std::string pointers = "_Z1f" + std::string(60000, 'P') + "i";
    CHECK(steps(pointers) < bound);
    CHECK(shown(pointers) == pointers);
}

TEST_CASE("what is copied, or taken back, has its price") {
    prof::detail::arena memory(prof::detail::os_pages);
    prof::detail::demangler names(memory);
    const auto steps = [&](const std::string& mangled) {
        names.demangle({mangled.data(), mangled.size()}, memory);
        return names.steps();
    };
    // The same text again is copied.
    CHECK(steps(doubling("i", 30)) < 1000);
    CHECK(steps(doubling("JEJEJEJEJEJEJEJEJEJEJEJEJEJEJEJE", 30)) < 1000);
    CHECK(steps("_Z1fI1aIiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiiEEvT_T_T_T_T_T_T_T_T_T_") < 200);
    // A class that is called ", , , ": in a pack at the end it is taken back, as often as it is there.
    std::string commas = "_Z1fI1a2000";
    for (int i = 0; i < 1000; ++i) commas += ", ";
    std::string packs;
    for (int i = 0; i < 100; ++i) packs += "JS1_E";
    CHECK(steps(commas + packs + "Evv") > 100000);
    std::string more;
    for (int i = 0; i < 1000; ++i) more += packs;
    CHECK(steps(commas + more + "Evv") < prof::detail::mangled_name::max_steps + 100);
}

int pages_left = 0;

TEST_CASE("where memory ends, a name stays as it is or is empty") {
    const prof::detail::page_source source{
        [](std::size_t size) noexcept -> void* { return pages_left-- > 0 ? prof::detail::os_pages.map(size) : nullptr; },
        prof::detail::os_pages.unmap};
    std::string many;
    std::string nested = "_Z1f";
    for (int i = 0; i < 5000; ++i) nested += "1AI";
    const std::string names[] = {"_Z3fooi", doubling("i", 30), many_arguments(2000, many),
                                 nested + "i" + std::string(5000, 'E')};
    for (int pages = 0; pages < 8; ++pages) {
        for (const std::string& name : names) {
            pages_left = pages;
            prof::detail::arena memory(source, 4096);
            const prof::detail::text_view text = prof::detail::demangle({name.data(), name.size()}, memory);
            const std::string answer(text.data, text.size);
            CHECK((answer.empty() || answer == name || answer == shown(name)));
            CHECK((pages != 0 || answer.empty()));
        }
    }
}

TEST_CASE("a demangler gives back what it takes") {
    prof::detail::arena memory(prof::detail::os_pages);
    std::size_t once = 0;
    for (int i = 0; i < 200; ++i) {
        CHECK(prof::detail::demangle("_ZN2ns3boxIiE3putEi", memory).equals("ns::box<int>::put(int)"));
        if (i == 0) once = memory.bytes();
    }
    CHECK(memory.bytes() == once);
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

// ---- the same as the C++ runtime's ---------------------------------------------------------------

#if PROF_DETAIL_OS_LINUX && defined(__GLIBCXX__)

// Mangled names in the symbol tables of an ELF file.
std::set<std::string> names_in(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string file{std::istreambuf_iterator<char>(in), {}};
    const auto read = [&](std::size_t at, auto value) {
        if (at + sizeof value <= file.size()) std::memcpy(&value, file.data() + at, sizeof value);
        return value;
    };
    std::set<std::string> names;
    const auto header = read(0, Elf64_Ehdr{});
    for (std::size_t i = 0; i < header.e_shnum; ++i) {
        const auto table = read(header.e_shoff + i * sizeof(Elf64_Shdr), Elf64_Shdr{});
        if (table.sh_type != SHT_SYMTAB && table.sh_type != SHT_DYNSYM) continue;
        const auto strings = read(header.e_shoff + table.sh_link * sizeof(Elf64_Shdr), Elf64_Shdr{});
        for (std::size_t at = 0; at < table.sh_size; at += sizeof(Elf64_Sym)) {
            const std::string name = file.data() + strings.sh_offset + read(table.sh_offset + at, Elf64_Sym{}).st_name;
            if (name.compare(0, 2, "_Z") == 0 && name.find('.') == std::string::npos) names.insert(name);
        }
    }
    return names;
}

std::string shown_by_runtime(const std::string& name) {
    int status = 0;
    char* const text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
    const std::string answer = text != nullptr ? text : name;
    std::free(text);
    return answer;
}

// Where GCC 12 does otherwise: a constructor or destructor of a lambda or of an unnamed type; a reference to a
// parameter that several templates share; what it refuses.
bool is_explained(const std::string& name, const std::string& runtime) {
    const bool special = name.find("Ut_C") != std::string::npos || name.find("Ut_D") != std::string::npos ||
                         name.find("E_D") != std::string::npos || name.find("18_Prepare_execution") != std::string::npos;
    return special || runtime == name;
}

void compare_with_runtime(const std::string& path, std::size_t at_least) {
    CAPTURE(path);
    std::size_t other = 0;
    std::size_t explained = 0;
    const std::set<std::string> names = names_in(path);
    CHECK(names.size() >= at_least);
    for (const std::string& name : names) {
        const std::string runtime = shown_by_runtime(name);
        const std::string ours = shown(name);
        if (ours == runtime) continue;
        WARN_MESSAGE(is_explained(name, runtime), name);
        ++(is_explained(name, runtime) ? explained : other);
    }
    CHECK(other * 1000 <= names.size());
    CHECK(explained * 100 <= names.size());
}

TEST_CASE("names of the program and of the C++ library read as the runtime shows them") {
    Dl_info library{};
    CHECK(dladdr(dlsym(RTLD_DEFAULT, "__cxa_demangle"), &library) != 0);
    compare_with_runtime("/proc/self/exe", 500);
    compare_with_runtime(library.dli_fname, 2000);
}

#endif

}  // namespace
