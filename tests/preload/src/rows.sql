-- PURPOSE: work for the sqlite3 shell with a fixed output.
PRAGMA journal_mode = WAL;
PRAGMA cache_size = -4000;
CREATE TABLE item (id INTEGER PRIMARY KEY, k INTEGER, name TEXT, body BLOB);
CREATE TABLE tag (item INTEGER REFERENCES item, word TEXT);
BEGIN;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    INSERT INTO item SELECT i, i * 7919 % 100003, printf('name-%06d', i * 31 % 99991),
        zeroblob(i % 40) FROM n;
COMMIT;
CREATE INDEX item_k ON item (k);
CREATE INDEX item_name ON item (name, k);
INSERT INTO tag SELECT id, 'w' || k % 50 FROM item WHERE id % 3 = 0;
SELECT count(*), sum(k), max(name) FROM item;
SELECT word, count(*), avg(i.k) FROM tag t JOIN item i ON i.id = t.item
    GROUP BY word ORDER BY 2 DESC, 1 LIMIT 5;
SELECT a.id, b.id FROM item a JOIN item b ON a.k = b.k + 1 ORDER BY a.k LIMIT 5;
SELECT id, row_number() OVER (PARTITION BY k % 10 ORDER BY name) FROM item
    ORDER BY 2 DESC, 1 LIMIT 5;
BEGIN;
DELETE FROM item WHERE id % 2;
UPDATE item SET name = name || '-x' WHERE k < 5000;
ROLLBACK;
SELECT count(*) FROM item WHERE name LIKE '%-x';
DELETE FROM item WHERE id % 5 = 0;
SELECT group_concat(name, '/') FROM (SELECT name FROM item ORDER BY name DESC LIMIT 4);
SELECT json_array_length(json_group_array(json_object('k', k, 'n', name))) FROM item WHERE k < 9000;
SELECT length(group_concat(hex(body))) FROM item;
CREATE VIRTUAL TABLE words USING fts5(text);
INSERT INTO words SELECT name || ' ' || replace(name, '-', ' ') || ' k' || k % 100
    FROM item WHERE id < 20000;
SELECT count(*) FROM words WHERE words MATCH 'k42 OR k43';
VACUUM;
PRAGMA integrity_check;
