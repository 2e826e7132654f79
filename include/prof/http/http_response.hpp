// prof/http/http_response.hpp - HTTP responses: status, body, the head as it is sent.
// Floor 12 (http). Filled in by the routes, sent by the server. Knows no socket and no profile.
// Safety: ordinary context; pure but for the arena it is given.
// Memory: head and body are in the arena of the connection, which is released after the response.
// Source: RFC 9110 and 9112; error form of Go's net/http/pprof (X-Go-Pprof).
#ifndef PROF_HTTP_HTTP_RESPONSE_HPP
#define PROF_HTTP_HTTP_RESPONSE_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

// One response. Texts are borrowed until it is sent: literals, or from the arena of its body.
struct http_response {
  explicit http_response(arena& memory) noexcept : body(memory) {}

  int status = 200;
  const char* content_type = "text/plain; charset=utf-8";
  text_view file_name;  // of a download; empty: shown in the browser
  text_view location;   // of a redirect
  text_view allow;      // of 405
  bool error = false;
  arena_vector<char> body;

  void put(text_view text) noexcept { body.append(text.data, text.size); }

  // Turns this into an error as Go sends it: one line of text, which `go tool pprof` shows because
  // of X-Go-Pprof.
  void fail(int code, text_view text) noexcept {
    status = code;
    content_type = "text/plain; charset=utf-8";
    file_name = {};
    error = true;
    body.clear();
    put(text);
    put("\n");
  }
};

inline const char* http_reason(int status) noexcept {
  switch (status) {
    case 200:
      return "OK";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 413:
      return "Content Too Large";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Status";
  }
}

// A value from outside without what would end its quotes or its line.
inline void http_put_clean(text_writer& out, text_view value) noexcept {
  for (std::size_t i = 0; i < value.size; ++i) {
    const auto c = static_cast<unsigned char>(value.data[i]);
    const bool plain = c >= ' ' && c < 127 && c != '"' && c != '\\';
    out.put(plain ? text_view{value.data + i, 1} : text_view{"_", 1});
  }
}

inline void http_put_optional(text_writer& out, const http_response& response) noexcept {
  if (response.error) out.put("X-Go-Pprof: 1\r\n");
  if (response.file_name.size != 0 && !response.error) {
    out.put("Content-Disposition: attachment; filename=\"");
    http_put_clean(out, response.file_name);
    out.put("\"\r\n");
  }
  if (response.location.size != 0) {
    out.put("Location: ");
    http_put_clean(out, response.location);
    out.put("\r\n");
  }
  if (response.allow.size != 0) out.put("Allow: ").put(response.allow).put("\r\n");
}

// Appends the head, up to and with its empty line. HTTP/1.1 also to a client of 1.0 (RFC 9110 6.2).
inline void http_write_head(const http_response& response, bool keep_alive,
                            arena_vector<char>& head) noexcept {
  text_writer out({[](void* context, const void* data, std::size_t size) {
                     return static_cast<arena_vector<char>*>(context)->append(
                         static_cast<const char*>(data), size);
                   },
                   &head});
  out.put("HTTP/1.1 ").decimal(static_cast<std::uint64_t>(response.status));
  out.put(" ").put(http_reason(response.status));
  out.put("\r\nContent-Type: ").put(response.content_type);
  out.put("\r\nContent-Length: ").decimal(response.body.size());
  out.put("\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n");
  http_put_optional(out, response);
  if (!keep_alive) out.put("Connection: close\r\n");
  out.put("\r\n");
}

PROF_DETAIL_END

#endif  // PROF_HTTP_HTTP_RESPONSE_HPP
