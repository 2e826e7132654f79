// Four threads with an alternate signal stack of 16 KiB above a page that must not be touched, 300
// frames deep in work, exceptions and dlopen. Prints how much of the alternate stacks was used.
//   sigstack SECONDS DIRECTORY PLUGIN_A PLUGIN_B
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "storm.hpp"

namespace {

constexpr std::size_t size = 16 * 1024;
constexpr std::size_t guard = 4096;
constexpr unsigned char paint = 0xa5;
constexpr unsigned depth_of_work = 300;

const char* g_plugins[2];
std::atomic<unsigned long> g_rounds;
std::atomic<std::size_t> g_kernel_frame;  // the largest, with an empty handler
std::atomic<std::size_t> g_most;
std::atomic<std::size_t> g_least{size};

unsigned char* make_stack() {
  void* const pages =
      mmap(nullptr, guard + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED || mprotect(pages, guard, PROT_NONE) != 0) storm_fails("mmap", "failed");
  auto* const stack = static_cast<unsigned char*>(pages) + guard;
  stack_t there{};
  there.ss_sp = stack;
  there.ss_size = size;
  if (sigaltstack(&there, nullptr) != 0) storm_fails("sigaltstack", "failed");
  return stack;
}
std::size_t bytes_used(const unsigned char* stack) {
  std::size_t clean = 0;
  while (clean < size && stack[clean] == paint) ++clean;
  return size - clean;
}
void grow(std::atomic<std::size_t>& most, std::size_t value) {
  std::size_t was = most.load();
  while (was < value && !most.compare_exchange_weak(was, value)) continue;
}
void shrink(std::atomic<std::size_t>& least, std::size_t value) {
  std::size_t was = least.load();
  while (was > value && !least.compare_exchange_weak(was, value)) continue;
}
void empty_handler(int, siginfo_t*, void*) {}

}  // namespace

FN void works_deep() {
  storm_work();
  STAY_ON_STACK();
}
FN void throws_deep() {
  throw std::runtime_error("from three hundred frames down");
}
FN void loads_deep() {
  void* const library = dlopen(g_plugins[g_rounds.load() % 2], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) storm_fails("dlopen", dlerror());
  dlclose(library);
  STAY_ON_STACK();
}
FN void goes_down(void (*act)(), unsigned depth) {
  if (depth == 0)
    act();
  else
    goes_down(act, depth - 1);
  STAY_ON_STACK();
}
FN void* deep_thread(void*) {
  unsigned char* const stack = make_stack();
  std::memset(stack, paint, size);
  raise(SIGUSR1);
  grow(g_kernel_frame, bytes_used(stack));
  std::memset(stack, paint, size);
  while (storm_goes_on()) {
    for (int i = 0; i < 20; ++i) goes_down(works_deep, depth_of_work);
    try {
      goes_down(throws_deep, depth_of_work);
    } catch (const std::runtime_error&) {
      g_rounds.fetch_add(1);
    }
    goes_down(loads_deep, depth_of_work);
  }
  grow(g_most, bytes_used(stack));
  shrink(g_least, bytes_used(stack));
  return nullptr;
}

const thread_function storm_threads[] = {deep_thread, deep_thread, deep_thread, deep_thread};
const unsigned storm_thread_count = 4;

void storm_begin(char** arguments) {
  g_plugins[0] = arguments[0];
  g_plugins[1] = arguments[1];
  struct sigaction empty {};
  empty.sa_sigaction = &empty_handler;
  empty.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGUSR1, &empty, nullptr);
}
void storm_end() {
  std::printf("rounds %lu\nkernel_frame %zu\nmost %zu\nleast %zu\n", g_rounds.load(),
              g_kernel_frame.load(), g_most.load(), g_least.load());
}
