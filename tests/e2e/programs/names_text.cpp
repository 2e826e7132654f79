// names_text.cpp - strings, streams, regular expressions; see names_work.hpp.
#include "names_work.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <regex>
#include <sstream>

namespace work {
namespace {

// Of the same name in names_shapes.cpp.
static __attribute__((noinline)) number helper(number x) {
  std::string digits = std::to_string(x);
  std::reverse(digits.begin(), digits.end());
  return std::stoull(digits.substr(0, 9)) + second_step(x);
}

// With the body of another in names_shapes.cpp.
static __attribute__((noinline)) number summed_texts(const std::vector<number>& values) {
  number sum = 1;
  for (const number v : values) {
    sum = mix(sum ^ third_step(v));
    if (v % 17 == 3) sum += fourth_step(sum) ^ fourth_step(v + 9) ^ second_step(v / 5);
    if (v % 19 == 4) sum ^= mix(first_step(v) + third_step(sum));
  }
  return sum;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::string part;
  for (std::istringstream in(text); std::getline(in, part, at);) {
    part.erase(std::remove_if(part.begin(), part.end(), [](unsigned char c) { return std::ispunct(c) != 0; }),
               part.end());
    if (!part.empty()) parts.push_back(std::move(part));
  }
  return parts;
}

number matches(const std::string& text) {
  static const std::regex assignment("([a-z]+)=([0-9]+)(;|$)", std::regex::optimize);
  number sum = 0;
  for (std::sregex_iterator at(text.begin(), text.end(), assignment), end; at != end; ++at) {
    sum += mix(std::stoull((*at)[2].str())) + (*at)[1].length();
  }
  return sum;
}

struct token {
  enum class kind { word, digits, other } what;
  std::string text;
  bool operator<(const token& other) const { return what != other.what ? what < other.what : text < other.text; }
};

token token_of(std::string text) {
  if (std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c) != 0; }))
    return {token::kind::digits, std::move(text)};
  if (std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalpha(c) != 0; }))
    return {token::kind::word, std::move(text)};
  return {token::kind::other, std::move(text)};
}

}  // namespace

number texts(number rounds) {
  number sum = 0;
  ring<std::string, 8> latest;
  for (number round = 0; round < rounds; ++round) {
    std::ostringstream out;
    for (number i = 0; i < 20; ++i) out << "key" << char('a' + i) << "x=" << helper(i + round) % 1000 << "; ";
    const std::string text = out.str();
    sum += matches(text);
    std::vector<token> tokens;
    const auto parts = split(text, ' ');
    std::transform(parts.begin(), parts.end(), std::back_inserter(tokens), token_of);
    std::stable_sort(tokens.begin(), tokens.end());
    sum += each(tokens, [](const token& one) { return sum_of<number>(one.text.size(), one.text[0], 3); });
    sum += summed_texts(std::vector<number>(20, round));
    if (latest.full()) sum += latest.pop().size();
    latest.push(tokens.front().text);
    try {
      sum += static_cast<number>(text.at(text.size() + round % 2));
    } catch (const std::out_of_range&) {
      sum += helper(round);
    }
  }
  return sum;
}

}  // namespace work
