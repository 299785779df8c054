import os, sqlite3
for mode in ("delete", "wal", "memory"):
    name = f"{mode}.db"
    connection = sqlite3.connect(name)
    print(connection.execute(f"pragma journal_mode={mode}").fetchone())
    connection.execute("create table t (id integer primary key, name text, size real)")
    with connection:
        connection.executemany("insert into t (name, size) values (?, ?)", [(f"row {i}", i / 3) for i in range(2000)])
    try:
        with connection:
            connection.execute("delete from t")
            raise KeyError("roll back")
    except KeyError as error:
        print(error)
    print(connection.execute("select count(*), max(size), min(name) from t where id % 3 = 1").fetchone())
    reader = sqlite3.connect(name)
    print(reader.execute("select name from t order by size desc limit 2").fetchall(), sorted(n for n in os.listdir(".") if n.startswith(mode)))
    reader.close()
    connection.execute("vacuum")
    connection.close()
print(sorted(name for name in os.listdir(".") if ".db" in name))
