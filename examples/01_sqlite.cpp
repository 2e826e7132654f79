// SQL in libsqlite3 on two threads, served for profiling until SIGINT or SIGTERM.
//
//   g++ -std=c++17 -O2 -g -Iinclude examples/01_sqlite.cpp -o sqlite_demo -lsqlite3 -pthread
//   ./sqlite_demo localhost:6060
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>
#include <signal.h>
#include <sqlite3.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

static std::atomic<bool> stopping{false};

// One round: fill a table, index it, join and aggregate; sums and the last 100 rounds' names stay.
static const char* const round_of_sql = R"(
  CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INT, amount REAL, note TEXT);
  WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 499)
    INSERT INTO customers SELECT i, 'customer number ' || i FROM n;
  WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)
    INSERT INTO orders SELECT i, i * 31 % 500, i % 97 * 1.5, 'order ' || i * 7919 % 20000 FROM n;
  CREATE INDEX by_note ON orders(note);
  SELECT c.name, sum(o.amount) FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.name;
  DROP TABLE orders;
  DROP TABLE customers)";

static int keep_row(void* kept, int, char** columns, char**) {
  static_cast<std::vector<std::string>*>(kept)->push_back(std::string(columns[0]) + columns[1]);
  return 0;
}

static void work() {
  std::vector<std::vector<std::string>> history(100);
  sqlite3* db = nullptr;
  sqlite3_open(":memory:", &db);
  for (std::size_t round = 0; !stopping; ++round) {
    history[round % 100].clear();
    sqlite3_exec(db, round_of_sql, &keep_row, &history[round % 100], nullptr);
  }
  sqlite3_close(db);
}

int main(int argc, char** argv) {
  sigset_t ends;  // blocked in every thread, so that sigwait gets them
  sigemptyset(&ends);
  sigaddset(&ends, SIGINT);
  sigaddset(&ends, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  if (auto r = prof::http::serve(argc > 1 ? argv[1] : "localhost:6060"); !r) {
    std::fprintf(stderr, "prof: %s\n", r.message());
    return 1;
  }
  std::printf("listening on %s\n", prof::http::address());
  std::fflush(stdout);
  std::thread first(work), second(work);
  int received = 0;
  sigwait(&ends, &received);
  stopping = true;
  first.join(), second.join();
  prof::http::stop();
}
