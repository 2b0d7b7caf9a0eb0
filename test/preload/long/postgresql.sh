# needs: setpriv
# A server of processes that fork, share memory and allocate in contexts. pgbench draws the same transactions in each client every
# time; so the sums are the same in whatever order they come. Indexes are checked against their tables, a dump is read back.
programs=(/usr/lib/postgresql/*/bin)
export PATH=${programs[-1]}:$PATH PGHOST=$PWD PGUSER=lowtide PGDATABASE=postgres
sql() { psql -qAtX -v ON_ERROR_STOP=1 "$@"; }

(unprivileged initdb -D data -U lowtide --no-sync -A trust --locale=C -E UTF8 >initdb.log)
serve unprivileged postgres -D data -k "$PWD" -c listen_addresses= -c fsync=off -c max_parallel_workers_per_gather=2
await pg_isready
mapped $pid

pgbench -q -i -s 5 2>>pgbench.log
pgbench --random-seed=1 -c 8 -j 2 -t "${TRANSACTIONS:-4000}" 2>>pgbench.log | grep -E '^number of (transactions actually|failed)'
pgbench --random-seed=2 -S -c 8 -j 2 -T 10 2>>pgbench.log | grep '^number of failed'
for table in accounts tellers branches; do
    sql -c "SELECT '$table', count(*), sum(${table:0:1}balance), md5(string_agg(t::text, ',' ORDER BY ${table:0:1}id)) FROM pgbench_$table t"
done
sql -c "SELECT sum(delta), count(*) FROM pgbench_history"

sql <<'SQL'
SET work_mem = '64MB';
CREATE TABLE doc (id int PRIMARY KEY, name text, tags text[], body jsonb, words tsvector, at timestamptz, amount numeric);
INSERT INTO doc SELECT i, 'name ' || md5(i::text), ARRAY['t' || i % 7, 't' || i % 11],
    jsonb_build_object('i', i, 'list', jsonb_build_array(i % 3, i % 5, repeat('x', i % 300)), 'deep', jsonb_build_object('k', i * 7919 % 1009)),
    to_tsvector('simple', 'word' || i % 101 || ' other' || i % 211), '2020-01-01Z'::timestamptz + i * interval '1 minute', i * 1.37
    FROM generate_series(1, 60000) i;
CREATE INDEX ON doc USING gin (body jsonb_path_ops);
CREATE INDEX ON doc USING gin (words);
CREATE INDEX ON doc USING brin (at);
CREATE INDEX ON doc (lower(name) text_pattern_ops);
CREATE INDEX ON doc USING hash (name);
UPDATE doc SET body = body || '{"changed": true}' WHERE id % 3 = 0;
DELETE FROM doc WHERE id % 5 = 0;
VACUUM ANALYZE doc;
SELECT count(*), sum(amount) FROM doc WHERE body @> '{"changed": true}';
SELECT count(*) FROM doc WHERE words @@ to_tsquery('simple', 'word7 & !other9');
SELECT tag, count(*), sum(amount), md5(string_agg(name, ',' ORDER BY id)) FROM doc, unnest(tags) tag GROUP BY tag ORDER BY tag;
SELECT date_trunc('day', at AT TIME ZONE 'UTC'), sum(amount), rank() OVER (ORDER BY sum(amount) DESC) FROM doc GROUP BY 1 ORDER BY 1 LIMIT 5;
WITH RECURSIVE step(n, x) AS (SELECT 1, 7::numeric UNION ALL SELECT n + 1, x * 7 FROM step WHERE n < 500) SELECT md5(string_agg(x::text, ',')) FROM step;
SELECT count(*) FROM doc a JOIN doc b ON (a.body->'deep'->>'k') = (b.body->'deep'->>'k') AND a.id < b.id;
SELECT md5(string_agg(regexp_replace(name, '([0-9]+)', '<\1>', 'g'), '' ORDER BY id)) FROM doc;
SELECT length(xmlagg(xmlelement(name doc, xmlattributes(id), name))::text) FROM doc;
DO $$ BEGIN FOR i IN 1..3000 LOOP BEGIN PERFORM 1 / (i % 2); EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$;
SQL
pg_amcheck --install-missing --heapallindexed --all && echo "amcheck finds nothing"
pg_dump -t doc | grep -v '^\\\(un\)\?restrict ' >dump
cksum <dump
createdb again
sql -d again -f dump >/dev/null
pg_dump -t doc again | grep -v '^\\\(un\)\?restrict ' | cmp - dump && echo "the dump reads back"
kill -INT $pid
wait $pid && echo "the server ended with $?"
! grep -E 'PANIC|was terminated by signal|lowtide:' server.log
