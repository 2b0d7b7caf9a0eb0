# needs: sqlite3
# 200,000 rows: built, indexed, grouped, joined, half of them deleted, vacuumed.
sqlite3 test.db <<'SQL'
PRAGMA journal_mode = WAL;
PRAGMA cache_size = -65536;
CREATE TABLE sale (id INTEGER PRIMARY KEY, customer INTEGER, amount REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
INSERT INTO sale SELECT i, i * 7919 % 5003, (i * 31 % 1000) / 10.0, printf('note %d %s', i, hex(i * i)) FROM n;
CREATE INDEX by_customer ON sale (customer, amount);
CREATE INDEX by_note ON sale (note);
SELECT count(*), round(sum(amount), 1), max(note) FROM sale;
SELECT customer, count(*), round(sum(amount), 1) AS total FROM sale GROUP BY customer ORDER BY total DESC, customer LIMIT 5;
SELECT count(*) FROM sale a JOIN sale b ON a.customer = b.customer AND a.id < b.id WHERE a.id % 50 = 0;
SELECT length(group_concat(note)) FROM (SELECT note FROM sale ORDER BY note);
DELETE FROM sale WHERE id % 2;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), page_count FROM sale, pragma_page_count;
SQL
sqlite3 test.db .dump | cksum
