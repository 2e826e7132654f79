// Usage: waits DIRECTORY. Waits some 50 ms for one thing of each kind, says so as wait_kinds.hpp does, and `held` with how long
// it kept the lock of a condition that it had signalled; then writes block.pb.gz, mutex.pb.gz and waiter.pb.gz.
#include <prof/api.hpp>

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "wait_kinds.hpp"

// Comes back when a thread sleeps: it has got to what it waits for, however busy the machine is.
static void until_asleep(pid_t thread) {
  const std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
  for (char state = 'R'; state != 'S';) {
    std::this_thread::sleep_for(1ms);
    std::ifstream file(path);
    std::string name;
    file >> name >> name >> state;
  }
}

// Calls `act` once the caller has waited for some 50 ms.
template <class Act>
static std::thread after_50_ms(Act act) {
  return std::thread([act, caller = gettid()] {
    until_asleep(caller);
    std::this_thread::sleep_for(50ms);
    act();
  });
}
// Runs `wait` in a thread, and comes back when it waits there.
static std::thread waiting(void (*wait)()) {
  std::promise<pid_t> known;
  std::future<pid_t> thread = known.get_future();
  std::thread made([wait, &known] {
    known.set_value(gettid());
    wait();
  });
  until_asleep(thread.get());
  return made;
}

WAITS wait_sleep() {
  const timespec time{0, 50000000};
  const auto began = clock_type::now();
  nanosleep(&time, nullptr);
  say("sleep", __func__, began);
}
WAITS wait_poll() {
  const auto began = clock_type::now();
  poll(nullptr, 0, 50);
  say("poll", __func__, began);
}
WAITS wait_select() {
  timeval time{0, 50000};
  const auto began = clock_type::now();
  select(0, nullptr, nullptr, nullptr, &time);
  say("poll", __func__, began);
}
WAITS wait_epoll(int epoll) {
  epoll_event event{};
  const auto began = clock_type::now();
  epoll_wait(epoll, &event, 1, 50);
  say("poll", __func__, began);
}
WAITS wait_read(int file, char* to) {
  const auto began = clock_type::now();
  if (read(file, to, 1) != 1) return;
  say("read", __func__, began);
}
WAITS wait_receive(int socket, char* to) {
  const auto began = clock_type::now();
  if (recv(socket, to, 1, 0) != 1) return;
  say("read", __func__, began);
}
WAITS wait_accept(int listening) {
  const auto began = clock_type::now();
  close(accept(listening, nullptr, nullptr));
  say("accept", __func__, began);
}

static void wait_for_time() {
  wait_sleep();
  wait_poll();
  wait_select();
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  wait_epoll(epoll);
  close(epoll);
}

// What is there already is not waited for.
static void wait_for_descriptors() {
  int ends[2];
  char byte = 'x';
  if (pipe(ends) != 0) return;
  std::thread other = after_50_ms([&] { (void)!write(ends[1], "ab", 2); });
  wait_read(ends[0], &byte);
  other.join();
  (void)!read(ends[0], &byte, 1);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return;
  other = after_50_ms([&] { (void)!write(ends[1], "a", 1); });
  wait_receive(ends[0], &byte);
  other.join();
  (void)recv(ends[0], &byte, 1, MSG_DONTWAIT);

  const int listening = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof address.sun_family;  // a name that the kernel chooses
  bind(listening, reinterpret_cast<sockaddr*>(&address), size);
  listen(listening, 1);
  size = sizeof address;
  getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
  const int calling = socket(AF_UNIX, SOCK_STREAM, 0);
  other = after_50_ms([&] { (void)!connect(calling, reinterpret_cast<sockaddr*>(&address), size); });
  wait_accept(listening);
  other.join();
}

static void wait_for_locks() {
  plain.lock();
  std::thread waiter = waiting(wait_mutex);
  std::this_thread::sleep_for(50ms);
  plain.unlock();
  waiter.join();

  timed.lock();
  waiter = std::thread(wait_timed_in_vain);
  waiter.join();
  timed.unlock();

  plain.lock();
  waiter = std::thread(wait_timedlock_in_vain);
  waiter.join();
  plain.unlock();

  shared.lock();
  waiter = waiting(wait_read_lock);
  std::this_thread::sleep_for(50ms);
  shared.unlock();
  waiter.join();

  shared.lock_shared();
  waiter = waiting(wait_write_lock);
  std::this_thread::sleep_for(50ms);
  shared.unlock_shared();
  waiter.join();
}

static void wait_for_conditions() {
  wait_condition();
  std::thread waiter = waiting(wait_condition_and_mutex);
  std::this_thread::sleep_for(20ms);
  plain.lock();
  const auto notified = clock_type::now();
  condition.notify_all();
  std::this_thread::sleep_for(30ms);
  const auto held = clock_type::now() - notified;
  plain.unlock();
  waiter.join();
  std::printf("held %.3f\n", milliseconds(held));
}

static void wait_for_others() {
  sem_init(&semaphore, 0, 0);
  std::thread other = after_50_ms([] { sem_post(&semaphore); });
  wait_semaphore();
  other.join();
  wait_semaphore_in_vain();

  pthread_barrier_init(&barrier, nullptr, 2);
  other = after_50_ms([] { pthread_barrier_wait(&barrier); });
  wait_barrier();
  other.join();

  other = after_50_ms([] {});
  wait_join(other);

  std::promise<void> inside;
  other = std::thread([&inside, caller = gettid()] {
    std::call_once(once, [&inside, caller] {
      inside.set_value();
      std::this_thread::sleep_for(1ms);  // until_asleep must not see it wait for `inside`
      until_asleep(caller);
      std::this_thread::sleep_for(50ms);
    });
  });
  inside.get_future().wait();
  wait_once();
  other.join();

  std::promise<int> promise;
  std::future<int> future = promise.get_future();
  other = after_50_ms([&promise] { promise.set_value(1); });
  wait_future(future);
  other.join();
  std::promise<int> never;
  future = never.get_future();
  wait_future_for(future);
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  (void)prof::set_mutex_profile_fraction(1);
  (void)prof::set_block_profile_rate(1);
  wait_for_locks();
  wait_for_conditions();
  wait_for_others();
  wait_for_time();
  wait_for_descriptors();
  const std::string directory = argv[1];
  prof::profile_request of_waiters;
  of_waiters.view = "waiter";
  bool done = true;
  done &= static_cast<bool>(prof::write_profile("block", (directory + "/block.pb.gz").c_str()));
  done &= static_cast<bool>(prof::write_profile("mutex", (directory + "/mutex.pb.gz").c_str()));
  done &= static_cast<bool>(prof::write_profile("mutex", (directory + "/waiter.pb.gz").c_str(), of_waiters));
  return done ? 0 : 1;
}
