// Three threads switch between fibers of makecontext on stacks of 64 KiB from malloc, which are
// freed when a fiber has ended and then used again, by other fibers and by ordinary blocks.
#include <ucontext.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "storm.hpp"

namespace {

constexpr std::size_t stack_size = 64 * 1024;
constexpr unsigned fiber_count = 8;

struct fiber {
  ucontext_t here;
  ucontext_t* scheduler;
  void* stack;
  unsigned turns;
  bool ended;
};

std::atomic<unsigned long> g_switches;
std::atomic<unsigned long> g_ended;
thread_local fiber* t_running;

}  // namespace

FN void fiber_leaf() {
  storm_work();
  STAY_ON_STACK();
}
FN void fiber_yield(fiber* self) {
  swapcontext(&self->here, self->scheduler);
  STAY_ON_STACK();
}
FN void fiber_middle(fiber* self, unsigned depth) {
  if (depth != 0) {
    fiber_middle(self, depth - 1);
  } else {
    fiber_leaf();
    fiber_yield(self);
    fiber_leaf();
  }
  STAY_ON_STACK();
}
FN void fiber_entry() {
  fiber* const self = t_running;
  for (unsigned i = 0; i < self->turns; ++i) fiber_middle(self, i % 4);
  self->ended = true;
  STAY_ON_STACK();
}

FN void begins_fiber(fiber* one, ucontext_t* scheduler, unsigned turns) {
  one->stack = std::malloc(stack_size);
  one->scheduler = scheduler;
  one->turns = turns;
  one->ended = false;
  getcontext(&one->here);
  one->here.uc_stack.ss_sp = one->stack;
  one->here.uc_stack.ss_size = stack_size;
  one->here.uc_link = scheduler;
  makecontext(&one->here, fiber_entry, 0);
}
FN void resumes_fiber(fiber* one) {
  t_running = one;
  swapcontext(one->scheduler, &one->here);
  g_switches.fetch_add(1, std::memory_order_relaxed);
}
// What freed stacks are used for besides: words that look like nothing a walk could use.
FN void reuses_stack() {
  void* const block = std::malloc(stack_size);
  std::memset(block, 0x5a, stack_size);
  __asm__ volatile("" ::"r"(block) : "memory");
  std::free(block);
  STAY_ON_STACK();
}
FN void* fiber_thread(void*) {
  fiber fibers[fiber_count];
  ucontext_t scheduler;
  unsigned turns = 1;
  for (fiber& one : fibers) begins_fiber(&one, &scheduler, turns++);
  while (storm_goes_on()) {
    for (fiber& one : fibers) {
      resumes_fiber(&one);
      if (!one.ended) continue;
      std::free(one.stack);
      g_ended.fetch_add(1, std::memory_order_relaxed);
      reuses_stack();
      begins_fiber(&one, &scheduler, 1 + turns++ % 9);
    }
  }
  for (fiber& one : fibers) std::free(one.stack);
  return nullptr;
}

const thread_function storm_threads[] = {fiber_thread, fiber_thread, fiber_thread};
const unsigned storm_thread_count = 3;

void storm_begin(char**) {}
void storm_end() {
  std::printf("rounds %lu\nended %lu\n", g_switches.load(), g_ended.load());
}
