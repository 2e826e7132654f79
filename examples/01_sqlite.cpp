// SQL in libsqlite3 on two threads, served for profiling until SIGINT or SIGTERM.
//
//   g++ -std=c++17 -O2 -g -Iinclude examples/01_sqlite.cpp -o sqlite_demo -lsqlite3 -pthread
//   ./sqlite_demo localhost:6060
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>

#include <signal.h>
#include <sqlite3.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <string>
#include <thread>
#include <vector>

using totals = std::map<std::string, double>;
using row_function = int (*)(void* context, int count, char** columns, char** names);

static std::atomic<bool> stopping{false};

static const char* const make_tables = R"(
  PRAGMA temp_store = MEMORY;
  CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT);
  CREATE TABLE orders(id INTEGER PRIMARY KEY AUTOINCREMENT, customer INT, amount REAL, note TEXT);
  WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 499)
    INSERT INTO customers SELECT i, 'customer number ' || i FROM n)";
static const char* const insert_order =
    "INSERT INTO orders(customer, amount, note) VALUES (?, ?, ?)";
static const char* const make_index = "CREATE INDEX by_note ON orders(note)";
static const char* const sum_orders = R"(
  SELECT c.name, sum(o.amount) FROM customers c JOIN orders o ON o.customer = c.id GROUP BY c.name)";
static const char* const delete_most = R"(
  DELETE FROM orders WHERE id % 4 != 0 OR id < (SELECT max(id) FROM orders) - 200000;
  DROP INDEX by_note)";

static void execute(sqlite3* db, const char* sql, row_function row = nullptr,
                    void* context = nullptr) {
  if (sqlite3_exec(db, sql, row, context, nullptr) == SQLITE_OK) return;
  std::fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
}

static void insert_orders(sqlite3* db, int count) {
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(db, insert_order, -1, &insert, nullptr);
  execute(db, "BEGIN");
  for (int i = 0; i < count; ++i) {
    const std::string note = "order number " + std::to_string(i * 7919 % count);
    sqlite3_bind_int(insert, 1, i * 31 % 500);
    sqlite3_bind_double(insert, 2, i % 97 * 1.5);
    sqlite3_bind_text(insert, 3, note.c_str(), -1, SQLITE_TRANSIENT);
    sqlite3_step(insert);
    sqlite3_reset(insert);
  }
  execute(db, "COMMIT");
  sqlite3_finalize(insert);
}

static int add_total(void* into, int, char** columns, char**) {
  (*static_cast<totals*>(into))[columns[0]] = std::stod(columns[1]);
  return 0;
}

// A database and the totals of 100 rounds stay in memory; most of what a round allocates does not.
static void work() {
  sqlite3* db = nullptr;
  std::vector<totals> history(100);
  if (sqlite3_open(":memory:", &db) != SQLITE_OK) return;
  execute(db, make_tables);
  for (std::size_t round = 0; !stopping; ++round) {
    totals& sums = history[round % history.size()];
    insert_orders(db, 20000);
    execute(db, make_index);
    execute(db, sum_orders, &add_total, &sums);
    execute(db, delete_most);
  }
  sqlite3_close(db);
}

int main(int argc, char** argv) {
  // Blocked before any thread starts, so that sigwait gets these two and no thread dies of them.
  sigset_t ends;
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

  std::thread first(work);
  std::thread second(work);
  int received = 0;
  sigwait(&ends, &received);
  stopping = true;
  first.join();
  second.join();
  prof::http::stop();
}
