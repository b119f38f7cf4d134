//! The plot of the manual: CPU for a statement, peer beside peer, case below case.

use std::fmt::Write as _;

use crate::args::Part;
use crate::record::CPU;
use crate::sample::{Sample, distinct, spread, values};

const WIDTH: f64 = 760.0;
/// Where bars begin and how long the longest is.
const LEFT: f64 = 160.0;
const BAR: f64 = 500.0;
const BAR_HEIGHT: f64 = 13.0;
const GAP: f64 = 12.0;
const TOP: f64 = 74.0;
/// One colour for each peer, told apart by the colour-blind too (Okabe and Ito).
const COLOURS: [&str; 8] =
    ["#0072b2", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#999999"];

/// CPU seconds for 100,000 statements as bars. A picture without bars when there are no figures.
pub(crate) fn svg(samples: &[Sample]) -> String {
    let shown: Vec<Sample> = samples
        .iter()
        .filter(|one| one.part == Part::Speed.name() && one.figure == CPU)
        .cloned()
        .collect();
    let cases = distinct(shown.iter().map(|one| one.case.as_str()));
    let mut peers = distinct(shown.iter().map(|one| one.peer.as_str()));
    peers.sort_unstable();
    let median = |case: &str, peer: &str| {
        let of: Vec<f64> = values(&shown, case, peer, CPU).into_iter().map(|(_, v)| v).collect();
        spread(&of).map(|spread| spread.median)
    };
    let all = cases.iter().flat_map(|case| peers.iter().filter_map(|peer| median(case, peer)));
    let most = all.fold(0.0_f64, f64::max).max(f64::MIN_POSITIVE);
    let mut bars = String::new(); // which takes all that is written
    let mut y = TOP;
    for case in &cases {
        let _ = writeln!(bars, "{}", label(LEFT - 8.0, y + BAR_HEIGHT - 3.0, "end", case));
        for (peer, colour) in peers.iter().zip(COLOURS.iter().cycle()) {
            let Some(value) = median(case, peer) else { continue };
            let length = BAR * value / most;
            let _ = writeln!(
                bars,
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\" \
                 fill=\"{colour}\"><title>{}</title></rect>",
                BAR_HEIGHT - 1.0,
                escaped(&format!("{peer}, {case}: {value:.2} s")),
            );
            let x = LEFT + length + 5.0;
            let _ = writeln!(
                bars,
                "{}",
                label(x, y + BAR_HEIGHT - 3.0, "start", &format!("{value:.2}"))
            );
            y += BAR_HEIGHT;
        }
        y += GAP;
    }
    frame(y, &legend(&peers), &bars)
}

fn frame(height: f64, legend: &str, bars: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#222\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"16\" y=\"22\" font-size=\"15\">CPU seconds of the pooler for 100,000 statements \
         (pgbench -S, less is better)</text>\n{legend}{bars}</svg>\n"
    )
}

fn legend(peers: &[&str]) -> String {
    let mut text = String::new();
    let mut x = 16.0;
    for (peer, colour) in peers.iter().zip(COLOURS.iter().cycle()) {
        let _ = writeln!(
            text,
            "<rect x=\"{x:.0}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{colour}\"/>\n{}",
            label(x + 17.0, 48.0, "start", peer)
        );
        let letters = u32::try_from(peer.chars().count()).unwrap_or(0);
        x += 40.0 + 6.2 * f64::from(letters);
    }
    text
}

fn label(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let text = escaped(text);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
#[path = "plot_tests.rs"]
mod tests;
