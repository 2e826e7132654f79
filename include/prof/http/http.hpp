// prof/http/http.hpp - HTTP requests: parsed, checked, refused.
// Floor 12 (http). Used by the server and the routes. Knows no socket and no profile.
// Safety: ordinary context; pure but for the arena it is given.
// Memory: a request borrows the bytes it was parsed from; decoded texts are in the arena of the
//         connection, which is released after the response.
// Source: RFC 9110 and 9112; W3C Fetch Metadata.
#ifndef PROF_HTTP_HTTP_HPP
#define PROF_HTTP_HTTP_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/http/address.hpp"

PROF_DETAIL_BEGIN

// A head of ours is under 1 KiB; browsers with many cookies for localhost stay under 8.
inline constexpr std::size_t http_head_limit = std::size_t{8} << 10;
// pprof asks symbol for the addresses of one profile in one body; 1 MiB is 50,000 of them.
inline constexpr std::size_t http_body_limit = std::size_t{1} << 20;

// Why a request is not passed on. status 0: it is.
struct http_refusal {
  int status = 0;
  const char* text = "";
  text_view allow;  // for 405
};

// ---- texts of the protocol ---------------------------------------------------------------------

inline bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t';
}

inline text_view trim_blanks(text_view text) noexcept {
  while (text.size != 0 && is_blank(text.data[0])) text = text.from(1);
  while (text.size != 0 && is_blank(text.data[text.size - 1])) --text.size;
  return text;
}

// Method and field names: RFC 9110 5.6.2.
inline bool is_token(text_view text) noexcept {
  constexpr text_view marks{"!#$%&'*+-.^_`|~", 15};
  for (std::size_t i = 0; i < text.size; ++i) {
    const char c = to_lower(text.data[i]);
    const bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!alphanumeric && marks.find(c) == marks.size) return false;
  }
  return text.size != 0;
}

// Whether a comma-separated field holds a word: "keep-alive, Close" holds "close".
inline bool list_holds(text_view list, text_view word) noexcept {
  while (list.size != 0) {
    const std::size_t end = list.find(',');
    if (equals_ignoring_case(trim_blanks({list.data, end}), word)) return true;
    list = list.from(end == list.size ? end : end + 1);
  }
  return false;
}

inline int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  c = to_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Undoes %41 (and + for a blank, in queries). False on a bad escape or an exhausted arena.
inline bool percent_decode(text_view from, bool plus, arena& memory, text_view& to) noexcept {
  char* const place = static_cast<char*>(memory.allocate(from.size + 1));
  if (place == nullptr) return false;
  std::size_t n = 0;
  for (std::size_t i = 0; i < from.size; ++i) {
    char c = from.data[i];
    if (c == '%') {
      if (from.size - i < 3) return false;
      const int high = hex_digit(from.data[i + 1]);
      const int low = hex_digit(from.data[i + 2]);
      if (high < 0 || low < 0) return false;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (plus && c == '+') {
      c = ' ';
    }
    place[n++] = c;
  }
  to = {place, n};
  return true;
}

// Takes the first line off a text, without its CRLF or LF (RFC 9112 2.2 allows the bare LF).
inline text_view take_line(text_view& text) noexcept {
  const std::size_t next = text.next_line();
  text_view line{text.data, next};
  text = text.from(next);
  if (line.size != 0 && line.data[line.size - 1] == '\n') --line.size;
  if (line.size != 0 && line.data[line.size - 1] == '\r') --line.size;
  return line;
}

// ---- request -----------------------------------------------------------------------------------

// One request. Its texts live until the response is complete, also while a job waits.
struct http_request {
  text_view method;
  text_view path;   // decoded: "/debug/pprof/heap"
  text_view query;  // as sent, without the question mark
  text_view body;
  text_view fields;  // the header lines as sent
  std::size_t body_size = 0;
  bool keep_alive = false;
  bool is_http_1_1 = false;
  arena* memory = nullptr;

  // The first field of that name; false when there is none.
  bool find_header(text_view name, text_view& value) const noexcept {
    for (text_view rest = fields; rest.size != 0;) {
      const text_view line = take_line(rest);
      const std::size_t colon = line.find(':');
      if (colon == line.size || !equals_ignoring_case({line.data, colon}, name)) continue;
      value = trim_blanks(line.from(colon + 1));
      return true;
    }
    return false;
  }
  text_view header(text_view name) const noexcept {
    text_view value;
    find_header(name, value);
    return value;
  }

  // The first parameter of that name, decoded into the arena; false when there is none. As in Go,
  // a pair with a bad escape or a semicolon counts as not sent.
  bool parameter(text_view name, text_view& value) const noexcept {
    for (text_view rest = query; rest.size != 0;) {
      const std::size_t end = rest.find('&');
      const text_view pair{rest.data, end};
      rest = rest.from(end == rest.size ? end : end + 1);
      const std::size_t equals = pair.find('=');
      text_view key;
      text_view found;
      if (pair.find(';') != pair.size) continue;
      if (!percent_decode({pair.data, equals}, true, *memory, key) || !key.equals(name)) continue;
      const text_view sent = equals == pair.size ? text_view{} : pair.from(equals + 1);
      if (!percent_decode(sent, true, *memory, found)) continue;
      value = found;
      return true;
    }
    return false;
  }
};

// The length of the head with its empty line, 0 while it is incomplete. `searched` bytes were
// looked at before, so that a request sent byte by byte is not read again and again.
inline std::size_t http_head_end(text_view input, std::size_t searched) noexcept {
  std::size_t at = searched < 3 ? 0 : searched - 3;
  for (;;) {
    at += input.from(at).next_line();
    if (at == input.size) return 0;
    const text_view rest = input.from(at);
    if (rest.starts_with({"\n", 1})) return at + 1;
    if (rest.starts_with({"\r\n", 2})) return at + 2;
  }
}

inline http_refusal http_parse_target(text_view target, http_request& request) noexcept {
  for (std::size_t i = 0; i < target.size; ++i) {
    const auto c = static_cast<unsigned char>(target.data[i]);
    if (c <= ' ' || c >= 127 || c == '#') return {400, "malformed request target", {}};
  }
  // "http://host/path" is for proxies; it would be a second place for a host name.
  if (!target.starts_with({"/", 1})) return {400, "the request target must begin with /", {}};
  const std::size_t mark = target.find('?');
  if (mark != target.size) request.query = target.from(mark + 1);
  const text_view path{target.data, mark};
  const bool decoded = percent_decode(path, false, *request.memory, request.path);
  if (!decoded) return {400, "malformed escape in the path", {}};
  if (request.path.find('\0') != request.path.size) return {400, "malformed request target", {}};
  return {};
}

inline http_refusal http_parse_request_line(text_view line, http_request& request) noexcept {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == line.size || first == last) return {400, "malformed request line", {}};
  request.method = {line.data, first};
  const text_view version = line.from(last + 1);
  if (!is_token(request.method)) return {400, "malformed request line", {}};
  request.is_http_1_1 = version.equals("HTTP/1.1");
  if (!request.is_http_1_1 && !version.equals("HTTP/1.0")) {
    const bool other = version.starts_with({"HTTP/", 5}) && version.size == 8;
    if (!other) return {400, "malformed request line", {}};
    return {505, "HTTP/1.0 and HTTP/1.1 are spoken here", {}};
  }
  return http_parse_target({line.data + first + 1, last - first - 1}, request);
}

// Also refuses continued lines (RFC 9112 5.2) and blanks before the colon (5.1): two readers may
// see two different fields in them.
inline bool http_field_ok(text_view line) noexcept {
  const std::size_t colon = line.find(':');
  if (colon == line.size || !is_token({line.data, colon})) return false;
  for (std::size_t i = colon + 1; i < line.size; ++i) {
    const auto c = static_cast<unsigned char>(line.data[i]);
    if ((c < ' ' && c != '\t') || c == 127) return false;
  }
  return true;
}

inline http_refusal http_parse_fields(http_request& request) noexcept {
  unsigned hosts = 0;
  unsigned lengths = 0;
  for (text_view rest = request.fields; rest.size != 0;) {
    const text_view line = take_line(rest);
    if (!http_field_ok(line)) return {400, "malformed header", {}};
    const text_view name{line.data, line.find(':')};
    if (equals_ignoring_case(name, "host")) ++hosts;
    if (equals_ignoring_case(name, "content-length")) ++lengths;
  }
  if (hosts > 1 || lengths > 1) return {400, "repeated header", {}};
  if (hosts == 0 && request.is_http_1_1) return {400, "missing Host header", {}};
  return {};
}

inline http_refusal http_parse_framing(http_request& request) noexcept {
  text_view value;
  if (request.find_header("transfer-encoding", value)) {
    const bool chunked = equals_ignoring_case(value, "chunked");
    return chunked ? http_refusal{411, "send the body with a Content-Length", {}}
                   : http_refusal{501, "unknown transfer encoding", {}};
  }
  if (!request.find_header("content-length", value)) return {};
  std::uint64_t length = 0;
  if (!parse_decimal(value, length)) return {400, "malformed Content-Length", {}};
  if (length > http_body_limit) return {413, "the body is larger than 1 MiB", {}};
  request.body_size = static_cast<std::size_t>(length);
  return {};
}

// Parses a complete head, as http_head_end measured it. The request borrows its bytes.
inline http_refusal http_parse_head(text_view head, arena& memory, http_request& request) noexcept {
  request = http_request{};
  request.memory = &memory;
  http_refusal why = http_parse_request_line(take_line(head), request);
  if (why.status != 0) return why;
  request.fields = {head.data, 0};
  while (head.size != 0 && take_line(head).size != 0) {  // the empty line is no field
    request.fields.size = static_cast<std::size_t>(head.data - request.fields.data);
  }
  why = http_parse_fields(request);
  if (why.status == 0) why = http_parse_framing(request);
  request.keep_alive =
      why.status == 0 && request.is_http_1_1 && !list_holds(request.header("connection"), "close");
  return why;
}

// ---- who may ask for what ----------------------------------------------------------------------

// What the checks must know of the routes. index: the page other sites may link to. post: the one
// path that takes POST.
struct http_rules {
  text_view index{"/debug/pprof/", 13};
  text_view post{"/debug/pprof/symbol", 19};
  bool unix_socket = false;
};

// A page of another site can have its own name resolve to 127.0.0.1 and then read our answers (DNS
// rebinding); the Host header still carries that name.
inline bool http_host_ok(text_view host, bool unix_socket) noexcept {
  if (host.size == 0) return unix_socket;  // no browser gets to a Unix socket
  host_and_port parts;
  address ignored;
  if (!split_host(host, parts)) return false;
  if (parts.has_port && !parse_port(parts.port, ignored.port)) return false;
  return read_host(parts.host, ignored) == host_kind::loopback;
}

// A page of another site can make a browser request our paths without reading the answer, and so
// spend the CPU of a profile. What it may do is send the user to the index.
inline bool http_fetch_ok(const http_request& request, text_view index) noexcept {
  const text_view site = request.header("sec-fetch-site");
  if (!site.equals("cross-site") && !site.equals("same-site")) return true;
  const text_view target = request.header("sec-fetch-dest");
  const bool top_level = target.size == 0 || target.equals("document");  // not a frame
  return top_level && request.header("sec-fetch-mode").equals("navigate") &&
         request.path.equals(index);
}

inline http_refusal http_check_method(const http_request& request, text_view post) noexcept {
  const bool posts = request.path.equals(post);
  const bool is_post = request.method.equals("POST");
  if (!request.method.equals("GET") && !request.method.equals("HEAD") && !(posts && is_post)) {
    return {405, "method not allowed", posts ? "GET, HEAD, POST" : "GET, HEAD"};
  }
  if (request.body_size != 0 && !is_post) return {400, "only POST has a body", {}};
  return {};
}

inline http_refusal http_check(const http_request& request, const http_rules& rules) noexcept {
  if (!http_host_ok(request.header("host"), rules.unix_socket)) {
    return {403, "the Host header must name localhost, 127.0.0.1 or [::1]", {}};
  }
  if (!http_fetch_ok(request, rules.index)) {
    return {403, "requests from other sites are refused", {}};
  }
  return http_check_method(request, rules.post);
}

PROF_DETAIL_END

#endif  // PROF_HTTP_HTTP_HPP
