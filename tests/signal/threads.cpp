// Prints the number of threads of the process: at first, during and after a CPU and a heap profile, with a server
// and after it stopped.
#include "../e2e/programs/cpu_work.hpp"

#include <dirent.h>
#include <unistd.h>

static int threads_now() {
  int count = 0;
  DIR* const folder = opendir("/proc/self/task");
  while (const dirent* const entry = readdir(folder)) count += entry->d_name[0] != '.' ? 1 : 0;
  closedir(folder);
  return count;
}

// A joined thread may be listed for a moment longer: pthread_join returns when the kernel clears the thread's id
// (CLONE_CHILD_CLEARTID), which it does before it unlinks the task. One that was forgotten stays.
static int threads_in_the_end(int expected) {
  for (int i = 0; i < 2000 && threads_now() != expected; ++i) usleep(1000);
  return threads_now();
}

int main() {
  const int first = threads_now();
  need(prof::start_cpu_profile("/dev/null"), "start");
  burn_ns(50000000);
  const int during = threads_now();
  need(prof::stop_cpu_profile(), "stop");
  need(prof::write_heap_profile("/dev/null"), "heap");
  const int after = threads_now();
  need(prof::http::serve("127.0.0.1:0"), "serve");
  const int serving = threads_now();
  prof::http::stop();
  std::printf("%d %d %d %d %d\n", first, during, after, serving, threads_in_the_end(first));
}
