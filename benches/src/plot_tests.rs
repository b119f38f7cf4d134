use super::*;

#[test]
fn the_longest_bar_is_the_greatest_median() {
    let sample = |peer: &str, value| Sample {
        part: "speed".to_owned(),
        case: "simple <1>".to_owned(),
        peer: peer.to_owned(),
        round: 1,
        figure: CPU.to_owned(),
        value,
    };
    let svg = svg(&[sample("A & B", 2.0), sample("C", 4.0)]);
    let widths: Vec<&str> = svg
        .lines()
        .filter(|line| line.contains("<title>"))
        .filter_map(|line| line.split('"').nth(5))
        .collect();
    assert_eq!(widths, ["250.0", "500.0"]);
    assert!(svg.contains("A &amp; B, simple &lt;1&gt;: 2.00 s"), "{svg}");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

#[test]
fn without_figures_there_are_no_bars() {
    let svg = svg(&[]);
    assert!(!svg.contains("<title>") && svg.ends_with("</svg>\n"), "{svg}");
}
