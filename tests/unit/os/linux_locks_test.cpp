// tests/unit/os/linux_locks_test.cpp - what glibc's locks say of themselves is what their functions then do.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <sys/mman.h>
#include <sys/wait.h>

namespace {

using namespace prof::detail;

constexpr std::uint64_t ms = 1000000;

// Asks for at most 10 s; whether it has become true.
template <class Ask>
bool becomes(Ask ask) {
  for (int i = 0; i < 10000; ++i) {
    if (ask()) return true;
    os_sleep_ns(ms);
  }
  return false;
}

template <class Run>
void elsewhere(Run run) {
  std::thread(run).join();
}
std::uint32_t self() { return os_thread_id_sig(); }

timespec from_now(clockid_t clock, std::uint64_t ns) { return os_timespec(os_clock_ns_sig(clock) + ns); }

// ---- mutexes of every kind -----------------------------------------------------------------------------------------

class made_mutex {
 public:
  const int type;
  const int protocol;
  const bool is_robust;
  os_mutex mutex;

  made_mutex(int wanted_type, int wanted_protocol, bool robust)
      : type(wanted_type), protocol(wanted_protocol), is_robust(robust) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    pthread_mutexattr_setprotocol(&attributes, protocol);
    pthread_mutexattr_setrobust(&attributes, robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED);
    is_made_ = pthread_mutex_init(&mutex, &attributes) == 0;
    pthread_mutexattr_destroy(&attributes);
  }
  ~made_mutex() {
    if (is_made_) pthread_mutex_destroy(&mutex);
  }
  made_mutex(const made_mutex&) = delete;
  made_mutex& operator=(const made_mutex&) = delete;

  bool is_made() const { return is_made_; }
  // False: a ceiling's priority is refused, which needs a privilege or, in glibc 2.36, one more try.
  bool lock() {
    if (pthread_mutex_lock(&mutex) == 0) return true;
    const bool locked = protocol == PTHREAD_PRIO_PROTECT && pthread_mutex_lock(&mutex) == 0;
    CHECK((locked || protocol == PTHREAD_PRIO_PROTECT));
    return locked;
  }
  bool unlock() { return pthread_mutex_unlock(&mutex) == 0; }

  bool is_recursive() const { return type == PTHREAD_MUTEX_RECURSIVE; }
  bool knows_owner() const {
    return is_recursive() || type == PTHREAD_MUTEX_ERRORCHECK || protocol == PTHREAD_PRIO_INHERIT || is_robust;
  }

 private:
  bool is_made_;
};

// Calls visit(mutex) with one of every kind that there is here; how many those are.
template <class Visit>
int for_each_kind(Visit visit) {
  int count = 0;
  for (const int type : {int{PTHREAD_MUTEX_NORMAL}, int{PTHREAD_MUTEX_RECURSIVE}, int{PTHREAD_MUTEX_ERRORCHECK},
                         int{PTHREAD_MUTEX_ADAPTIVE_NP}}) {
    for (const int protocol : {int{PTHREAD_PRIO_NONE}, int{PTHREAD_PRIO_INHERIT}, int{PTHREAD_PRIO_PROTECT}}) {
      for (const bool robust : {false, true}) {
        made_mutex made(type, protocol, robust);
        if (!made.is_made()) continue;
        CAPTURE(type);
        CAPTURE(protocol);
        CAPTURE(robust);
        visit(made);
        ++count;
      }
    }
  }
  return count;
}

// As a mutex with a priority ceiling is while it is held: see pthread_mutex_lock.c.
os_mutex ceiling_mutex(int lock_word) {
  constexpr int ceiling = 5 << 19;
  os_mutex mutex{};
  mutex.__data.__kind = os_mutex_ceiling;
  mutex.__data.__lock = ceiling | lock_word;
  mutex.__data.__owner = lock_word == 0 ? 0 : 4321;
  return mutex;
}

// ---- semaphores ----------------------------------------------------------------------------------------------------

struct made_semaphore {
  os_semaphore semaphore;
  explicit made_semaphore(unsigned value, int shared = 0) { REQUIRE(sem_init(&semaphore, shared, value) == 0); }
  ~made_semaphore() { sem_destroy(&semaphore); }
  made_semaphore(const made_semaphore&) = delete;
  made_semaphore& operator=(const made_semaphore&) = delete;

  int wait(clockid_t clock, std::uint64_t ns) {
    const timespec until = from_now(clock, ns);
    return os_semaphore_wait(semaphore, clock, &until);
  }
  int value() {
    int now = -1;
    sem_getvalue(&semaphore, &now);
    return now;
  }
  std::uint64_t waiters() { return __atomic_load_n(os_semaphore_word_sig(semaphore), __ATOMIC_RELAXED) >> 32; }
};

}  // namespace

// ---- mutexes -------------------------------------------------------------------------------------------------------

TEST_CASE("a free mutex of every kind says that it is free") {
  const int kinds = for_each_kind([](made_mutex& m) {
    CHECK(os_mutex_type_sig(m.mutex) == m.type);
    CHECK_FALSE(os_mutex_is_held_sig(m.mutex));
    CHECK(os_mutex_owner_sig(m.mutex) == 0);
    CHECK((os_mutex_word_sig(m.mutex) == 0) == (m.protocol != PTHREAD_PRIO_PROTECT));
    CHECK_FALSE(os_mutex_relocks_sig(m.mutex, self()));
    CHECK_FALSE(os_is_waited_mutex_sig(m.mutex));
    CHECK((os_mutex_type_sig(m.mutex) == os_mutex_recursive) == (m.type == PTHREAD_MUTEX_RECURSIVE));
    CHECK((os_mutex_type_sig(m.mutex) == os_mutex_errorcheck) == (m.type == PTHREAD_MUTEX_ERRORCHECK));
  });
  CHECK(kinds >= 8);  // the protocols may be missing
}

TEST_CASE("a held mutex of every kind says so, and who holds it") {
  int held = 0;
  for_each_kind([&held](made_mutex& m) {
    for (int again = 0; again < 2; ++again) {
      if (!m.lock()) return;
      CHECK(os_mutex_is_held_sig(m.mutex));
      CHECK(os_mutex_word_sig(m.mutex) != 0);
      CHECK(os_mutex_owner_sig(m.mutex) == self());
      CHECK(os_mutex_type_sig(m.mutex) == m.type);
      CHECK_FALSE(os_is_waited_mutex_sig(m.mutex));
      REQUIRE(m.unlock());
      CHECK_FALSE(os_mutex_is_held_sig(m.mutex));
      CHECK(os_mutex_owner_sig(m.mutex) == 0);
    }
    ++held;
  });
  CHECK(held >= 8);
}

TEST_CASE("a mutex tells whether locking it again waits") {
  for_each_kind([](made_mutex& m) {
    if (!m.lock()) return;
    const bool relocks = os_mutex_relocks_sig(m.mutex, self());
    CHECK(relocks == (m.is_recursive() || m.type == PTHREAD_MUTEX_ERRORCHECK));
    CHECK_FALSE(os_mutex_relocks_sig(m.mutex, self() + 1));
    // The other kinds would wait for ever.
    if (relocks) CHECK(pthread_mutex_lock(&m.mutex) == (m.is_recursive() ? 0 : EDEADLK));
    if (m.is_recursive()) CHECK(m.unlock());
    elsewhere([&m] { CHECK_FALSE(os_mutex_relocks_sig(m.mutex, self())); });
    CHECK(m.unlock());
  });
}

TEST_CASE("a recursive mutex becomes free with its last unlock") {
  int tried = 0;
  for_each_kind([&tried](made_mutex& m) {
    if (!m.is_recursive() || !m.lock()) return;
    ++tried;
    CHECK(os_mutex_unlock_frees_sig(m.mutex, self()));
    for (int i = 0; i < 2; ++i) REQUIRE(pthread_mutex_lock(&m.mutex) == 0);
    for (int i = 0; i < 2; ++i) {
      CHECK_FALSE(os_mutex_unlock_frees_sig(m.mutex, self()));
      CHECK(m.unlock());
      CHECK(os_mutex_is_held_sig(m.mutex));
    }
    CHECK(os_mutex_unlock_frees_sig(m.mutex, self()));
    CHECK(m.unlock());
    CHECK_FALSE(os_mutex_is_held_sig(m.mutex));
  });
  CHECK(tried >= 2);
}

TEST_CASE("a mutex tells whether an unlock of its owner or of another thread makes it free") {
  for_each_kind([](made_mutex& m) {
    if (!m.lock()) return;
    CHECK(os_mutex_unlock_frees_sig(m.mutex, self()));
    bool free = false;
    elsewhere([&] {
      const bool is_plain = !m.knows_owner() && m.protocol == PTHREAD_PRIO_NONE;
      const bool frees = os_mutex_unlock_frees_sig(m.mutex, self());
      CHECK(frees == is_plain);
      if (!is_plain && !m.knows_owner()) return;  // a ceiling: what the call does is not defined
      const int answer = pthread_mutex_unlock(&m.mutex);
      CHECK(answer == (frees ? 0 : EPERM));
      free = answer == 0;
    });
    CHECK(os_mutex_is_held_sig(m.mutex) == !free);
    if (!free) CHECK(m.unlock());
  });
}

TEST_CASE("unlocking a free mutex that knows its owner frees nothing") {
  for_each_kind([](made_mutex& m) {
    if (!m.knows_owner()) return;
    CHECK_FALSE(os_mutex_unlock_frees_sig(m.mutex, self()));
    CHECK(pthread_mutex_unlock(&m.mutex) == EPERM);
  });
}

TEST_CASE("a mutex says that threads wait for it") {
  int tried = 0;
  for_each_kind([&tried](made_mutex& m) {
    if (m.protocol == PTHREAD_PRIO_PROTECT || !m.lock()) return;
    ++tried;
    std::thread waiting([&m] {
      REQUIRE(m.lock());
      m.unlock();
    });
    CHECK(becomes([&m] { return os_is_waited_mutex_sig(m.mutex); }));
    CHECK(os_mutex_is_held_sig(m.mutex));
    CHECK(os_mutex_owner_sig(m.mutex) == self());
    m.unlock();
    waiting.join();
    CHECK_FALSE(os_is_waited_mutex_sig(m.mutex));
  });
  CHECK(tried >= 8);
}

TEST_CASE("words of other things than mutexes are not taken for a mutex that threads wait for") {
  os_mutex mutex{};
  mutex.__data.__lock = 2;
  CHECK(os_is_waited_mutex_sig(mutex));
  mutex.__data.__kind = 1024;
  CHECK_FALSE(os_is_waited_mutex_sig(mutex));
  mutex.__data.__kind = -1;
  CHECK_FALSE(os_is_waited_mutex_sig(mutex));
  mutex.__data.__kind = 0;
  mutex.__data.__nusers = 0x10000;
  CHECK_FALSE(os_is_waited_mutex_sig(mutex));
  mutex.__data.__nusers = 1;
  CHECK(os_is_waited_mutex_sig(mutex));
  mutex.__data.__lock = 1;
  CHECK_FALSE(os_is_waited_mutex_sig(mutex));
}

TEST_CASE("a priority ceiling in a mutex's word is not a holder") {
  CHECK(os_mutex_word_sig(ceiling_mutex(0)) != 0);
  CHECK_FALSE(os_mutex_is_held_sig(ceiling_mutex(0)));
  CHECK(os_mutex_is_held_sig(ceiling_mutex(1)));
  CHECK(os_mutex_is_held_sig(ceiling_mutex(2)));
  CHECK(os_mutex_unlock_frees_sig(ceiling_mutex(1), 4321));
  CHECK_FALSE(os_mutex_unlock_frees_sig(ceiling_mutex(1), 4322));
  os_mutex without = ceiling_mutex(0);
  without.__data.__kind = 0;  // then the same bits are a word like any other
  CHECK(os_mutex_is_held_sig(without));
}

TEST_CASE("a mutex with a priority ceiling says that threads wait for it") {
  CHECK_FALSE(os_is_waited_mutex_sig(ceiling_mutex(0)));
  CHECK_FALSE(os_is_waited_mutex_sig(ceiling_mutex(1)));
  CHECK(os_is_waited_mutex_sig(ceiling_mutex(2)));
}

// ---- robust mutexes whose owner has died ---------------------------------------------------------------------------

TEST_CASE("a robust mutex whose owner has died is not held, for the next lock does not wait") {
  for_each_kind([](made_mutex& m) {
    if (!m.is_robust) return;
    elsewhere([&m] { REQUIRE(m.lock()); });
    // Joined is not gone, and the kernel marks the mutex before it wakes the joiner.
    CHECK(os_mutex_word_sig(m.mutex) != 0);
    CHECK_FALSE(os_mutex_is_held_sig(m.mutex));
    CHECK(os_mutex_owner_sig(m.mutex) == 0);
    CHECK(pthread_mutex_trylock(&m.mutex) == EOWNERDEAD);
    CHECK(os_mutex_is_held_sig(m.mutex));
    CHECK(os_mutex_owner_sig(m.mutex) == self());
    CHECK(pthread_mutex_consistent(&m.mutex) == 0);
    CHECK(os_mutex_owner_sig(m.mutex) == self());
    CHECK(os_mutex_unlock_frees_sig(m.mutex, self()));
    CHECK(m.unlock());
    CHECK_FALSE(os_mutex_is_held_sig(m.mutex));
  });
}

TEST_CASE("a robust mutex that its owner has left and nobody repairs becomes free with the unlock") {
  for_each_kind([](made_mutex& m) {
    if (!m.is_robust) return;
    elsewhere([&m] { REQUIRE(m.lock()); });
    REQUIRE(pthread_mutex_trylock(&m.mutex) == EOWNERDEAD);
    CHECK(os_mutex_unlock_frees_sig(m.mutex, self()));
    CHECK(m.unlock());
    CHECK_FALSE(os_mutex_is_held_sig(m.mutex));
    CHECK(pthread_mutex_lock(&m.mutex) == ENOTRECOVERABLE);
  });
}

TEST_CASE("who has a recursive robust mutex from a dead owner locks it again without waiting") {
  for_each_kind([](made_mutex& m) {
    if (!m.is_robust || (!m.is_recursive() && m.type != PTHREAD_MUTEX_ERRORCHECK)) return;
    elsewhere([&m] { REQUIRE(m.lock()); });
    REQUIRE(pthread_mutex_trylock(&m.mutex) == EOWNERDEAD);
    CHECK(os_mutex_relocks_sig(m.mutex, self()));
    CHECK(pthread_mutex_lock(&m.mutex) == (m.is_recursive() ? 0 : EDEADLK));
    CHECK(pthread_mutex_consistent(&m.mutex) == 0);
    CHECK(m.unlock());
    if (m.is_recursive()) CHECK(m.unlock());
  });
}

// ---- read-write locks ----------------------------------------------------------------------------------------------

namespace {

struct made_rwlock {
  os_rwlock lock;
  explicit made_rwlock(int kind, int shared = PTHREAD_PROCESS_PRIVATE) {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, kind);
    pthread_rwlockattr_setpshared(&attributes, shared);
    REQUIRE(pthread_rwlock_init(&lock, &attributes) == 0);
    pthread_rwlockattr_destroy(&attributes);
  }
  ~made_rwlock() { pthread_rwlock_destroy(&lock); }
  made_rwlock(const made_rwlock&) = delete;
  made_rwlock& operator=(const made_rwlock&) = delete;

  void unlock() { CHECK(pthread_rwlock_unlock(&lock) == 0); }
  // What another thread would get now, and does not keep.
  bool would_block_reader() {
    return would_block([this] { return pthread_rwlock_tryrdlock(&lock); });
  }
  bool would_block_writer() {
    return would_block([this] { return pthread_rwlock_trywrlock(&lock); });
  }

 private:
  template <class Try>
  bool would_block(Try try_it) {
    int answer = 0;
    elsewhere([&] {
      answer = try_it();
      if (answer == 0) pthread_rwlock_unlock(&lock);
    });
    CHECK((answer == 0 || answer == EBUSY));
    return answer != 0;
  }
};

constexpr int rwlock_kinds[] = {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
                                PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP};

void check_is_free(made_rwlock& l) {
  CHECK_FALSE(os_rwlock_may_block_reader_sig(l.lock));
  CHECK_FALSE(os_rwlock_blocks_reader_sig(l.lock));
  CHECK_FALSE(os_rwlock_may_block_writer_sig(l.lock));
  CHECK(os_rwlock_readers_sig(l.lock) == 0);
  CHECK(os_rwlock_writer_sig(l.lock) == 0);
  CHECK_FALSE(os_rwlock_is_writer_sig(l.lock, self()));
  CHECK_FALSE(l.would_block_reader());
  CHECK_FALSE(l.would_block_writer());
}

}  // namespace

TEST_CASE("a read-write lock that is free says so, whoever had it before") {
  for (const int kind : rwlock_kinds) {
    for (const int shared : {int{PTHREAD_PROCESS_PRIVATE}, int{PTHREAD_PROCESS_SHARED}}) {
      CAPTURE(kind);
      made_rwlock l(kind, shared);
      CHECK(os_rwlock_word_sig(l.lock) == 0);
      check_is_free(l);
      REQUIRE(pthread_rwlock_rdlock(&l.lock) == 0);
      l.unlock();
      check_is_free(l);
      REQUIRE(pthread_rwlock_wrlock(&l.lock) == 0);
      l.unlock();
      check_is_free(l);
    }
  }
}

TEST_CASE("a read-write lock counts its readers, who block writers only") {
  for (const int kind : rwlock_kinds) {
    CAPTURE(kind);
    made_rwlock l(kind);
    for (std::uint32_t readers = 1; readers <= 3; ++readers) {
      REQUIRE(pthread_rwlock_rdlock(&l.lock) == 0);
      CHECK(os_rwlock_readers_sig(l.lock) == readers);
      CHECK_FALSE(os_rwlock_may_block_reader_sig(l.lock));
      CHECK_FALSE(os_rwlock_blocks_reader_sig(l.lock));
      CHECK(os_rwlock_may_block_writer_sig(l.lock));
      CHECK(os_rwlock_writer_sig(l.lock) == 0);
      CHECK_FALSE(os_rwlock_is_writer_sig(l.lock, self()));
      CHECK_FALSE(l.would_block_reader());
      CHECK(l.would_block_writer());
    }
    for (std::uint32_t readers = 3; readers > 0; --readers) {
      CHECK(os_rwlock_readers_sig(l.lock) == readers);
      l.unlock();
    }
    check_is_free(l);
  }
}

TEST_CASE("a read-write lock knows its writer, who blocks both") {
  for (const int kind : rwlock_kinds) {
    CAPTURE(kind);
    made_rwlock l(kind);
    REQUIRE(pthread_rwlock_wrlock(&l.lock) == 0);
    CHECK(os_rwlock_writer_sig(l.lock) == self());
    CHECK(os_rwlock_is_writer_sig(l.lock, self()));
    CHECK_FALSE(os_rwlock_is_writer_sig(l.lock, self() + 1));
    CHECK(os_rwlock_may_block_reader_sig(l.lock));
    CHECK(os_rwlock_blocks_reader_sig(l.lock));
    CHECK(os_rwlock_may_block_writer_sig(l.lock));
    CHECK(os_rwlock_readers_sig(l.lock) == 0);
    CHECK(l.would_block_reader());
    CHECK(l.would_block_writer());
    l.unlock();
  }
}

TEST_CASE("a writer that waits keeps readers out where it is preferred, and the lock says so") {
  for (const int kind : rwlock_kinds) {
    CAPTURE(kind);
    made_rwlock l(kind);
    REQUIRE(pthread_rwlock_rdlock(&l.lock) == 0);
    std::thread writer([&l] {
      REQUIRE(pthread_rwlock_wrlock(&l.lock) == 0);
      pthread_rwlock_unlock(&l.lock);
    });
    CHECK(becomes([&l] { return os_rwlock_may_block_reader_sig(l.lock); }));
    CHECK(l.would_block_reader() == (kind == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP));
    CHECK(os_rwlock_blocks_reader_sig(l.lock) == l.would_block_reader());
    CHECK(os_rwlock_may_block_writer_sig(l.lock));
    CHECK(os_rwlock_readers_sig(l.lock) == 1);
    CHECK(os_rwlock_writer_sig(l.lock) == 0);
    l.unlock();
    writer.join();
    check_is_free(l);
  }
}

// Who has a read-write lock in the tests below; `wants`: a writer waits for it.
struct rwlock_situation {
  const char* name;
  int reads;
  bool writes;
  bool wants;
};
constexpr rwlock_situation rwlock_situations[] = {{"free", 0, false, false},
                                                  {"read", 1, false, false},
                                                  {"read by two", 2, false, false},
                                                  {"written", 0, true, false},
                                                  {"read, and a writer waits", 1, false, true}};
// Two locks in one situation, one for libc's function and one for ours.
class rwlock_pair {
 public:
  rwlock_pair(const rwlock_situation& situation, int kind) : theirs(kind), ours(kind), situation_(situation) {
    for (made_rwlock* l : {&theirs, &ours}) {
      for (int i = 0; i < situation.reads; ++i) CHECK(pthread_rwlock_rdlock(&l->lock) == 0);
      if (situation.writes) CHECK(pthread_rwlock_wrlock(&l->lock) == 0);
      if (situation.wants) writers_.emplace_back([l] {
        pthread_rwlock_wrlock(&l->lock);
        l->unlock();
      });
      if (situation.wants) CHECK(becomes([l] { return os_rwlock_may_block_reader_sig(l->lock); }));
    }
  }
  ~rwlock_pair() {
    for (made_rwlock* l : {&theirs, &ours}) {
      for (int i = 0; i < situation_.reads + situation_.writes; ++i) l->unlock();
    }
    for (std::thread& writer : writers_) writer.join();
  }
  rwlock_pair(const rwlock_pair&) = delete;
  rwlock_pair& operator=(const rwlock_pair&) = delete;
  bool are_equal() const { return std::memcmp(&theirs.lock, &ours.lock, sizeof(os_rwlock)) == 0; }

  made_rwlock theirs;
  made_rwlock ours;

 private:
  const rwlock_situation situation_;
  std::vector<std::thread> writers_;
};

TEST_CASE("trying a read-write lock answers as libc's functions and leaves the same words behind") {
  for (const int kind : rwlock_kinds) {
    for (const rwlock_situation& situation : rwlock_situations) {
      for (const bool writes : {false, true}) {
        CAPTURE(kind);
        CAPTURE(std::string(situation.name));
        CAPTURE(writes);
        rwlock_pair l(situation, kind);
        const int wanted = writes ? pthread_rwlock_trywrlock(&l.theirs.lock) : pthread_rwlock_tryrdlock(&l.theirs.lock);
        CHECK((writes ? os_rwlock_try_write(l.ours.lock, self()) : os_rwlock_try_read(l.ours.lock)) == wanted);
        CHECK(l.are_equal());
        if (wanted != 0) continue;
        l.theirs.unlock();
        l.ours.unlock();
        CHECK(l.are_equal());
      }
    }
  }
}

TEST_CASE("a read-write lock that is tried so keeps out who must wait, and wakes who may go on") {
  for (const int kind : rwlock_kinds) {
    made_rwlock l(kind);
    std::uint64_t guarded[2] = {};
    std::atomic<int> torn{0};
    std::atomic<int> written{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        for (int n = 0; n < 5000; ++n) {
          const bool tries = (n + i) % 2 == 0;
          if (i % 2 == 0) {
            if (tries ? os_rwlock_try_write(l.lock, self()) != 0 : pthread_rwlock_wrlock(&l.lock) != 0) continue;
            ++guarded[0];
            guarded[1] = guarded[0];
            ++written;
          } else {
            if (tries ? os_rwlock_try_read(l.lock) != 0 : pthread_rwlock_rdlock(&l.lock) != 0) continue;
            if (guarded[0] != guarded[1]) ++torn;
          }
          pthread_rwlock_unlock(&l.lock);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(torn.load() == 0);
    CHECK(guarded[0] == static_cast<std::uint64_t>(written.load()));
    check_is_free(l);
  }
}

TEST_CASE("readers and writers that have given up leave a read-write lock as it was") {
  for (const int kind : rwlock_kinds) {
    CAPTURE(kind);
    made_rwlock l(kind);
    REQUIRE(pthread_rwlock_rdlock(&l.lock) == 0);
    elsewhere([&l] {
      const timespec until = from_now(CLOCK_REALTIME, 5 * ms);
      CHECK(pthread_rwlock_timedwrlock(&l.lock, &until) == ETIMEDOUT);
    });
    CHECK_FALSE(os_rwlock_may_block_reader_sig(l.lock));
    CHECK(os_rwlock_readers_sig(l.lock) == 1);
    l.unlock();
    REQUIRE(pthread_rwlock_wrlock(&l.lock) == 0);
    elsewhere([&l] {
      const timespec until = from_now(CLOCK_REALTIME, 5 * ms);
      CHECK(pthread_rwlock_timedrdlock(&l.lock, &until) == ETIMEDOUT);
    });
    CHECK(os_rwlock_readers_sig(l.lock) == 0);
    CHECK(os_rwlock_is_writer_sig(l.lock, self()));
    l.unlock();
    check_is_free(l);
  }
}

// ---- semaphores ----------------------------------------------------------------------------------------------------

TEST_CASE("a semaphore is open as long as its value is not zero") {
  for (const int shared : {0, 1}) {
    made_semaphore s(2, shared);
    CHECK(os_semaphore_is_open_sig(s.semaphore));
    REQUIRE(sem_trywait(&s.semaphore) == 0);
    CHECK(os_semaphore_is_open_sig(s.semaphore));
    REQUIRE(sem_trywait(&s.semaphore) == 0);
    CHECK_FALSE(os_semaphore_is_open_sig(s.semaphore));
    REQUIRE(sem_post(&s.semaphore) == 0);
    CHECK(os_semaphore_is_open_sig(s.semaphore));
  }
  made_semaphore largest(SEM_VALUE_MAX);
  CHECK(os_semaphore_is_open_sig(largest.semaphore));
}

TEST_CASE("threads that wait for a semaphore do not make it open") {
  made_semaphore s(0);
  std::thread waiting([&s] { CHECK(s.wait(CLOCK_MONOTONIC, 10000 * ms) == 0); });
  CHECK(becomes([&s] { return s.waiters() == 1; }));
  CHECK_FALSE(os_semaphore_is_open_sig(s.semaphore));
  CHECK(s.value() == 0);
  sem_post(&s.semaphore);
  waiting.join();
  CHECK_FALSE(os_semaphore_is_open_sig(s.semaphore));
  CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
}

TEST_CASE("an open semaphore is taken without waiting, also at a time that is past") {
  made_semaphore s(3);
  const timespec past{};
  CHECK(os_semaphore_wait(s.semaphore, CLOCK_REALTIME, nullptr) == 0);
  CHECK(s.value() == 2);
  CHECK(os_semaphore_wait(s.semaphore, CLOCK_REALTIME, &past) == 0);
  CHECK(os_semaphore_wait(s.semaphore, CLOCK_MONOTONIC, &past) == 0);
  CHECK(s.value() == 0);
  CHECK(s.waiters() == 0);
}

TEST_CASE("a wait for a semaphore ends at its time, by either clock, and leaves nothing behind") {
  for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) {
    CAPTURE(clock);
    made_semaphore s(0);
    const std::uint64_t began = os_monotonic_ns_sig();
    CHECK(s.wait(clock, 20 * ms) == ETIMEDOUT);
    CHECK(os_monotonic_ns_sig() - began >= 19 * ms);
    CHECK(os_monotonic_ns_sig() - began < 10000 * ms);
    CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
    const timespec past{};
    CHECK(os_semaphore_wait(s.semaphore, clock, &past) == ETIMEDOUT);
    CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
  }
}

TEST_CASE("a time that is none is refused") {
  made_semaphore s(0);
  for (const long ns : {-1L, 1000000000L}) {
    timespec wrong{};
    wrong.tv_nsec = ns;
    CHECK(os_semaphore_wait(s.semaphore, CLOCK_REALTIME, &wrong) == EINVAL);
    CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
  }
}

TEST_CASE("a time before the epoch is past, as sem_timedwait has it") {
  made_semaphore s(0);
  timespec before{};
  before.tv_sec = -1;
  CHECK(sem_timedwait(&s.semaphore, &before) == -1);
  const int wanted = errno;
  CHECK(wanted == ETIMEDOUT);
  CHECK(os_semaphore_wait(s.semaphore, CLOCK_REALTIME, &before) == wanted);
  CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
}

TEST_CASE("sem_post wakes who waits for a semaphore, with or without a time, private or shared") {
  for (const int shared : {0, 1}) {
    for (const bool has_time : {false, true}) {
      CAPTURE(shared);
      CAPTURE(has_time);
      made_semaphore s(0, shared);
      std::atomic<bool> woken{false};
      std::thread waiting([&] {
        const timespec until = from_now(CLOCK_MONOTONIC, 60000 * ms);
        CHECK(os_semaphore_wait(s.semaphore, CLOCK_MONOTONIC, has_time ? &until : nullptr) == 0);
        woken.store(true);
      });
      CHECK(becomes([&s] { return s.waiters() == 1; }));
      os_sleep_ns(10 * ms);
      CHECK_FALSE(woken.load());
      sem_post(&s.semaphore);
      CHECK(becomes([&woken] { return woken.load(); }));
      waiting.join();
      CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
    }
  }
}

TEST_CASE("a shared semaphore is posted by another process") {
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(static_cast<bool>(page != MAP_FAILED));
  auto& semaphore = *static_cast<os_semaphore*>(page);
  REQUIRE(sem_init(&semaphore, 1, 0) == 0);
  const pid_t child = fork();
  if (child == 0) {
    // When the parent waits; if it never does, it finds the semaphore open.
    for (int i = 0; i < 1000 && *os_semaphore_word_sig(semaphore) == 0; ++i) os_sleep_ns(ms);
    os_sleep_ns(10 * ms);
    _exit(sem_post(&semaphore) == 0 ? 0 : 1);
  }
  const timespec until = from_now(CLOCK_REALTIME, 20000 * ms);
  CHECK(os_semaphore_wait(semaphore, CLOCK_REALTIME, &until) == 0);
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(status == 0);
  munmap(page, 4096);
}

TEST_CASE("a signal's handler ends a wait for a semaphore, as it does with sem_wait") {
  static std::atomic<int> handled;
  handled.store(0);
  struct sigaction wanted = {};
  struct sigaction before = {};
  wanted.sa_handler = [](int) { handled.fetch_add(1); };
  REQUIRE(sigaction(SIGUSR2, &wanted, &before) == 0);
  made_semaphore s(0);
  std::atomic<int> answer{-1};
  std::thread waiting([&] { answer.store(s.wait(CLOCK_MONOTONIC, 20000 * ms)); });
  CHECK(becomes([&s] { return s.waiters() == 1; }));
  CHECK(becomes([&] {
    pthread_kill(waiting.native_handle(), SIGUSR2);
    return answer.load() != -1;
  }));
  waiting.join();
  sigaction(SIGUSR2, &before, nullptr);
  CHECK(answer.load() == EINTR);
  CHECK(handled.load() >= 1);
  CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
}

TEST_CASE("a thread that is cancelled does not begin to wait for a semaphore") {
  made_semaphore s(1);
  std::atomic<bool> is_cancelled{false};
  std::atomic<bool> came_back{false};
  std::thread waiting([&] {
    while (!is_cancelled.load()) os_yield();
    (void)s.wait(CLOCK_MONOTONIC, 10000 * ms);
    came_back.store(true);
  });
  REQUIRE(pthread_cancel(waiting.native_handle()) == 0);
  is_cancelled.store(true);
  waiting.join();
  CHECK_FALSE(came_back.load());
  CHECK(*os_semaphore_word_sig(s.semaphore) == 1);
}

TEST_CASE("a thread that is cancelled while it waits for a semaphore waits and counts no longer") {
  made_semaphore s(0);
  std::atomic<std::uint32_t> id{0};
  std::thread waiting([&] {
    id.store(os_thread_id_sig());
    (void)s.wait(CLOCK_MONOTONIC, 10000 * ms);
  });
  CHECK(becomes([&] { return id.load() != 0 && os_futex_of_thread(id.load()) != 0; }));
  CHECK(*os_semaphore_word_sig(s.semaphore) == std::uint64_t{1} << 32);
  const std::uint64_t began = os_monotonic_ns_sig();
  REQUIRE(pthread_cancel(waiting.native_handle()) == 0);
  waiting.join();
  CHECK(os_monotonic_ns_sig() - began < 9000 * ms);
  CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
}

TEST_CASE("a wait for a semaphore by a clock that libc does not know is refused") {
  made_semaphore s(0);
  const timespec past{};
  CHECK(os_semaphore_wait(s.semaphore, CLOCK_PROCESS_CPUTIME_ID, &past) == EINVAL);
}

TEST_CASE("each post lets one through, whether it waits by libc's function or by this one") {
  constexpr int rounds = 2000;
  made_semaphore s(0);
  std::atomic<int> passed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&s, &passed, i] {
      const timespec until = from_now(CLOCK_REALTIME, 60000 * ms);
      for (int n = 0; n < rounds; ++n) {
        const bool got = i % 2 == 0 ? os_semaphore_wait(s.semaphore, CLOCK_REALTIME, &until) == 0
                                    : sem_timedwait(&s.semaphore, &until) == 0;
        if (got) ++passed;
      }
    });
  }
  for (int n = 0; n < 4 * rounds; ++n) sem_post(&s.semaphore);
  for (std::thread& thread : threads) thread.join();
  CHECK(passed.load() == 4 * rounds);
  CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
}

// ---- barriers, once, futexes -------------------------------------------------------------------------------------------------

TEST_CASE("a barrier says who comes last, in each of its rounds") {
  for (const unsigned count : {1u, 2u, 3u}) {
    CAPTURE(count);
    pthread_barrier_t barrier;
    REQUIRE(pthread_barrier_init(&barrier, nullptr, count) == 0);
    for (int round = 0; round < 3; ++round) {
      CAPTURE(round);
      std::vector<std::thread> waiting;
      for (unsigned others = 1; others < count; ++others) {
        CHECK_FALSE(os_barrier_is_complete_sig(barrier));
        std::atomic<std::uint32_t> id{0};
        waiting.emplace_back([&barrier, &id] {
          id.store(self());
          pthread_barrier_wait(&barrier);
        });
        CHECK(becomes([&id] { return id.load() != 0 && os_futex_of_thread(id.load()) != 0; }));
      }
      CHECK(os_barrier_is_complete_sig(barrier));
      CHECK(pthread_barrier_wait(&barrier) >= PTHREAD_BARRIER_SERIAL_THREAD);
      for (std::thread& thread : waiting) thread.join();
    }
    pthread_barrier_destroy(&barrier);
  }
}

namespace {

pthread_once_t g_once = PTHREAD_ONCE_INIT;
std::atomic<bool> g_runs_inside{false};

}  // namespace

TEST_CASE("pthread_once says that its function runs while it does") {
  CHECK_FALSE(os_once_is_running_sig(g_once));
  CHECK(pthread_once(&g_once, [] { g_runs_inside.store(os_once_is_running_sig(g_once)); }) == 0);
  CHECK(g_runs_inside.load());
  CHECK_FALSE(os_once_is_running_sig(g_once));
  g_runs_inside.store(false);
  CHECK(pthread_once(&g_once, [] { g_runs_inside.store(true); }) == 0);
  CHECK_FALSE(g_runs_inside.load());
}

#if defined(__cpp_exceptions)
TEST_CASE("pthread_once whose function throws runs no longer") {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  CHECK_THROWS_AS(pthread_once(&once, [] { throw 5; }), int);
  CHECK_FALSE(os_once_is_running_sig(once));
}
#endif

TEST_CASE("a futex wait is told from other operations and other system calls") {
  constexpr long waits[] = {0, 6, 9, 11, 13};  // WAIT, LOCK_PI, WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2
  for (long command = 0; command < 128; ++command) {
    bool wanted = false;
    for (const long wait : waits) wanted |= command == wait;
    for (const long flags : {0L, 128L, 256L, 384L}) {  // FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME
      CAPTURE(command);
      CAPTURE(flags);
      CHECK(os_is_futex_wait_sig(SYS_futex, command | flags) == wanted);
      CHECK_FALSE(os_is_futex_wait_sig(SYS_getpid, command | flags));
    }
  }
  CHECK(os_is_futex_wait_sig(SYS_futex, FUTEX_WAIT_PRIVATE));
  CHECK_FALSE(os_is_futex_wait_sig(SYS_futex, FUTEX_WAKE_PRIVATE));
}

#endif
