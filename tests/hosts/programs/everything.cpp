// Loaded into a host by LD_PRELOAD: turns everything on at rate 1 before the host's main, and writes every profile when
// the process ends, to $PROF_HOST_FILES/NAME.PID.pb.gz. It says nothing itself.
#include <cstdio>
#include <cstdlib>
#include <prof/api.hpp>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

struct path {
  char text[1024];
};

path path_of(const char* profile) {
  path result{};
  const char* const directory = std::getenv("PROF_HOST_FILES");
  std::snprintf(result.text, sizeof result.text, "%s/%s.%d.pb.gz", directory, profile, int(getpid()));
  return result;
}

class everything {
 public:
  everything() {
    prof::set_mem_profile_rate(1);
    prof::set_mutex_profile_fraction(1);
    prof::set_block_profile_rate(1);
    (void)cpu_.start(path_of("cpu").text);
  }
  everything(const everything&) = delete;
  everything& operator=(const everything&) = delete;
  ~everything() { write(); }

  // For hosts that leave by _exit; their children, which may share memory with them, write nothing then.
  void write_unless_forked() {
    if (getpid() == started_as_) write();
  }

 private:
  void write() {
    if (written_by_ == getpid()) return;
    written_by_ = getpid();
    for (const char* const profile : {"mutex", "block", "heap", "goroutine", "threadcreate"})
      (void)prof::write_profile(profile, path_of(profile).text);
    (void)cpu_.stop();  // writes nothing in a process that was forked off
  }

  const pid_t started_as_ = getpid();
  pid_t written_by_ = 0;
  prof::cpu_session cpu_;
};

everything all;

[[noreturn]] void end_at_once(int status) {
  all.write_unless_forked();
  for (;;) syscall(SYS_exit_group, status);
}

}  // namespace

extern "C" {
__attribute__((visibility("default"))) void _exit(int status) { end_at_once(status); }
__attribute__((visibility("default"))) void _Exit(int status) noexcept { end_at_once(status); }
}
