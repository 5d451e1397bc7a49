-- PURPOSE: a table, an index and groups in memory: 190 MiB live with 700,000 rows, sorters beside it.
-- USE: sqlite3 :memory: '.param set :rows N' '.read rows.sql'
CREATE TABLE item (id INTEGER PRIMARY KEY, k INTEGER, name TEXT, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
    INSERT INTO item SELECT i, i * 7919 % 700001, printf('name-%06d', i * 31 % 99991),
        zeroblob(i % 200) FROM n;
CREATE INDEX item_k ON item (k);
SELECT count(*), sum(k), max(name) FROM item;
SELECT substr(name, 1, 9), count(*), avg(k) FROM item GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3;
SELECT count(*) FROM item a JOIN item b ON a.k = b.k + 1;
UPDATE item SET body = zeroblob(id % 190) WHERE k % 3 = 0;
SELECT name, max(length(body)) FROM item GROUP BY name ORDER BY 2 DESC, 1 LIMIT 3;
DELETE FROM item WHERE k % 4 = 0;
SELECT length(group_concat(name)) FROM item WHERE k % 5 = 0;
INSERT INTO item SELECT id + 1000000, k, name || '-x', body FROM item WHERE k % 4 = 1;
SELECT count(*), sum(length(body)) FROM item;
