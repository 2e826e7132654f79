// prof/http/address.hpp - where to listen, from its text: loopback and Unix sockets only.
// Floor 12 (http). Used by the server, and by http.hpp for the Host check.
// Safety: pure; ordinary context.
// Memory: none; an address holds its bytes inline.
// Source: RFC 3986 3.2.2 (host), RFC 4291 2.2 (IPv6 text). No name is looked up: what a resolver
//         answers may change, and a profile must not leave the machine because of it.
#ifndef PROF_HTTP_ADDRESS_HPP
#define PROF_HTTP_ADDRESS_HPP

#include "prof/base/result.hpp"
#include "prof/base/text.hpp"
#include "prof/os/net.hpp"

PROF_DETAIL_BEGIN

// A struct of its own and not an alias: -Wshadow of g++ takes every parameter called `address` in
// later headers for a clash with an alias.
struct address : net_endpoint {};

inline char to_lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
inline bool equals_ignoring_case(text_view a, text_view b) noexcept {
  if (a.size != b.size) return false;
  for (std::size_t i = 0; i < a.size; ++i) {
    if (to_lower(a.data[i]) != to_lower(b.data[i])) return false;
  }
  return true;
}

// Four decimal numbers. No leading zeros and no short forms: inet_aton(3) reads 0127.1 as 87.0.0.1.
inline bool parse_ip4(text_view text, unsigned char* ip) noexcept {
  for (int i = 0; i < 4; ++i) {
    const std::size_t end = text.find('.');
    const text_view digits{text.data, end};
    std::uint64_t value = 0;
    if (!parse_decimal(digits, value) || value > 255) return false;
    if (end > 1 && digits.data[0] == '0') return false;
    if ((end == text.size) != (i == 3)) return false;
    ip[i] = static_cast<unsigned char>(value);
    if (i < 3) text = text.from(end + 1);
  }
  return true;
}

// Up to eight groups, "::" once. No zone and no dotted tail: no loopback address needs them.
inline bool parse_ip6(text_view text, unsigned char* ip) noexcept {
  constexpr std::size_t no_gap = 9;
  std::uint64_t groups[8] = {};
  std::size_t count = 0;
  std::size_t gap = no_gap;
  if (text.starts_with({"::", 2})) {
    gap = 0;
    text = text.from(2);
  }
  while (text.size != 0) {
    const std::size_t before = text.size;
    const std::uint64_t group = take_hex(text);
    const std::size_t digits = before - text.size;
    if (digits == 0 || digits > 4 || count == 8) return false;
    groups[count++] = group;
    if (text.size == 0) break;
    if (text.data[0] != ':' || text.size == 1) return false;
    text = text.from(1);
    if (text.data[0] != ':') continue;
    if (gap != no_gap) return false;
    gap = count;
    text = text.from(1);
  }
  if (gap == no_gap ? count != 8 : count > 7) return false;
  for (std::size_t i = 0; i < 8; ++i) {
    const std::size_t zeros = 8 - count;
    std::uint64_t group = 0;
    if (i < gap)
      group = groups[i];
    else if (i >= gap + zeros)
      group = groups[i - zeros];
    ip[2 * i] = static_cast<unsigned char>(group >> 8);
    ip[2 * i + 1] = static_cast<unsigned char>(group & 255);
  }
  return true;
}

enum class host_kind { malformed, loopback, elsewhere };

inline host_kind read_ip6_host(text_view inside, address& where) noexcept {
  constexpr unsigned char loopback[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (!parse_ip6(inside, where.ip)) return host_kind::malformed;
  where.type = address::kind::ip6;
  return std::memcmp(where.ip, loopback, 16) == 0 ? host_kind::loopback : host_kind::elsewhere;
}

inline host_kind read_ip4_host(text_view host, address& where) noexcept {
  if (!parse_ip4(host, where.ip)) return host_kind::malformed;
  where.type = address::kind::ip4;
  return where.ip[0] == 127 ? host_kind::loopback : host_kind::elsewhere;  // RFC 1122 3.2.1.3
}

// localhost is 127.0.0.1 whatever /etc/hosts says. Every other name is elsewhere, also
// "localhost." and "localhost.evil.com".
inline host_kind read_host(text_view host, address& where) noexcept {
  if (equals_ignoring_case(host, "localhost")) return read_ip4_host("127.0.0.1", where);
  if (host.size >= 2 && host.data[0] == '[' && host.data[host.size - 1] == ']') {
    return read_ip6_host({host.data + 1, host.size - 2}, where);
  }
  bool numeric = host.size != 0;
  for (std::size_t i = 0; i < host.size; ++i) {
    const char c = to_lower(host.data[i]);
    const bool digit = (c >= '0' && c <= '9') || c == '.';
    if (!digit) numeric = false;
    if (!digit && (c < 'a' || c > 'z') && c != '-' && c != '_') return host_kind::malformed;
  }
  if (numeric) return read_ip4_host(host, where);
  return host.size == 0 ? host_kind::malformed : host_kind::elsewhere;
}

// "host:port" and "host" into their parts; an IPv6 host keeps its brackets. port is what follows
// the colon. False when there is more than one colon outside brackets or text after a bracket.
struct host_and_port {
  text_view host;
  text_view port;
  bool has_port = false;
};
inline bool split_host(text_view text, host_and_port& parts) noexcept {
  std::size_t end = text.find(':');
  if (text.starts_with({"[", 1})) {
    const std::size_t bracket = text.find(']');
    if (bracket == text.size) return false;
    end = bracket + 1;
    if (end != text.size && text.data[end] != ':') return false;
  }
  parts.host = {text.data, end};
  parts.has_port = end != text.size;
  parts.port = parts.has_port ? text.from(end + 1) : text_view{};
  return parts.port.find(':') == parts.port.size;
}

inline bool parse_port(text_view text, std::uint16_t& port) noexcept {
  std::uint64_t value = 0;
  if (text.size > 5 || !parse_decimal(text, value) || value > 65535) return false;
  port = static_cast<std::uint16_t>(value);
  return true;
}

// A text of the user as an error may show it: cut, and without control characters.
struct shown_text {
  explicit shown_text(text_view from) noexcept {
    std::size_t n = 0;
    for (; n < from.size && n < sizeof text - 1; ++n) {
      text[n] = from.data[n] < ' ' || from.data[n] == 127 ? '?' : from.data[n];
    }
    text[n] = '\0';
  }
  char text[128];
};

inline result parse_path_address(text_view text, address& where) noexcept {
  const text_view path = text.from(5);  // after "unix:"
  // Absolute: the file is removed at the end, when the working directory may be another one.
  const bool usable =
      path.starts_with({"/", 1}) && path.size < sizeof where.path && path.find('\0') == path.size;
  if (!usable) return result(error::bad_address, shown_text(text).text);
  std::memcpy(where.path, path.data, path.size);
  where.type = address::kind::path;
  return {};
}

// "localhost:6060", "127.0.0.1:0" (any free port), "[::1]:6060", "unix:/path". A missing host, as
// in ":6060", is localhost too, where Go would listen on every interface.
inline result parse_address(text_view text, address& where) noexcept {
  where = address{};
  if (text.starts_with({"unix:", 5})) return parse_path_address(text, where);
  host_and_port parts;
  const bool split = split_host(text, parts) && parts.has_port;
  if (split && parts.host.size == 0) parts.host = "localhost";
  if (!split || !parse_port(parts.port, where.port)) {
    return result(error::bad_address, shown_text(text).text);
  }
  switch (read_host(parts.host, where)) {
    case host_kind::loopback:
      return {};
    case host_kind::elsewhere:
      return result(error::not_loopback, shown_text(text).text);
    default:
      return result(error::bad_address, shown_text(text).text);
  }
}

using address_text = bounded_text<128>;

// "127.0.0.1", "[::1]" or "unix:/path".
inline void put_host(const address& where, address_text& text) noexcept {
  if (where.type == address::kind::path) {
    text.put("unix:").put(where.path);
  } else if (where.type == address::kind::ip6) {
    text.put("[::1]");  // the only one that parses
  } else {
    for (int i = 0; i < 4; ++i) text.put(i != 0 ? "." : "").decimal(where.ip[i]);
  }
}

// The text that parse_address reads back.
inline address_text format_address(const address& where) noexcept {
  address_text text;
  put_host(where, text);
  if (where.type != address::kind::path) text.put(":").decimal(where.port);
  return text;
}

PROF_DETAIL_END

#endif  // PROF_HTTP_ADDRESS_HPP
