// A heap profile that the child of a fork writes: forks PARENT.pb.gz CHILD.pb.gz
#include <prof/api.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

static void* volatile g_kept;

extern "C" __attribute__((noinline)) void parent_allocates() {
  g_kept = std::malloc(100000);
  g_kept = std::malloc(3);
}
extern "C" __attribute__((noinline)) void child_allocates() {
  g_kept = std::malloc(200000);
  g_kept = std::malloc(3);
}
extern "C" __attribute__((noinline)) int in_child(const char* path) {
  child_allocates();
  const prof::result done = prof::write_heap_profile(path);
  if (!done) std::fputs("the child cannot write\n", stderr);
  return done ? 0 : 1;
}

int main(int, char** argv) {
  prof::set_mem_profile_rate(1);
  parent_allocates();
  const pid_t child = fork();
  if (child == 0) _exit(in_child(argv[2]));
  int status = 0;
  waitpid(child, &status, 0);
  const bool written = static_cast<bool>(prof::write_heap_profile(argv[1]));
  return written && WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}
