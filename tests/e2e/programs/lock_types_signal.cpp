// Signals and cancellation of threads that wait for locks or hold them.
#include <semaphore.h>
#include <signal.h>

#include "lock_types.hpp"

namespace {

pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
pthread_mutex_t cond_mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_barrier_t barrier;
sem_t semaphore;
std::atomic<bool> is_open;

// ---- signals -----------------------------------------------------------------------------------------------------------

std::atomic<int> handled;

enum class ended { never, without_restart, always };
struct interrupted_wait {
  const char* name;
  int (*wait)();
  void (*end)();  // lets the waiting thread go on
  ended by_signals;
  bool ends(int flags) const {
    return by_signals == ended::always || (by_signals == ended::without_restart && flags == 0);
  }
};
void unlock() { pthread_mutex_unlock(&mutex); }
void unlock_rwlock() { pthread_rwlock_unlock(&rwlock); }
int lock_and_unlock() {
  const int answer = ask([] { return pthread_mutex_lock(&mutex); });
  unlock();
  return answer;
}
int timed_lock_and_unlock() {
  const timespec late = in_ms(CLOCK_REALTIME, 60000);
  const int answer = ask([&] { return pthread_mutex_timedlock(&mutex, &late); });
  unlock();
  return answer;
}
int read_lock_and_unlock() {
  const int answer = ask([] { return pthread_rwlock_rdlock(&rwlock); });
  unlock_rwlock();
  return answer;
}
int write_lock_and_unlock() {
  const int answer = ask([] { return pthread_rwlock_wrlock(&rwlock); });
  unlock_rwlock();
  return answer;
}
// A condition variable may wake for nothing.
int wait_for_condition() {
  int answer = 0;
  pthread_mutex_lock(&cond_mutex);
  while (answer == 0 && !is_open) answer = ask([] { return pthread_cond_wait(&cond, &cond_mutex); });
  pthread_mutex_unlock(&cond_mutex);
  return answer;
}
void fulfil_condition() {
  pthread_mutex_lock(&cond_mutex);
  is_open = true;
  pthread_cond_signal(&cond);
  pthread_mutex_unlock(&cond_mutex);
}
int wait_for_semaphore() {
  return ask_errno([] { return sem_wait(&semaphore); });
}
int wait_for_semaphore_until() {
  const timespec late = in_ms(CLOCK_REALTIME, 60000);
  return ask_errno([&] { return sem_timedwait(&semaphore, &late); });
}
void post() { sem_post(&semaphore); }
int wait_at_barrier() {
  const int answer = ask([] { return pthread_barrier_wait(&barrier); });
  return answer == PTHREAD_BARRIER_SERIAL_THREAD ? 0 : answer;  // either of the two
}
void complete_barrier() { pthread_barrier_wait(&barrier); }

const interrupted_wait waits[] = {
    {"mutex", lock_and_unlock, unlock, ended::never},
    {"timed mutex", timed_lock_and_unlock, unlock, ended::never},
    {"read lock", read_lock_and_unlock, unlock_rwlock, ended::never},
    {"write lock", write_lock_and_unlock, unlock_rwlock, ended::never},
    {"condition", wait_for_condition, fulfil_condition, ended::never},
    {"barrier", wait_at_barrier, complete_barrier, ended::never},
    {"semaphore", wait_for_semaphore, post, ended::without_restart},
    {"timed semaphore", wait_for_semaphore_until, post, ended::always},
};

// Signals come until a wait that they end has ended, or five have been handled.
void interrupt(const interrupted_wait& one, int flags) {
  struct sigaction action {};
  action.sa_handler = [](int) { ++handled; };
  action.sa_flags = flags;
  sigaction(SIGUSR1, &action, nullptr);
  const bool ends = one.ends(flags);
  std::atomic<bool> is_over{false};
  auto wait = [&] {
    const int answer = one.wait();
    is_over = true;
    while (ends && !is_open) sleep_us(100);  // signals still come
    return answer;
  };
  handled = 0;
  is_open = false;
  pthread_mutex_lock(&mutex);
  pthread_rwlock_wrlock(&rwlock);
  const pthread_t thread = start(wait);
  for (int sent = 1; ends ? !is_over : sent <= 5; ++sent) {
    pthread_kill(thread, SIGUSR1);
    wait_until([sent] { return handled.load() == sent; });
    sleep_us(500);
  }
  std::printf("signals %s %s:", flags == 0 ? "end" : "restart", one.name);
  say("over", is_over);
  is_open = true;
  if (!ends) one.end();
  say_answer("wait", end_of(thread));
  std::printf("\n");
  if (one.end != unlock) unlock();
  if (one.end != unlock_rwlock) unlock_rwlock();
}

// ---- cancellation --------------------------------------------------------------------------------------------------

// What a thread that is cancelled leaves: clean-ups run while it still holds what it holds.
struct cancelled_thread {
  std::atomic<bool> is_there{false};
  int answer = skipped;
  int unlocked = skipped;
};
void unlock_cancelled(void* context) {
  static_cast<cancelled_thread*>(context)->unlocked = ask([] { return pthread_mutex_unlock(&mutex); });
}
void say_joined(const char* what, pthread_t thread, const cancelled_thread& seen) {
  void* answer = nullptr;
  std::printf("cancelled %s:", what);
  say_answer("join", ask([&] { return pthread_join(thread, &answer); }));
  say("cancelled", answer == PTHREAD_CANCELED);
  say_answer("lock", seen.answer);
  say_answer("unlock", seen.unlocked);
  say_answer("then", ask([] { return pthread_mutex_trylock(&mutex); }));
  say_answer("unlock", ask([] { return pthread_mutex_unlock(&mutex); }));
  std::printf("\n");
}

// Taking a mutex is no cancellation point: the thread gets it, and ends at the next one.
int lock_and_be_cancelled(cancelled_thread& seen) {
  seen.is_there = true;
  seen.answer = ask([] { return pthread_mutex_lock(&mutex); });
  pthread_cleanup_push(unlock_cancelled, &seen);
  for (;;) pause();
  pthread_cleanup_pop(0);
  return 0;
}
void cancel_while_waiting_for_a_mutex() {
  cancelled_thread seen;
  auto act = [&] { return lock_and_be_cancelled(seen); };
  pthread_mutex_lock(&mutex);
  const pthread_t thread = start(act);
  wait_until([&] { return seen.is_there.load(); });
  sleep_us(1000);
  pthread_cancel(thread);
  sleep_us(1000);
  pthread_mutex_unlock(&mutex);
  say_joined("while it waits for a mutex", thread, seen);
}

// Whether a thread of this process sleeps, by the state behind its name in /proc.
bool sleeps(int thread) {
  char text[512] = "";
  std::snprintf(text, sizeof text, "/proc/self/task/%d/stat", thread);
  std::FILE* const file = std::fopen(text, "r");
  if (file == nullptr) std::abort();
  text[std::fread(text, 1, sizeof text - 1, file)] = 0;
  std::fclose(file);
  const char* const name_ends = std::strrchr(text, ')');
  return name_ends != nullptr && name_ends[2] == 'S';
}

// At any time, while it holds a mutex or waits for one. Nothing of the functions that it is in then has a clean-up.
using act_of_cancelled = void (*)(std::atomic<int>& thread_that_is_there);
template <act_of_cancelled Act>
void* act_until_cancelled(void* context) {
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
  Act(*static_cast<std::atomic<int>*>(context));
  return nullptr;
}
template <act_of_cancelled Act>
void cancel_at_once(bool while_it_sleeps) {
  std::atomic<int> there{0};
  pthread_t thread{};
  if (pthread_create(&thread, nullptr, act_until_cancelled<Act>, &there) != 0) std::abort();
  wait_until([&] { return there.load() != 0; });
  if (while_it_sleeps) wait_until([&] { return sleeps(there.load()); });
  say_answer("cancel", ask([&] { return pthread_cancel(thread); }));
  void* answer = nullptr;
  say_answer("join", ask([&] { return pthread_join(thread, &answer); }));
  say("cancelled", answer == PTHREAD_CANCELED);
}

pthread_mutex_t robust_mutex;
void hold(std::atomic<int>& there) {
  pthread_mutex_lock(&robust_mutex);
  there = gettid();
  for (volatile int i = 0;; i = i + 1) {
  }
}
void cancel_at_once_while_holding() {
  (void)init_mutex(robust_mutex, {PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE});
  std::printf("cancelled at once while it holds a mutex:");
  cancel_at_once<hold>(false);
  say_answer("then", ask([] { return pthread_mutex_lock(&robust_mutex); }));
  say_answer("consistent", ask([] { return pthread_mutex_consistent(&robust_mutex); }));
  say_answer("unlock", ask([] { return pthread_mutex_unlock(&robust_mutex); }));
  std::printf("\n");
}

template <int (*Lock)()>
void wait_for_lock(std::atomic<int>& there) {
  there = gettid();
  Lock();
}
template <int (*Lock)()>
void cancel_at_once_while_waiting(const char* what) {
  pthread_rwlock_init(&rwlock, nullptr);  // those that were cancelled are counted in it for ever
  pthread_mutex_lock(&mutex);
  pthread_rwlock_wrlock(&rwlock);
  std::printf("cancelled at once while it waits for a %s:", what);
  cancel_at_once<wait_for_lock<Lock>>(true);
  unlock();
  unlock_rwlock();
  say_answer("then", ask([] { return pthread_mutex_trylock(&mutex); }));
  say_answer("unlock", ask([] { return pthread_mutex_unlock(&mutex); }));
  std::printf("\n");
}
int just_lock() { return pthread_mutex_lock(&mutex); }
int just_lock_until() {
  const timespec late = in_ms(CLOCK_REALTIME, 60000);
  return pthread_mutex_timedlock(&mutex, &late);
}
int just_read() { return pthread_rwlock_rdlock(&rwlock); }
int just_write() { return pthread_rwlock_wrlock(&rwlock); }

// Cancellation points that wait for something else.
void* joined_thread(void*) {
  wait_until([] { return is_open.load(); });
  return nullptr;
}
pthread_t to_join;
int join_it() {
  return ask([] { return pthread_join(to_join, nullptr); });
}
int join_it_until() {
  const timespec late = in_ms(CLOCK_REALTIME, 60000);
  return ask([&] { return pthread_timedjoin_np(to_join, nullptr, &late); });
}
void cancel_a_point(const char* what, int (*wait)()) {
  is_open = false;
  sem_init(&semaphore, 0, 0);
  if (pthread_create(&to_join, nullptr, joined_thread, nullptr) != 0) std::abort();
  const pthread_t thread = start(wait);
  sleep_us(1000);
  pthread_cancel(thread);
  void* answer = nullptr;
  pthread_join(thread, &answer);
  is_open = true;
  std::printf("cancelled in %s:", what);
  say("cancelled", answer == PTHREAD_CANCELED);
  say_answer("join", join_it());
  std::printf("\n");
}

// Who has switched cancellation off is woken like others.
void cancel_in_vain() {
  is_open = false;
  auto act = [] {
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
    return wait_for_condition();
  };
  const pthread_t thread = start(act);
  sleep_us(1000);
  pthread_cancel(thread);
  sleep_us(1000);
  fulfil_condition();
  std::printf("cancelled in vain:");
  say_answer("wait", end_of(thread));
  std::printf("\n");
}

}  // namespace

void try_signals() {
  pthread_barrier_init(&barrier, nullptr, 2);
  sem_init(&semaphore, 0, 0);
  for (const int flags : {0, SA_RESTART}) {
    for (const interrupted_wait& one : waits) interrupt(one, flags);
  }
}

void try_cancellation() {
  cancel_while_waiting_for_a_mutex();
  cancel_at_once_while_holding();
  cancel_at_once_while_waiting<just_lock>("mutex");
  cancel_at_once_while_waiting<just_lock_until>("mutex until");
  cancel_at_once_while_waiting<just_read>("read lock");
  cancel_at_once_while_waiting<just_write>("write lock");
  cancel_a_point("sem_wait", wait_for_semaphore);
  cancel_a_point("sem_timedwait", wait_for_semaphore_until);
  cancel_a_point("pthread_join", join_it);
  cancel_a_point("pthread_timedjoin_np", join_it_until);
  cancel_in_vain();
}
