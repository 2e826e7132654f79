// tests/fuzz/http_fuzz.cpp - whatever is sent as a request: its end is the same found at once or
// byte by byte, every text of the parsed request lies in the bytes or the arena, and a request that
// is let through names a loopback host and comes from no other site.

#include "prof/http/http.hpp"

#include "fuzz.hpp"

namespace {

using namespace prof::detail;

std::size_t end_byte_by_byte(text_view input) {
  std::size_t end = 0;
  for (std::size_t size = 1; size <= input.size && end == 0; ++size) {
    end = http_head_end({input.data, size}, size - 1);
  }
  return end;
}

// A plainer reading than prof's: only what a loopback name cannot hold is looked for.
bool may_be_loopback(std::string host) {
  for (char& c : host) c = to_lower(c);
  if (host.rfind("localhost", 0) == 0) return host.size() == 9 || host[9] == ':';
  if (host.rfind("127.", 0) == 0) return host.find_first_not_of("0123456789.:") == host.npos;
  return host.rfind("[", 0) == 0 && host.find_first_not_of("[]0123456789:") == host.npos &&
         host.find("1]") != host.npos;
}

void check_texts(const http_request& request, text_view head, const fuzz::page_book& book) {
  for (const text_view text : {request.method, request.query, request.fields}) {
    FUZZ_REQUIRE(text.size == 0 || fuzz::lies_in(text, head.data, head.size));
  }
  FUZZ_REQUIRE(request.path.size == 0 || book.holds(request.path));
  for (const char* name : {"host", "content-length", "sec-fetch-site", "connection"}) {
    text_view value;
    if (!request.find_header(name, value)) continue;
    FUZZ_REQUIRE(value.size == 0 || fuzz::lies_in(value, head.data, head.size));
  }
  for (const char* name : {"seconds", "debug", ""}) {
    text_view value;
    if (!request.parameter(name, value)) continue;
    FUZZ_REQUIRE(value.size == 0 || book.holds(value));
  }
}

void check_accepted(const http_request& request) {
  FUZZ_REQUIRE(is_token(request.method));
  FUZZ_REQUIRE(request.path.starts_with({"/", 1}));
  FUZZ_REQUIRE(request.path.find('\0') == request.path.size);
  FUZZ_REQUIRE(request.body_size <= http_body_limit);
  const http_rules rules;
  if (http_check(request, rules).status != 0) return;
  FUZZ_REQUIRE(may_be_loopback(fuzz::to_string(request.header("host"))));
  FUZZ_REQUIRE(!request.header("sec-fetch-site").equals("cross-site") ||
               request.path.equals(rules.index));
  FUZZ_REQUIRE(request.method.equals("GET") || request.method.equals("HEAD") ||
               (request.method.equals("POST") && request.path.equals(rules.post)));
}

bool is_known(int status) {
  for (const int known : {0, 400, 411, 413, 501, 505}) {
    if (status == known) return true;
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const text_view input{reinterpret_cast<const char*>(data), size};
  const std::size_t end = http_head_end(input, 0);
  FUZZ_REQUIRE(end <= size && end == end_byte_by_byte(input));
  if (end == 0) return 0;

  const text_view head{input.data, end};
  fuzz::pages from;
  arena memory(fuzz::pages::from(), fuzz::pages::first_chunk);
  http_request request;
  const http_refusal why = http_parse_head(head, memory, request);
  FUZZ_REQUIRE(is_known(why.status));
  check_texts(request, head, from.book);
  if (why.status == 0) check_accepted(request);
  return 0;
}
