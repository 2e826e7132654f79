// prof/collect/deliver.hpp - brings bytes to a sink and its errors back.
// Floor 11 (collect). Used by sessions.hpp and report.hpp.
// Safety: ordinary context. No SIGPIPE reaches the host while a delivery is open.
// Memory: none.
// Source: write(2), fflush(3): a full disk shows up at write or at close, so both are looked at.
#ifndef PROF_COLLECT_DELIVER_HPP
#define PROF_COLLECT_DELIVER_HPP

#include "prof/base/sink.hpp"
#include "prof/os/os.hpp"

PROF_DETAIL_BEGIN

// Opened when the profile starts, so that a wrong path is an error then and not an hour later.
class delivery {
 public:
  explicit delivery(const sink& target) noexcept : target_(target) {}
  ~delivery() { close_path(); }
  delivery(const delivery&) = delete;
  delivery& operator=(const delivery&) = delete;

  result open() noexcept {
    if (!target_.valid()) {
      return result(error::bad_argument, "the sink is null; pass a FILE*, fd, path or callback");
    }
    if (target_.type() != sink::kind::path) return {};
    path_ = os_open_write(target_.path(), os_error_);
    if (path_ >= 0) return {};
    bounded_text<160> what;
    what.put(target_.path()).put(": ").put(os_error_text(os_error_));
    return result(error::open_failed, what.c_str(), os_error_);
  }

  output out() noexcept { return {&write, this}; }

  // Flushes, closes a path, and tells whether everything arrived.
  result close() noexcept {
    const sigpipe_guard quiet;
    if (!failed_ && target_.type() == sink::kind::file) {
      failed_ = !os_flush(target_.file(), os_error_);
    }
    if (!failed_ && target_.type() == sink::kind::callback) failed_ = !target_.finish();
    if (!close_path()) failed_ = true;
    if (!failed_) return {};
    return result(error::write_failed,
                  os_error_ != 0 ? os_error_text(os_error_) : "the sink refused the bytes",
                  os_error_);
  }

 private:
  static bool write(void* context, const void* data, std::size_t size) {
    delivery& self = *static_cast<delivery*>(context);
    const sigpipe_guard quiet;
    if (!self.failed_) self.failed_ = !self.write_once(data, size);
    return !self.failed_;
  }
  bool write_once(const void* data, std::size_t size) {
    switch (target_.type()) {
      case sink::kind::file: return os_write(target_.file(), data, size, os_error_);
      case sink::kind::descriptor: return os_write(target_.descriptor(), data, size, os_error_);
      case sink::kind::path: return os_write(path_, data, size, os_error_);
      case sink::kind::callback: return target_.call(data, size);
    }
    return false;
  }
  bool close_path() noexcept {
    const int descriptor = path_;
    path_ = -1;
    return descriptor < 0 || os_close(descriptor, os_error_);
  }

  sink target_;
  int path_ = -1;
  int os_error_ = 0;
  bool failed_ = false;
};

PROF_DETAIL_END

#endif  // PROF_COLLECT_DELIVER_HPP
