// tests/unit/symbol/name_node_test.cpp - the tables of operators, special names and words.

#include <prof/symbol/name_node.hpp>

#include <doctest/doctest.h>

#include <set>
#include <string>

namespace {

using namespace prof::detail;

TEST_CASE("each code of an operator or a special name is there once") {
    std::set<std::string> codes;
    for (const operator_row& row : all_operators) {
        CHECK(codes.insert(std::string(row.code, 2)).second);
        CHECK(row.text[0] != '\0');
    }
    CHECK(codes.size() == operator_count);
    for (const special_row& row : all_specials) CHECK(codes.insert(std::string(row.code, 2)).second);
    CHECK(codes.size() == std::size_t{operator_count} + special_count);
}

TEST_CASE("words have texts, other letters have none") {
    CHECK(word_text('i') == std::string("int"));
    CHECK(word_text('z') == std::string("..."));
    CHECK(word_text(word_letters('D', 'a')) == std::string("auto"));
    for (const char none : {'k', 'p', 'q', 'r', 'u', 'A', '0', '\0', '\xff'}) CHECK(word_text(word_letters(none)) == nullptr);
    CHECK(word_text(word_letters('D', '\xea')) == nullptr);
}

}  // namespace
