// A server runs while the process forks. Prints: sockets that the child has; whether the parent can serve on the
// same port again while the child lives; whether the child can serve as well.
#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <prof/api.hpp>

static int sockets_now() {
  int count = 0;
  DIR* const folder = opendir("/proc/self/fd");
  while (const dirent* const entry = readdir(folder)) {
    char path[300];
    char target[300] = "";
    std::snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
    if (readlink(path, target, sizeof target - 1) > 0 && std::strncmp(target, "socket:", 7) == 0) ++count;
  }
  closedir(folder);
  return count;
}

int main() {
  const int before = sockets_now();
  if (!prof::http::serve("127.0.0.1:0")) return 2;
  char address[100];
  std::snprintf(address, sizeof address, "%s", prof::http::address());
  int to_parent[2];
  int to_child[2];
  if (pipe(to_parent) != 0 || pipe(to_child) != 0) return 3;
  const pid_t child = fork();
  if (child == 0) {
    int answer[2] = {sockets_now() - before, 0};
    answer[1] = prof::http::serve("127.0.0.1:0") ? 1 : 0;
    if (write(to_parent[1], answer, sizeof answer) != sizeof answer) _exit(4);
    prof::http::stop();
    char end = 0;
    _exit(read(to_child[0], &end, 1) == 1 ? 0 : 5);  // lives until the parent has tried
  }
  int answer[2] = {-1, -1};
  if (read(to_parent[0], answer, sizeof answer) != sizeof answer) return 6;
  prof::http::stop();
  const auto again = prof::http::serve(address);
  if (!again) std::fprintf(stderr, "%s\n", again.message());
  if (write(to_child[1], "", 1) != 1) return 7;
  int status = -1;
  waitpid(child, &status, 0);
  prof::http::stop();
  std::printf("%d %d %d\n", answer[0], again ? 1 : 0, answer[1]);
  return status == 0 ? 0 : 8;
}
