// A CPU profile runs in the parent while it forks; the child samples itself anew, writes a profile
// of its own and must not touch the parent's file. Usage: fork_child PARENT_FILE CHILD_FILE
#include <cstdio>
#include <cstring>
#include <ctime>
#include <prof/api.hpp>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

__attribute__((noinline)) void burn(int ms) {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  const double end = double(now.tv_sec) + now.tv_nsec * 1e-9 + ms * 1e-3;
  while (double(now.tv_sec) + now.tv_nsec * 1e-9 < end) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
}

__attribute__((noinline)) void parent_work() { burn(300); asm volatile(""); }
__attribute__((noinline)) void child_work() { burn(300); asm volatile(""); }

int main(int, char** argv) {
  prof::cpu_session session;
  if (!prof::start_cpu_profile(argv[1]) || !session.start("/dev/null")) return 2;
  auto* const churn = new std::thread([] { for (int i = 0; i < 2000; ++i) delete[] new char[100000]; });
  const pid_t child = fork();
  if (child == 0) {
    if (!prof::stop_cpu_profile()) _exit(3);  // the parent's, so nothing here
    if (std::strcmp(prof::status().text("cpu profile"), "running") == 0) _exit(4);
    if (auto r = prof::start_cpu_profile(argv[2]); !r) _exit(5);
    std::thread(child_work).join();
    if (auto r = prof::stop_cpu_profile(); !r) _exit(6);
    return session.stop() ? 0 : 7;  // the copied session writes nothing
  }
  parent_work();
  churn->join();
  int status = -1;
  waitpid(child, &status, 0);
  if (auto r = prof::stop_cpu_profile(); !r) return 8;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 9;
}
