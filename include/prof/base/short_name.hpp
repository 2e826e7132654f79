// prof/base/short_name.hpp - readable names without what people do not look for in them.
// Floor 2 (base). Used for names that people read in a line: top, text, pages. Files keep names whole.
// Safety: ordinary context; thread-compatible (one arena, one thread). Brackets deeper than max_depth end it: what
//         follows stays.
// Memory: the result is in the arena.
// Source: names as symbol/readable_name.hpp and libiberty write them; inline namespaces of libstdc++ and libc++.
#ifndef PROF_BASE_SHORT_NAME_HPP
#define PROF_BASE_SHORT_NAME_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

// Template arguments become <...>, and std::__cxx11:: and std::__1:: become std::. Operators, lambdas, and names
// without templates stay as they are.
class name_shortener {
 public:
  name_shortener(text_view name, char* room) noexcept : name_(name), out_(room) {}

  // Writes at most as many characters as the name has, or three for each of its brackets; returns how many.
  std::size_t shorten() noexcept {
    while (at_ < name_.size) {
      if (!is_word(before()) && rest().starts_with({"operator", 8}) && !is_word(ahead(8))) put_operator();
      else if (!is_word(before()) && before() != ':' && rest().starts_with({"std::__", 7})) put_std();
      else if (ahead(0) == '<' && opens_arguments()) put_arguments();
      else copy(1);
    }
    return used_;
  }

 private:
  static constexpr std::size_t max_depth = 256;

  text_view rest() const noexcept { return name_.from(at_); }
  char ahead(std::size_t count) const noexcept { return at_ + count < name_.size ? name_.data[at_ + count] : '\0'; }
  char before() const noexcept { return at_ != 0 ? name_.data[at_ - 1] : '\0'; }
  static bool is_word(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           (static_cast<unsigned char>(c) & 0x80) != 0;
  }
  void copy(std::size_t count) noexcept {
    std::memcpy(out_ + used_, name_.data + at_, count);
    used_ += count;
    at_ += count;
  }

  // The length of the symbol that an operator is called by and that has a bracket in it; 0 for any other operator.
  static std::size_t symbol_length(text_view text) noexcept {
    static constexpr const char* symbols[] = {"<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "()", "<", ">"};
    for (const char* symbol : symbols) {
      if (text.starts_with(symbol)) return text_view(symbol).size;
    }
    return 0;
  }
  // A symbol is not a bracket. Behind one that ends with it, arguments are a blank apart.
  void put_operator() noexcept {
    copy(8);
    copy(symbol_length(rest()));
    if (ahead(0) == ' ' && ahead(1) == '<') copy(1);
    if (ahead(0) == '<') put_arguments();
  }
  void put_std() noexcept {
    copy(5);
    if (rest().starts_with({"__cxx11::", 9})) at_ += 9;
    else if (rest().starts_with({"__1::", 5})) at_ += 5;
  }

  // Other brackets, as in "<lambda(int)>", are a part of a name.
  bool opens_arguments() const noexcept { return is_word(before()) || before() == ']'; }
  void put_arguments() noexcept {
    const std::size_t length = arguments_length(rest());
    if (length == 0) return copy(name_.size - at_);
    if (length <= 2) return copy(length);  // there are none
    std::memcpy(out_ + used_, "<...>", 5);
    used_ += 5;
    at_ += length;
  }
  // Up to the bracket that closes the first one; 0 when none does. In parentheses an expression may have a bracket
  // that is an operator.
  static std::size_t arguments_length(text_view text) noexcept {
    char open[max_depth];
    std::size_t depth = 0;
    for (std::size_t i = 0; i < text.size; ++i) {
      const char c = text.data[i];
      if (c == 'o' && (i == 0 || !is_word(text.data[i - 1])) && text.from(i).starts_with({"operator", 8})) {
        i += 7 + symbol_length(text.from(i + 8));
      } else if (c == '<' || c == '(' || c == '{' || c == '[') {
        if (depth == max_depth) return 0;
        open[depth++] = c;
      } else if (c == ')' || c == '}' || c == ']') {
        while (depth != 0 && open[depth - 1] == '<') --depth;
        if (depth <= 1) return 0;
        --depth;
      } else if (c == '>' && text.data[i - 1] != '-' && open[depth - 1] == '<') {
        if (--depth == 0) return i + 1;
      }
    }
    return 0;
  }

  text_view name_;
  char* out_;
  std::size_t at_ = 0;
  std::size_t used_ = 0;
};

// A readable name as people say it: "std::vector<...>::push_back(int&&)". NUL-terminated in the arena; empty when out
// of memory.
inline text_view shorten(text_view name, arena& memory) noexcept {
  std::size_t brackets = 0;
  for (std::size_t i = 0; i < name.size; ++i) brackets += name.data[i] == '<' ? 1 : 0;
  char* const room = static_cast<char*>(memory.allocate(name.size + 2 * brackets + 1));
  if (room == nullptr) return {};
  const std::size_t size = name_shortener(name, room).shorten();
  room[size] = '\0';
  return {room, size};
}

PROF_DETAIL_END

#endif  // PROF_BASE_SHORT_NAME_HPP
