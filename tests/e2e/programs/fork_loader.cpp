// tests/e2e/programs/fork_loader.cpp - forks while other threads make calls that look through the loaded objects; each
// child loads one. Prints how many children hung, out of how many.
#include <dlfcn.h>
#include <prof/api.hpp>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

static bool hangs(pid_t child) {
  int status = 0;
  for (int ms = 0; ms < 5000; ++ms) {
    if (waitpid(child, &status, WNOHANG) == child) return status != 0;
    usleep(1000);
  }
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  return true;
}

int main() {
  for (int i = 0; i < 2; ++i) {
    std::thread([] {
      for (;;) {
        const prof::label_scope scope{{"a", "b"}};
        (void)prof::set_mem_profile_rate(4096);
      }
    }).detach();
  }
  int hung = 0;
  int forks = 0;
  for (; forks < 200 && hung < 3; ++forks) {
    const pid_t child = fork();
    if (child == 0) _exit(dlopen("libutil.so.1", RTLD_NOW) != nullptr ? 0 : 1);
    hung += hangs(child) ? 1 : 0;
  }
  std::printf("%d of %d\n", hung, forks);
  std::fflush(stdout);
  _exit(0);
}
