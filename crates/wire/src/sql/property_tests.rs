use proptest::prelude::*;

use super::*;

/// Texts made of the pieces at which lexers fail.
fn sql() -> impl Strategy<Value = String> {
    let pieces = [
        "'",
        "''",
        "\"",
        "\\",
        "$",
        "$$",
        "$a$",
        "--",
        "/*",
        "*/",
        "\n",
        " ",
        ";",
        "(",
        ")",
        "E'",
        "U&'",
        "U&\"",
        "a",
        "1",
        "é",
        "CREATE ",
        "FUNCTION ",
        "OR ",
        "REPLACE ",
        "BEGIN ",
        "ATOMIC ",
        "CASE ",
        "END ",
        "SELECT ",
        "COMMIT ",
        "ROLLBACK ",
        "TO ",
        "SET ",
        "TEMP ",
        "INTO ",
        ".",
        ",",
        "=",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40)
        .prop_map(|pieces| pieces.concat())
}

fn many() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) }
}

/// Whether a semicolon behind the text ends a statement.
fn closed(sql: &str) -> bool {
    let with = format!("{sql}\n;a");
    statements(with.as_bytes()).last().is_some_and(|last| last.text == b"a" && !last.cut)
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn random_bytes_do_no_harm(sql in prop::collection::vec(any::<u8>(), 0..200)) {
        for statement in statements(&sql).chain(statements(&sql).backslash_escapes()) {
            let _ = (statement.provably_read_only(), statement.channel());
        }
    }

    #[test]
    fn a_statement_taken_alone_is_the_same_statement(sql in sql()) {
        let mut end = 0;
        for statement in statements(sql.as_bytes()) {
            let again: Vec<_> = statements(statement.text).collect();
            if statement.cut {
                prop_assert!(again.len() == 1, "{again:?}");
            } else {
                prop_assert_eq!(again, vec![statement.clone()]);
            }
            let start = statement.text.as_ptr().addr() - sql.as_ptr().addr();
            prop_assert!(start >= end && !statement.text.is_empty(), "in order, none empty");
            end = start + statement.text.len();
        }
    }

    #[test]
    fn two_texts_in_one_are_their_statements_in_a_row(first in sql(), second in sql()) {
        if !closed(&first) {
            return Ok(()); // one in three; the others are many enough
        }
        let both = format!("{first}\n;{second}");
        let apart: Vec<_> =
            statements(first.as_bytes()).chain(statements(second.as_bytes())).collect();
        prop_assert_eq!(statements(both.as_bytes()).collect::<Vec<_>>(), apart);
    }

    #[test]
    fn a_prefix_never_hides_a_statement_that_was_whole(sql in sql(), at in 0..100_usize) {
        let at = sql.floor_char_boundary(at);
        let whole: Vec<_> = statements(sql.as_bytes()).collect();
        for (index, statement) in statements(&sql.as_bytes()[..at]).truncated().enumerate() {
            if !statement.cut {
                prop_assert_eq!(Some(&statement), whole.get(index));
            }
        }
    }

    #[test]
    fn blank_texts_have_no_statements(sql in sql()) {
        prop_assert_eq!(is_blank(sql.as_bytes()), statements(sql.as_bytes()).next().is_none());
    }
}
