// tests/unit/symbol/mangled_name_test.cpp - what is a name, where it ends, and how much a hostile one may take.

#include <prof/symbol/mangled_name.hpp>

#include <doctest/doctest.h>

#include <string>

#include <prof/os/os.hpp>

namespace {

using namespace prof::detail;

constexpr std::size_t refused = ~std::size_t{0};

// Where the name that a text begins with ends.
std::size_t end_of(const std::string& text) {
    arena memory(os_pages);
    mangled_name name(memory);
    const bool read = name.parse({text.data(), text.size()});
    CHECK(name.steps() <= mangled_name::max_steps + 1);
    return read ? name.end() : refused;
}

TEST_CASE("a name ends where its grammar says") {
    CHECK(end_of("_Z3foov") == 7);
    CHECK(end_of("_Z3foov.cold") == 7);
    CHECK(end_of("_Z3foo.cold") == 6);
    CHECK(end_of("_Z3fooi@plt") == 7);
    CHECK(end_of("_Z5a.b.cv.part.0") == 9);
    CHECK(end_of("_ZTV1A.local") == 6);
    CHECK(end_of("___Z1fv_block_invoke.cold") == 20);
}

TEST_CASE("what is no name is refused") {
    for (const char* text : {"", "_", "_Z", "_Z.", "_Z0", "_Z4foo", "_Z99999999999999999999a", "_ZN", "_ZNE", "_ZN3foo",
                             "_ZN3fooI", "_ZS", "_ZS_", "_ZSZ", "_ZSZZZZZZZ_", "_Z1fS_", "_Z1fS0_", "_Z1fIiE1", "_ZT",
                             "_ZTX", "_ZG", "_ZGV", "_ZThn8", "_ZThn8_", "_ZTch0_", "_ZTC1A0", "_Z1fM1A", "_Z1fA3",
                             "_Z1fA3_", "_Z1fPFv", "_Z1fKDo", "_Z1fDOLb1EFvvE", "_Z1fU1a", "_Z1fu", "_ZC1v", "_ZN1AC",
                             "_ZN1ACEv", "_ZZ1fv", "_ZZ1fvE", "_ZZ1fvEd", "_ZUl", "_ZUlvE", "_ZUt", "_Zcv", "_Zli", "_Zxx",
                             "_Z1fIL", "_Z1fILi", "_Z1fILiE1", "_Z1fILi1", "_Z1fIX", "_Z1fIXpl", "_Z1fIXplLi1ELi2E",
                             "_Z1fIXtlE", "_Z1fIJ", "_Z1fDF", "_Z1fDB", "_Z1fDv", "_Z1fDT", "_Z1fD", "_ZW", "_ZDC", "_ZDC1a",
                             "_Z1f\xff", "_Z1fD\xea", "_Z1fIiEvT", "_Z1fIiEvTL", "___Z1fv", "___Z1fv_block", "__Z1fv", "Z1fv", "foo"}) {
        CAPTURE(text);
        CHECK((end_of(text) == refused || end_of(text) < std::string(text).size()));
    }
}

TEST_CASE("every beginning of a name is read or refused") {
    const std::string name =
        "_ZNK3mdr1AILi3EXadL_Z1gvEEJifDpT_EE16in_cachedIRZNK4cudr6GPUSet8for_eachIZN5tns3d7executeERKNS_1AINS_7ptr_refIKjEELl3E"
        "EEEUliRKNS1_7ContextEE_JSt6vectorISO_SaISO_EEEEEvOT_DpRT0_EUlSP_E_JSt4wrapISO_EEEENS_2SFIDTclfp_spcl7forwardIS"
        "W_Efp0_EEEEESV_DpOSW_PKDoFvPFivEA3_A_iM1AKFvvERE";
    for (std::size_t size = 0; size <= name.size(); ++size) {
        const std::size_t end = end_of(name.substr(0, size));
        CHECK((end == refused || end <= size));
    }
}

TEST_CASE("depth is no matter of the stack") {
    const std::string pointers = "_Z1f" + std::string(20000, 'P') + "i";
    CHECK(end_of(pointers) == pointers.size());
    std::string nested = "_Z1f";
    std::string ends;
    for (int i = 0; i < 5000; ++i) {
        nested += "1AI";
        ends += "E";
    }
    CHECK(end_of(nested + "i" + ends) == nested.size() + 1 + ends.size());
    CHECK(end_of("_Z1fIX" + std::string(20000, 'n')) == refused);
    std::string negated = "_Z1fIX";
    for (int i = 0; i < 5000; ++i) negated += "ng";
    CHECK(end_of(negated + "Li1EEEvv") == negated.size() + 8);
    std::string local = "_Z";
    for (int i = 0; i < 5000; ++i) local += "Z";
    CHECK(end_of(local + "1fvE1x") == refused);
}

TEST_CASE("a name of more nodes or steps than are read is refused") {
    CHECK(end_of("_Z1f" + std::string(30000, 'i')) == 30004);
    CHECK(end_of("_Z1f" + std::string(70000, 'i')) == refused);
    CHECK(end_of("_Z1f" + std::string(1000000, 'P') + "i") == refused);
    const std::size_t most = mangled_name::max_characters - 8;
    CHECK(end_of("_Z" + std::to_string(most) + std::string(most, 'a')) == most + 8);
    CHECK(end_of("_Z" + std::to_string(most) + std::string(most + 1, 'a')) == refused);
    CHECK(end_of("_Z" + std::to_string(most) + std::string(most - 1, 'a')) == refused);
}

TEST_CASE("of a longer name before nothing is left") {
    arena memory(os_pages);
    mangled_name name(memory);
    CHECK(name.parse({"_Z1fiiii", 8}));
    CHECK(name.parse({"_Z1gi", 5}));
    CHECK(name.end() == 5);
    CHECK(name.text().equals("_Z1gi"));
    CHECK_FALSE(name.parse({"_ZN1f", 5}));
}

TEST_CASE("nodes are used again, and given back") {
    arena memory(os_pages);
    std::size_t once = 0;
    for (int i = 0; i < 100; ++i) {
        mangled_name name(memory);
        CHECK(name.parse({"_Z1fiiii", 8}));
        CHECK(name.parse({"_Z1giiii", 8}));
        if (i == 0) once = memory.bytes();
    }
    CHECK(memory.bytes() == once);
}

TEST_CASE("without memory nothing is read") {
    const page_source none{[](std::size_t) noexcept -> void* { return nullptr; }, [](void*, std::size_t) noexcept {}};
    arena memory(none);
    mangled_name name(memory);
    CHECK_FALSE(name.parse({"_Z1fi", 5}));
}

}  // namespace
