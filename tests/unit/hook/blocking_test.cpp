// tests/unit/hook/blocking_test.cpp - sleeps, polls, reads and accepts that wait are counted once, others not; where no
// next definition is known they answer as libc's do.

#include "prof/hook/blocking.hpp"

#include <doctest/doctest.h>

#include <cerrno>
#include <string>
#include <thread>

#include "prof/api.hpp"
#include "../waits.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <sys/un.h>

namespace {

using namespace waits_test;

// How many waits of a kind the profile has counted.
std::uint64_t waits_of(wait_kind kind) {
  block_state* const block = block_of(all());
  REQUIRE(block != nullptr);
  const auto is_wanted = [kind](const count_key& key) { return key.extra == static_cast<std::uint64_t>(kind); };
  return sum_of(block->counts, is_wanted).count / one_wait;
}

// A listening socket, and a connected pair of which `far` is written to.
struct sockets {
  int listening;
  int near_end;
  int far_end;
  sockaddr_un address{};
  socklen_t size = sizeof(sockaddr_un);

  sockets() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    near_end = ends[0];
    far_end = ends[1];
    listening = socket(AF_UNIX, SOCK_STREAM, 0);
    address.sun_family = AF_UNIX;
    REQUIRE(bind(listening, name(), sizeof address.sun_family) == 0);
    REQUIRE(listen(listening, 8) == 0);
    REQUIRE(getsockname(listening, name(), &size) == 0);
  }
  ~sockets() {
    for (const int descriptor : {listening, near_end, far_end}) close(descriptor);
  }
  sockets(const sockets&) = delete;
  sockets& operator=(const sockets&) = delete;
  sockaddr* name() { return reinterpret_cast<sockaddr*>(&address); }
  void send() const { CHECK(write(far_end, "x", 1) == 1); }
  void call() {
    const int calling = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(calling, name(), size) == 0);
    close(calling);
  }
};

char g_byte;
timespec g_time{0, 15000000};

// One call of each entry, which waits until something is there or some 15 ms. With `by_symbol` as a program calls it.
struct one_call {
  int entry;
  wait_kind kind;
  long (*call)(bool by_symbol, const sockets& all);
};
#define ONE_CALL(identifier, kind_of_wait, ...)                                                       \
  one_call {                                                                                           \
    blocking_entry_##identifier, wait_kind::kind_of_wait, [](bool by_symbol, const sockets& all) {     \
      (void)all;                                                                                       \
      return static_cast<long>(by_symbol ? prof_call_##identifier(__VA_ARGS__)                         \
                                         : identifier##_entry::fallback(__VA_ARGS__));                 \
    }                                                                                                  \
  }
timeval* some_time() {
  static timeval time;
  time = {0, 15000};
  return &time;
}
int empty_epoll() {
  static const int epoll = epoll_create1(EPOLL_CLOEXEC);
  return epoll;
}
epoll_event g_event;
msghdr* message() {
  static iovec to{&g_byte, 1};
  static msghdr header{};
  header.msg_iov = &to;
  header.msg_iovlen = 1;
  return &header;
}
const iovec* one_byte() {
  static const iovec to{&g_byte, 1};
  return &to;
}
const one_call calls[] = {
    ONE_CALL(nanosleep, sleep, &g_time, nullptr),
    ONE_CALL(clock_nanosleep, sleep, CLOCK_MONOTONIC, 0, &g_time, nullptr),
    ONE_CALL(usleep, sleep, 15000u),
    ONE_CALL(poll, poll, nullptr, 0, 15),
    ONE_CALL(poll_chk, poll, nullptr, 0, 15, 0),
    ONE_CALL(ppoll, poll, nullptr, 0, &g_time, nullptr),
    ONE_CALL(ppoll_chk, poll, nullptr, 0, &g_time, nullptr, 0),
    ONE_CALL(select, poll, 0, nullptr, nullptr, nullptr, some_time()),
    ONE_CALL(pselect, poll, 0, nullptr, nullptr, nullptr, &g_time, nullptr),
    ONE_CALL(epoll_wait, poll, empty_epoll(), &g_event, 1, 15),
    ONE_CALL(epoll_pwait, poll, empty_epoll(), &g_event, 1, 15, nullptr),
    ONE_CALL(read, read, all.near_end, &g_byte, 1),
    ONE_CALL(read_chk, read, all.near_end, &g_byte, 1, 1),
    ONE_CALL(readv, read, all.near_end, one_byte(), 1),
    ONE_CALL(recv, read, all.near_end, &g_byte, 1, 0),
    ONE_CALL(recv_chk, read, all.near_end, &g_byte, 1, 1, 0),
    ONE_CALL(recvfrom, read, all.near_end, &g_byte, 1, 0, nullptr, nullptr),
    ONE_CALL(recvfrom_chk, read, all.near_end, &g_byte, 1, 1, 0, nullptr, nullptr),
    ONE_CALL(recvmsg, read, all.near_end, message(), 0),
    ONE_CALL(accept, accept, all.listening, nullptr, nullptr),
    ONE_CALL(accept4, accept, all.listening, nullptr, nullptr, SOCK_CLOEXEC)};

bool is_at_descriptor(const one_call& one) { return one.kind == wait_kind::read || one.kind == wait_kind::accept; }
void provide(const one_call& one, sockets& all) {
  if (one.kind == wait_kind::read) all.send();
  if (one.kind == wait_kind::accept) all.call();
}
// What each answers when it has waited: a byte, a descriptor, or that its time is over.
void check_answer(const one_call& one, long answer) {
  if (one.kind == wait_kind::read) CHECK(answer == 1);
  else if (one.kind == wait_kind::accept) CHECK(close(static_cast<int>(answer)) == 0);
  else CHECK(answer == 0);
}

}  // namespace

TEST_CASE("each call that waits is counted once, and answers as ever") {
  const block_rate on(1);
  for (const one_call& one : calls) {
    CAPTURE(std::string(blocking_records[one.entry].name));
    sockets all;
    const std::uint64_t before = waits_of(one.kind);
    const std::uint64_t began = os_monotonic_ns_sig();
    std::thread later([&] {
      os_sleep_ns(15 * ms);
      if (is_at_descriptor(one)) provide(one, all);
    });
    errno = 77;
    const long answer = one.call(true, all);
    CHECK(errno == 77);
    CHECK(os_monotonic_ns_sig() - began >= 10 * ms);
    later.join();
    check_answer(one, answer);
    CHECK(waits_of(one.kind) - before == 1);
  }
}

TEST_CASE("what is there already is no wait") {
  const block_rate on(1);
  for (const one_call& one : calls) {
    if (!is_at_descriptor(one)) continue;
    CAPTURE(std::string(blocking_records[one.entry].name));
    sockets all;
    provide(one, all);
    const std::uint64_t before = waits_of(one.kind);
    check_answer(one, one.call(true, all));
    CHECK(waits_of(one.kind) == before);
  }
}

TEST_CASE("who does not want to wait does not") {
  const block_rate on(1);
  const timespec at_once{};
  const std::uint64_t polls = waits_of(wait_kind::poll);
  const std::uint64_t sleeps = waits_of(wait_kind::sleep);
  const std::uint64_t reads = waits_of(wait_kind::read);
  const sockets all;
  timeval no_time{};
  CHECK(prof_call_poll(nullptr, 0, 0) == 0);
  CHECK(prof_call_ppoll(nullptr, 0, &at_once, nullptr) == 0);
  CHECK(prof_call_select(0, nullptr, nullptr, nullptr, &no_time) == 0);
  CHECK(prof_call_pselect(0, nullptr, nullptr, nullptr, &at_once, nullptr) == 0);
  CHECK(prof_call_epoll_wait(empty_epoll(), &g_event, 1, 0) == 0);
  CHECK(prof_call_usleep(0) == 0);
  CHECK(prof_call_sleep(0) == 0);
  CHECK(prof_call_recv(all.near_end, &g_byte, 1, MSG_DONTWAIT) == -1);
  CHECK(errno == EAGAIN);
  CHECK(prof_call_read(-1, &g_byte, 1) == -1);
  CHECK(errno == EBADF);
  CHECK(waits_of(wait_kind::poll) == polls);
  CHECK(waits_of(wait_kind::sleep) == sleeps);
  CHECK(waits_of(wait_kind::read) == reads);
}

TEST_CASE("without a next definition each call waits and answers as libc's") {
  for (const one_call& one : calls) {
    CAPTURE(std::string(blocking_records[one.entry].name));
    sockets all;
    provide(one, all);
    const std::uint64_t began = os_monotonic_ns_sig();
    errno = 77;
    check_answer(one, one.call(false, all));
    CHECK(errno == 77);
    if (!is_at_descriptor(one)) CHECK(os_monotonic_ns_sig() - began >= 14 * ms);
  }
  CHECK(sleep_entry::fallback(0) == 0);
  CHECK(read_entry::fallback(-1, &g_byte, 1) == -1);
  CHECK(errno == EBADF);
}

TEST_CASE("the hooks of system calls are live, count while the block profile is on, and jump on else") {
  const block_rate off(0);
  const prof::status_report report = prof::status();
  int live = 0;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    for (const hook_record& record : blocking_records) {
      if (std::string(report.hooks[i].name) != record.name) continue;
      CAPTURE(std::string(record.name));
      CHECK(std::string(report.hooks[i].state) == "live");
      ++live;
    }
  }
  CHECK(live == blocking_entry_count);
  for (int entry = 0; entry < blocking_entry_count; ++entry) {
    CAPTURE(std::string(blocking_records[entry].name));
    const any_function next = load_word_sig(blocking_hooks(), entry, word_next);
    CHECK(static_cast<bool>(next == reinterpret_cast<any_function>(os_next_symbol(blocking_records[entry].name))));
    CHECK(static_cast<bool>(load_word_sig(blocking_hooks(), entry, word_route) == next));
    const block_rate on(1000);
    CHECK(static_cast<bool>(load_word_sig(blocking_hooks(), entry, word_route) != next));
  }
}

#endif
