-- Three processes work at each of these queries.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET min_parallel_index_scan_size = 0;
CREATE TABLE numbers AS SELECT n, md5(n::text) AS text FROM generate_series(1, 100000) AS n;
ALTER TABLE numbers SET (parallel_workers = 2);
CREATE INDEX ON numbers (text);
ANALYZE numbers;
SELECT count(*), sum(n), min(text), max(text) FROM numbers WHERE text LIKE '%a%';
SELECT left(text, 1) AS first, count(*), sum(n) FROM numbers GROUP BY first ORDER BY first;
SELECT count(*) FROM numbers AS a JOIN numbers AS b ON a.text = md5(b.n::text);
DO $$
BEGIN
  PERFORM 1 / (n - 5) FROM numbers WHERE n < 10;
EXCEPTION WHEN division_by_zero THEN
  RAISE NOTICE 'caught';
END $$;
SELECT no_such_column FROM numbers;
UPDATE numbers SET n = -n WHERE n % 7 = 0;
VACUUM (PARALLEL 2) numbers;
SELECT sum(n) FROM numbers;
