use super::*;

fn samples() -> Vec<Sample> {
    let sample = |peer: &str, round, value| Sample {
        part: "speed".to_owned(),
        case: "simple, 16 clients".to_owned(),
        peer: peer.to_owned(),
        round,
        figure: CPU.to_owned(),
        value,
    };
    let ours = [2.0, 3.0, 5.0].into_iter().zip(1..).map(|(v, round)| sample("Everline", round, v));
    let theirs =
        [4.0, 3.0, 4.0].into_iter().zip(1..).map(|(v, round)| sample("PgBouncer 9", round, v));
    ours.chain(theirs).collect()
}

#[test]
fn a_table_has_medians_and_the_ratio_of_the_same_round() {
    let text = text(&samples());
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(
        rows,
        [
            "| case               | peer        | CPU s/100k          |",
            "|--------------------|-------------|---------------------|",
            "| simple, 16 clients | Everline    | 3 ×1.00 (0.50–1.25) |",
            "|                    | PgBouncer 9 | 4                   |",
        ]
    );
    assert!(text.contains("### Statements without TLS"), "{text}");
}

#[test]
fn tables_replace_what_stands_between_the_marks() {
    let page = format!("a\n{BEGIN}\nold\n{END}\nb\n");
    let once = into_page(&page, "new\n").unwrap();
    assert_eq!(once, format!("a\n{BEGIN}\n\nnew\n\n{END}\nb\n"));
    assert_eq!(into_page(&once, "new\n").unwrap(), once);
    assert_eq!(into_page("a\nb\n", "new\n"), None);
}

#[test]
fn numbers_have_as_many_digits_as_mean_something() {
    let rows = [(12_345.6, "12346"), (99.94, "99.9"), (1.234, "1.23"), (20.0, "20"), (0.0, "0")];
    for (value, wanted) in rows {
        assert_eq!(number(value), wanted);
    }
    assert_eq!(number(f64::NAN), "never");
}
