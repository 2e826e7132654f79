// prof/symbol/name_node.hpp - what a C++ linker name is made of: kinds of nodes, operators, special names, words.
// Floor 9 (symbol). Used by mangled_name.hpp, which makes nodes, and readable_name.hpp, which prints them.
// Safety: constants and pure functions.
// Memory: none.
// Source: Itanium C++ ABI 5.1: 5.1.3 operators, 5.1.4 special names, 5.1.5 types; texts as libiberty (GCC 12) has them.
#ifndef PROF_SYMBOL_NAME_NODE_HPP
#define PROF_SYMBOL_NAME_NODE_HPP

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// ---- nodes -------------------------------------------------------------------------------------

// Kinds up to `number` are leaves: their a and b are no nodes. Of the others both are; 0 is none.
enum class name_kind : std::uint8_t {
  none,
  text,                // characters a to a + b of the mangled name
  word,                // a known word: a is its letter, or two of them
  standard,            // std::string and the like by letter a; extra: written in full
  operator_name,       // row a of the operators
  function_parameter,  // a of a function's, in expressions; 0 is `this`
  template_parameter,  // argument a of the template it is in: which one, is known when it is printed
  pack,                // the b cells from a on: what a parameter pack stands for
  number,
  list,  // the b cells from a on; the only kind with children that are neither a nor b
  cell,
  qualified_name,  // a::b
  local_name,      // the same, a is a function
  default_argument,
  template_name,  // a<b>
  tagged_name,
  module_name,
  attached_name,  // a of module b
  constructor,
  destructor,
  conversion,
  literal_operator,
  lambda,
  unnamed_type,
  bindings,
  qualified_member,  // the name of a function whose qualifiers are in extra
  encoding,          // a function's name and type
  special,           // row extra of the special names
  block,
  qualified_type,  // extra: qualifiers
  vendor_qualified,
  pointer,
  lvalue_reference,
  rvalue_reference,
  complex,
  imaginary,
  member_pointer,  // to a b of class a
  array,           // a: bound, b: element
  vector,
  function,   // a: what it returns, b: signature; extra: qualifiers
  signature,  // a: parameters, b: exception specification
  exception_specification,
  expansion,
  decltype_of,
  constrained_auto,
  numbered_type,  // extra: 0 _BitInt, 1 unsigned _BitInt, 2 _Float; a: how many bits
  expression,         // row extra of the operators; a and b, or b is a cell of two
  literal,            // extra: negative
  cast,
  braced,
  call_of_vendor,
};

// Qualifiers in the order in which they are printed.
enum : std::uint16_t {
  noexcept_bit = 1,
  transaction_safe_bit = 2,
  const_bit = 4,
  volatile_bit = 8,
  restrict_bit = 16,
  lvalue_bit = 32,
  rvalue_bit = 64,
};

enum : std::uint8_t {
  parameter_bit = 1,  // this is a template_parameter, or one is below
  suffix_bit = 2,     // the same of what a type may print behind what has it: an array, a function, a parameter
  shared_bit = 4,     // referred to more than once
};

struct name_node {
  name_kind kind;
  std::uint8_t flags;
  std::uint16_t extra;
  std::uint32_t a;
  std::uint32_t b;
  std::uint16_t shown_at;  // where in the readable name it is, for readable_name.hpp
  std::uint16_t shown_size;
};

// ---- tables ------------------------------------------------------------------------------------

// How an operator is read and shown in an expression.
enum class operand_form : std::uint8_t {
  none,
  prefix,
  postfix,     // ++ and --, which may stand on either side
  of_type,     // sizeof (type)
  in_parens,   // noexcept (expression)
  scope,       // ::x
  pack_size,   // sizeof...
  args_size,
  binary,
  index,
  call,
  member,
  named_cast,  // const_cast<type>(expression)
  fold,
  field,    // .name = value
  element,  // [index] = value
  // of three operands
  binary_fold,
  elements,  // [first ... last] = value
  conditional,
  new_object,
};

struct operator_row {
  char code[2];
  operand_form form;
  char text[17];
};

inline constexpr operator_row all_operators[] = {
    {{'a', 'N'}, operand_form::binary, "&="},
    {{'a', 'S'}, operand_form::binary, "="},
    {{'a', 'a'}, operand_form::binary, "&&"},
    {{'a', 'd'}, operand_form::prefix, "&"},
    {{'a', 'n'}, operand_form::binary, "&"},
    {{'a', 't'}, operand_form::of_type, "alignof "},
    {{'a', 'w'}, operand_form::prefix, "co_await "},
    {{'a', 'z'}, operand_form::prefix, "alignof "},
    {{'c', 'c'}, operand_form::named_cast, "const_cast"},
    {{'c', 'l'}, operand_form::call, "()"},
    {{'c', 'm'}, operand_form::binary, ","},
    {{'c', 'o'}, operand_form::prefix, "~"},
    {{'d', 'V'}, operand_form::binary, "/="},
    {{'d', 'X'}, operand_form::elements, "[...]="},
    {{'d', 'a'}, operand_form::prefix, "delete[] "},
    {{'d', 'c'}, operand_form::named_cast, "dynamic_cast"},
    {{'d', 'e'}, operand_form::prefix, "*"},
    {{'d', 'i'}, operand_form::field, "="},
    {{'d', 'l'}, operand_form::prefix, "delete "},
    {{'d', 's'}, operand_form::binary, ".*"},
    {{'d', 't'}, operand_form::member, "."},
    {{'d', 'v'}, operand_form::binary, "/"},
    {{'d', 'x'}, operand_form::element, "]="},
    {{'e', 'O'}, operand_form::binary, "^="},
    {{'e', 'o'}, operand_form::binary, "^"},
    {{'e', 'q'}, operand_form::binary, "=="},
    {{'f', 'L'}, operand_form::binary_fold, "..."},
    {{'f', 'R'}, operand_form::binary_fold, "..."},
    {{'f', 'l'}, operand_form::fold, "..."},
    {{'f', 'r'}, operand_form::fold, "..."},
    {{'g', 'e'}, operand_form::binary, ">="},
    {{'g', 's'}, operand_form::scope, "::"},
    {{'g', 't'}, operand_form::binary, ">"},
    {{'i', 'x'}, operand_form::index, "[]"},
    {{'l', 'S'}, operand_form::binary, "<<="},
    {{'l', 'e'}, operand_form::binary, "<="},
    {{'l', 's'}, operand_form::binary, "<<"},
    {{'l', 't'}, operand_form::binary, "<"},
    {{'m', 'I'}, operand_form::binary, "-="},
    {{'m', 'L'}, operand_form::binary, "*="},
    {{'m', 'i'}, operand_form::binary, "-"},
    {{'m', 'l'}, operand_form::binary, "*"},
    {{'m', 'm'}, operand_form::postfix, "--"},
    {{'n', 'a'}, operand_form::new_object, "new[]"},
    {{'n', 'e'}, operand_form::binary, "!="},
    {{'n', 'g'}, operand_form::prefix, "-"},
    {{'n', 't'}, operand_form::prefix, "!"},
    {{'n', 'w'}, operand_form::new_object, "new"},
    {{'n', 'x'}, operand_form::in_parens, "noexcept"},
    {{'o', 'R'}, operand_form::binary, "|="},
    {{'o', 'o'}, operand_form::binary, "||"},
    {{'o', 'r'}, operand_form::binary, "|"},
    {{'p', 'L'}, operand_form::binary, "+="},
    {{'p', 'l'}, operand_form::binary, "+"},
    {{'p', 'm'}, operand_form::binary, "->*"},
    {{'p', 'p'}, operand_form::postfix, "++"},
    {{'p', 's'}, operand_form::prefix, "+"},
    {{'p', 't'}, operand_form::member, "->"},
    {{'q', 'u'}, operand_form::conditional, "?"},
    {{'r', 'M'}, operand_form::binary, "%="},
    {{'r', 'S'}, operand_form::binary, ">>="},
    {{'r', 'c'}, operand_form::named_cast, "reinterpret_cast"},
    {{'r', 'm'}, operand_form::binary, "%"},
    {{'r', 's'}, operand_form::binary, ">>"},
    {{'s', 'P'}, operand_form::args_size, "sizeof..."},
    {{'s', 'Z'}, operand_form::pack_size, "sizeof..."},
    {{'s', 'c'}, operand_form::named_cast, "static_cast"},
    {{'s', 's'}, operand_form::binary, "<=>"},
    {{'s', 't'}, operand_form::of_type, "sizeof "},
    {{'s', 'z'}, operand_form::prefix, "sizeof "},
    {{'t', 'e'}, operand_form::prefix, "typeid "},
    {{'t', 'i'}, operand_form::of_type, "typeid "},
    {{'t', 'r'}, operand_form::none, "throw"},
    {{'t', 'w'}, operand_form::prefix, "throw "},
};

inline constexpr auto operator_count = static_cast<std::uint16_t>(sizeof all_operators / sizeof all_operators[0]);

// What is read behind the code of a special name, as mangled_name::todo_all has it, and how it is shown, as
// readable_name::put_pattern has it.
struct special_row {
  char code[2];
  char parts[4];
  char pattern[34];
};

inline constexpr special_row all_specials[] = {
    {{'T', 'V'}, "T", "vtable for %a"},
    {{'T', 'T'}, "T", "VTT for %a"},
    {{'T', 'I'}, "T", "typeinfo for %a"},
    {{'T', 'S'}, "T", "typeinfo name for %a"},
    {{'T', 'F'}, "T", "typeinfo fn for %a"},
    {{'T', 'C'}, "ToT", "construction vtable for %b-in-%a"},
    {{'T', 'h'}, "oE", "non-virtual thunk to %a"},
    {{'T', 'v'}, "ooE", "virtual thunk to %a"},
    {{'T', 'c'}, "ccE", "covariant return thunk to %a"},
    {{'T', 'H'}, "N", "TLS init function for %a"},
    {{'T', 'W'}, "N", "TLS wrapper function for %a"},
    {{'T', 'A'}, "A", "template parameter object for %a"},
    {{'G', 'V'}, "N", "guard variable for %a"},
    {{'G', 'R'}, "N", "reference temporary #%b for %a"},
    {{'G', 'A'}, "E", "hidden alias for %a"},
    {{'G', 'T'}, "E", "transaction clone for %a"},
    {{'-', '-'}, "E", "non-transaction clone for %a"},
    {{'G', 'I'}, "m", "initializer for module %a"},
};

inline constexpr auto special_count = static_cast<std::uint16_t>(sizeof all_specials / sizeof all_specials[0]);

// ---- words -------------------------------------------------------------------------------------

constexpr std::uint32_t word_letters(char first, char second = '\0') noexcept {
  return static_cast<std::uint32_t>(static_cast<unsigned char>(first) | static_cast<unsigned char>(second) << 8);
}
// Known words by their letters, as names have them: 'i', 'D' 'a'; our own for what has no letter there.
inline const char* word_text(std::uint32_t letters) noexcept {
  static constexpr const char* one_letter[] = {
      "signed char", "bool", "char", "double", "long double", "float", "__float128", "unsigned char", "int",
      "unsigned int", nullptr, "long", "unsigned long", "__int128", "unsigned __int128", nullptr, nullptr,
      nullptr, "short", "unsigned short", nullptr, "void", "wchar_t", "long long", "unsigned long long", "..."};
  static constexpr struct {
    char code[3];
    char text[22];
  } two_letters[] = {{"Da", "auto"},        {"Dc", "decltype(auto)"},
                     {"Dd", "decimal64"},   {"De", "decimal128"},
                     {"Df", "decimal32"},   {"Dh", "half"},
                     {"Di", "char32_t"},    {"Dn", "decltype(nullptr)"},
                     {"Ds", "char16_t"},    {"Du", "char8_t"},
                     {"Fb", "std::bfloat16_t"}, {"Na", "(anonymous namespace)"},
                     {"Ls", "string literal"},  {"rq", "requires {...}"}};
  if (letters >= 'a' && letters <= 'z') return one_letter[letters - 'a'];
  if (letters == word_letters('S', 't')) return "std";
  for (const auto& row : two_letters) {
    if (letters == word_letters(row.code[0], row.code[1])) return row.text;
  }
  return nullptr;
}

PROF_DETAIL_END

#endif  // PROF_SYMBOL_NAME_NODE_HPP
