use super::*;
use crate::sql::statements;

#[test]
fn the_lists_are_in_order() {
    for list in [FUNCTIONS, RESERVED, BEHIND_OPERAND] {
        assert!(list.is_sorted() && list.iter().all(|word| word.len() <= 32));
    }
}

#[test]
fn what_can_be_seen_to_only_read() {
    for sql in [
        "SHOW search_path",
        "SELECT 1",
        "TABLE t",
        "VALUES (1), (2)",
        "(SELECT 1) UNION (SELECT 2)",
        "select * from a join (select 1) b on (a.x = b.x) where y in (1, 2) and (z)",
        "SELECT count(*), pg_catalog.lower (x), coalesce(a, b) FROM t WHERE a = ANY($1)",
        "SELECT now(), version(), current_setting('x'), pg_is_in_recovery()",
        "WITH a AS (SELECT 1) SELECT * FROM a ORDER BY (x) LIMIT (3)",
        "SELECT sum(x) FILTER (WHERE y) OVER (PARTITION BY (a) ORDER BY b) FROM t GROUP BY (c)",
        "SELECT 'insert into x', \"update\" FROM t -- delete\n/* for */",
        "SELECT CAST(a AS numeric(10,2)), b::varchar(3), interval '1 day' FROM t",
        "SELECT a FROM t WHERE \"B\" LIKE ('x') AND EXISTS (SELECT)",
        "SELECT 1;",
    ] {
        let statement = statements(sql.as_bytes()).next().unwrap();
        assert!(statement.provably_read_only(), "{sql}");
    }
}

#[test]
fn what_cannot() {
    for sql in [
        "INSERT INTO t VALUES (1)",
        "SELECT * INTO x FROM t",
        "SELECT * FROM t FOR UPDATE",
        "WITH a AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM a",
        "WITH a AS (UPDATE t SET x = 1 RETURNING *) SELECT * FROM a",
        "WITH a AS (delete from t RETURNING *) SELECT * FROM a",
        "WITH a AS (MERGE INTO t USING s ON true WHEN MATCHED THEN DO NOTHING) SELECT 1",
        "SELECT nextval('s')",
        "SELECT f(1)",
        "SELECT f /* */ (1)",
        "SELECT \"count\"(1)",
        "SELECT U&\"count\"(1)",
        "SELECT public.count(1)",
        "SELECT pg_catalog.nextval('s')",
        "SELECT x.pg_catalog.lower(1)",
        "SELECT pg_catalog.over(1)",
        "SELECT filter(1)",
        "SELECT by(1)",
        "SELECT a, join(1)",
        "SELECT 1 + like(1)",
        "SELECT x FROM t ORDER BY over(1)",
        "SELECT set_config('a', 'b', false)",
        "SELECT pg_advisory_lock(1)",
        "VALUES (nextval('s'))",
        "SELECT lo_unlink(1)",
        "SELECT a_name_that_is_longer_than_every_one_in_the_lists(1)",
        "EXPLAIN SELECT 1",
        "SELECT 'open",
        "SELECT 1 /* open",
        "BEGIN",
    ] {
        let statement = statements(sql.as_bytes()).next().unwrap();
        assert!(!statement.provably_read_only(), "{sql}");
    }
    let cut = statements(b"SELECT 1").truncated().next().unwrap();
    assert!(!cut.provably_read_only(), "who knows how it goes on");
}
