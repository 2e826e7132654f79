// prof/base/sink.hpp - where the bytes of a profile go.
// Floor 2 (base). Part of every public call that writes; delivered by os/ and collect/.
// Safety: a value of a few words; thread-compatible. Not for signal handlers.
// Memory: none. A FILE*, object or callback is borrowed and must outlive the profile's end; a path
//         is opened (O_CLOEXEC, created or truncated) when the call starts and not kept.
// Source: the kinds fixed in the design brief.
#ifndef PROF_BASE_SINK_HPP
#define PROF_BASE_SINK_HPP

#include <cstdio>
#include <type_traits>
#include <utility>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// std::streamsize is the signed counterpart of std::size_t; its header, <ios>, would cost every file
// that includes prof 0.4 s (g++ 12).
template <class T, class = void>
struct has_write : std::false_type {};
template <class T>
struct has_write<T, std::void_t<decltype(std::declval<T&>().write(
                        std::declval<const char*>(), std::declval<std::ptrdiff_t>()))>>
    : std::true_type {};

template <class T, class = void>
struct has_c_str : std::false_type {};
template <class T>
struct has_c_str<T, std::void_t<decltype(std::declval<T&>().c_str())>> : std::true_type {};

// Calls what the user wrote. What that throws (a stream with exceptions() set) is a refusal, not
// the host's end. Two types, of which a file has one, because files with and without exceptions may
// be in one program; a sink remembers which kind of file made it.
template <bool Exceptions>
struct user_call;
#if PROF_DETAIL_EXCEPTIONS
template <>
struct user_call<true> {
  template <class Call>
  static bool run(Call call) {
    try {
      return call();
    } catch (...) {
      return false;
    }
  }
};
#else
template <>
struct user_call<false> {
  template <class Call>
  static bool run(Call call) {
    return call();
  }
};
#endif

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// A file descriptor to write to; never closed by prof. Explicit, because sink(0) is no file.
struct fd {
  explicit fd(int number) noexcept : value(number) {}
  int value;
};

// Appends the bytes to a string-like object (anything with append(const char*, size_t)).
template <class String>
struct append_to {
  explicit append_to(String& text) noexcept : target(&text) {}
  String* target;
};

// Named in the error of the two deleted constructors of sink.
struct use_append_to_or_a_const_char_path {};
struct use_fd_or_a_file_pointer {};

// Where a profile is written. Implicitly made from: FILE*, prof::fd, a const char* path,
// prof::append_to(text), any object with write(const char*, std::streamsize) (std::ostream), or
// {callback, context} where callback returns false to stop.
class sink {
 public:
  enum class kind { file, descriptor, path, callback };

  sink(std::FILE* file) noexcept : kind_(kind::file), context_(file) {}
  sink(fd descriptor) noexcept : kind_(kind::descriptor), descriptor_(descriptor.value) {}
  sink(const char* path) noexcept
      : kind_(kind::path), context_(const_cast<char*>(path)) {}  // only ever read
  template <bool Exceptions = PROF_DETAIL_EXCEPTIONS>
  sink(bool (*callback)(void*, const void*, std::size_t), void* context) noexcept
      : kind_(kind::callback),
        context_(context),
        callback_(callback),
        guard_(&guarded<Exceptions>) {}

  template <class String, bool Exceptions = PROF_DETAIL_EXCEPTIONS>
  sink(append_to<String> text) noexcept
      : kind_(kind::callback),
        context_(text.target),
        callback_(&append<String>),
        guard_(&guarded<Exceptions>) {}

  template <class Stream, std::enable_if_t<detail::has_write<Stream>::value, int> = 0,
            bool Exceptions = PROF_DETAIL_EXCEPTIONS>
  sink(Stream& stream) noexcept
      : kind_(kind::callback),
        context_(&stream),
        callback_(&write_stream<Stream>),
        finish_(&flush_stream<Stream>),
        guard_(&guarded<Exceptions>) {}

  // A std::string could be a path or a buffer: say which, with path.c_str() or append_to(text).
  template <class String,
            std::enable_if_t<detail::has_c_str<std::remove_reference_t<String>>::value, int> = 0>
  sink(String&&, use_append_to_or_a_const_char_path = {}) = delete;
  // A literal 0 or an int could be a null path or a descriptor: say prof::fd(n).
  sink(int, use_fd_or_a_file_pointer = {}) = delete;
  sink(std::nullptr_t, use_fd_or_a_file_pointer = {}) = delete;

  kind type() const noexcept { return kind_; }
  std::FILE* file() const noexcept { return static_cast<std::FILE*>(context_); }
  int descriptor() const noexcept { return descriptor_; }
  const char* path() const noexcept { return static_cast<const char*>(context_); }
  bool call(const void* data, std::size_t size) const {
    return guard_(*this, false, data, size);
  }
  // Called after the last byte: flushes a stream that can be, so that a full disk is not lost on us.
  bool finish() const {
    return finish_ == nullptr || guard_(*this, true, nullptr, 0);
  }
  // False for a null FILE*, path or callback: reported as an error by the call that gets it.
  bool valid() const noexcept {
    if (kind_ == kind::descriptor) return descriptor_ >= 0;
    if (kind_ == kind::path) return path() != nullptr && path()[0] != '\0';
    return kind_ == kind::file ? context_ != nullptr : callback_ != nullptr;
  }

 private:
  using guard = bool (*)(const sink& self, bool last, const void* data, std::size_t size);
  template <bool Exceptions>
  static bool guarded(const sink& self, bool last, const void* data, std::size_t size) {
    return detail::user_call<Exceptions>::run([&] {
      return last ? self.finish_(self.context_) : self.callback_(self.context_, data, size);
    });
  }
  template <class String>
  static bool append(void* context, const void* data, std::size_t size) {
    static_cast<String*>(context)->append(static_cast<const char*>(data), size);
    return true;
  }
  template <class Stream>
  static bool write_stream(void* context, const void* data, std::size_t size) {
    auto& stream = *static_cast<Stream*>(context);
    stream.write(static_cast<const char*>(data), static_cast<std::ptrdiff_t>(size));
    return stream_good(stream, 0);
  }
  template <class Stream>
  static bool flush_stream(void* context) {
    return flush_if_any(*static_cast<Stream*>(context), 0);
  }
  template <class Stream>
  static auto flush_if_any(Stream& stream, int) -> decltype(stream.flush(), true) {
    stream.flush();
    return stream_good(stream, 0);
  }
  template <class Stream>
  static bool flush_if_any(Stream&, long) {
    return true;
  }
  template <class Stream>
  static auto stream_good(Stream& stream, int) -> decltype(static_cast<bool>(stream)) {
    return static_cast<bool>(stream);
  }
  template <class Stream>
  static bool stream_good(Stream&, long) {
    return true;
  }

  kind kind_;
  int descriptor_ = -1;
  void* context_ = nullptr;
  bool (*callback_)(void*, const void*, std::size_t) = nullptr;
  bool (*finish_)(void*) = nullptr;
  guard guard_ = nullptr;
};

PROF_PUBLIC_END

#endif  // PROF_BASE_SINK_HPP
