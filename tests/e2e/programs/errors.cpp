// Usage: errors DIRECTORY CASE. One wrong use after another; prints `what: code message` for each answer. Ends
// with 0; SIGPIPE and SIGPROF keep their default action, so a signal that gets through ends it otherwise.
#include "cpu_work.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <string>

namespace {

std::string directory;
std::string in_directory(const char* name) { return directory + "/" + name; }

void show(const char* what, const prof::result& outcome) {
  std::printf("%s: %d %d %s\n", what, static_cast<int>(outcome.code()), outcome.os_errno(), outcome.message());
}

WORK_FUNCTION void burn_first() { burn_ns(300000000); STAY_ON_STACK(); }
WORK_FUNCTION void burn_second() { burn_ns(300000000); STAY_ON_STACK(); }

// A pipe whose reader is gone.
int closed_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) std::exit(4);
  close(ends[0]);
  return ends[1];
}

void second_start() {
  const std::string first = in_directory("first.pb.gz");
  const std::string second = in_directory("second.pb.gz");
  show("stop without start", prof::stop_cpu_profile());
  show("start", prof::start_cpu_profile(first.c_str()));
  burn_first();
  show("second start", prof::start_cpu_profile(second.c_str()));
  show("second start, same file", prof::start_cpu_profile(first.c_str()));
  burn_second();
  show("stop", prof::stop_cpu_profile());
  show("stop again", prof::stop_cpu_profile());
  std::printf("second file exists: %d\n", access(second.c_str(), F_OK) == 0 ? 1 : 0);
  show("start again", prof::start_cpu_profile(second.c_str()));
  show("stop that", prof::stop_cpu_profile());
}

void sessions() {
  prof::cpu_session many[9];
  show("session stop without start", many[0].stop());
  for (int i = 0; i < 8; ++i) {
    const std::string path = in_directory("session.pb.gz");
    if (auto r = many[i].start(path.c_str()); !r) show("session", r);
  }
  show("ninth session", many[8].start(in_directory("ninth.pb.gz").c_str()));
  show("session twice", many[0].start(in_directory("twice.pb.gz").c_str()));
  prof::cpu_options options;
  options.hz = 10001;
  show("session stop", many[7].stop());
  show("10001 Hz", many[8].start(in_directory("rate.pb.gz").c_str(), options));
  show("late configure", prof::configure(prof::options()));
}

void files() {
  const std::string missing = in_directory("no/such/directory");
  show("cpu to unwritable path", prof::start_cpu_profile(missing.c_str()));
  show("heap to unwritable path", prof::write_heap_profile(missing.c_str()));
  show("heap to directory", prof::write_heap_profile(directory.c_str()));
  show("heap to full disk", prof::write_heap_profile("/dev/full"));
  const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
  show("heap to full descriptor", prof::write_heap_profile(prof::fd(full)));
  std::FILE* const file = std::fopen("/dev/full", "wb");
  show("heap to full FILE", prof::write_heap_profile(file));
  std::fclose(file);
  std::ofstream stream;
  stream.rdbuf()->pubsetbuf(nullptr, 0);  // a stream with a buffer fails when the host flushes it
  stream.open("/dev/full");
  show("heap to full stream", prof::write_heap_profile(stream));
  show("heap to null FILE", prof::write_heap_profile(static_cast<std::FILE*>(nullptr)));
  show("heap to null path", prof::write_heap_profile(static_cast<const char*>(nullptr)));
  show("heap to empty path", prof::write_heap_profile(""));
  show("heap to bad descriptor", prof::write_heap_profile(prof::fd(-1)));
  show("heap to closed descriptor", prof::write_heap_profile(prof::fd(900)));
  show("heap to read-only descriptor", prof::write_heap_profile(prof::fd(open("/dev/null", O_RDONLY | O_CLOEXEC))));
  show("heap to callback that stops",
       prof::write_heap_profile({[](void*, const void*, std::size_t) { return false; }, nullptr}));
  show("status to full disk", prof::write_status("/dev/full"));
  show("cpu to full disk", prof::start_cpu_profile("/dev/full"));
  burn_first();
  show("its stop", prof::stop_cpu_profile());
  show("unknown profile", prof::write_profile("heapp", in_directory("heapp").c_str()));
  show("profile of a later version", prof::write_profile("trace", in_directory("trace").c_str()));
  show("null profile", prof::write_profile(nullptr, in_directory("null").c_str()));
  show("heap at last", prof::write_heap_profile(in_directory("heap.pb.gz").c_str()));
  show("cpu at last", prof::start_cpu_profile(in_directory("cpu.pb.gz").c_str()));
  burn_second();
  show("its stop", prof::stop_cpu_profile());
}

void pipes() {
  const int gone = closed_pipe();
  show("heap to closed pipe", prof::write_heap_profile(prof::fd(gone)));
  std::FILE* const file = fdopen(closed_pipe(), "wb");
  show("heap to closed pipe as FILE", prof::write_heap_profile(file));
  show("cpu to closed pipe", prof::start_cpu_profile(prof::fd(gone)));
  show("its stop", prof::stop_cpu_profile());
  sigset_t now;
  sigpending(&now);
  std::printf("SIGPIPE pending: %d\n", sigismember(&now, SIGPIPE));
  pthread_sigmask(SIG_SETMASK, nullptr, &now);
  std::printf("SIGPIPE blocked: %d\n", sigismember(&now, SIGPIPE));
  // One that the host already had pending is the host's.
  sigset_t pipe_only;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_only, nullptr);
  raise(SIGPIPE);
  show("heap with one pending", prof::write_heap_profile(prof::fd(gone)));
  sigpending(&now);
  std::printf("SIGPIPE still pending: %d\n", sigismember(&now, SIGPIPE));
  signal(SIGPIPE, SIG_IGN);
}

void ports() {
  show("serve", prof::http::serve("127.0.0.1:0"));
  const std::string there = prof::http::address();
  show("serve twice", prof::http::serve("127.0.0.1:0"));
  std::printf("address: %d\n", there == prof::http::address() ? 1 : 0);
  prof::http::stop();
  prof::http::stop();
  std::printf("address after stop: '%s'\n", prof::http::address());
  show("bad address", prof::http::serve("nonsense"));
  show("null address", prof::http::serve(nullptr));
  show("not loopback", prof::http::serve("0.0.0.0:6060"));
  show("port too high", prof::http::serve("localhost:65536"));
  show("no such directory", prof::http::serve("unix:/no/such/directory/socket"));
  show("serve again", prof::http::serve("127.0.0.1:0"));
  prof::http::stop();
}

void signal_in_use() {
  for (int number = 1; number <= SIGRTMAX; ++number) {
    if (number == SIGPROF || number >= SIGRTMIN) signal(number, [](int) { std::_Exit(9); });
  }
  show("start without a free signal", prof::start_cpu_profile(in_directory("cpu.pb.gz").c_str()));
  std::printf("handler kept: %d\n", signal(SIGPROF, SIG_DFL) != SIG_DFL ? 1 : 0);
  show("start with SIGPROF free", prof::start_cpu_profile(in_directory("cpu.pb.gz").c_str()));
  burn_first();
  show("its stop", prof::stop_cpu_profile());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  directory = argv[1];
  const struct { const char* name; void (*run)(); } cases[] = {
      {"second_start", second_start}, {"sessions", sessions}, {"files", files},
      {"pipes", pipes}, {"ports", ports}, {"signal_in_use", signal_in_use}};
  for (const auto& one : cases) {
    if (std::strcmp(one.name, argv[2]) == 0) return one.run(), 0;
  }
  return 2;
}
