.bail on
PRAGMA journal_mode = WAL;
CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO rows SELECT i, printf('row %d', i) FROM n;
BEGIN;
UPDATE rows SET text = upper(text) WHERE id % 2;
ROLLBACK;
DELETE FROM rows WHERE id > 4000;
PRAGMA wal_checkpoint(TRUNCATE);
CREATE INDEX texts ON rows (text);
SELECT count(*), sum(id), max(text) FROM rows;
PRAGMA integrity_check;
PRAGMA mmap_size = 1000000;
SELECT count(*) FROM rows WHERE text LIKE 'row 1%';
