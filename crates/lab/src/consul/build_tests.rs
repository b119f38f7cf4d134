use std::time::Duration;

use super::Heard;

#[test]
fn a_build_tells_how_far_it_is_and_keeps_its_complaints() {
    let mut heard = Heard::default();
    for line in [
        "go: downloading golang.org/x/sys v0.5.0",
        "internal/goarch",
        "github.com/hashicorp/consul/agent",
        "# github.com/hashicorp/consul/agent",
        "agent/agent.go:1:2: undefined: nonsense",
        "",
    ] {
        heard.line(line);
    }
    let progress = heard.progress(Duration::from_secs(61));
    assert_eq!(progress, "building Consul: 1 modules fetched, 2 packages, 61 s");
    assert!(heard.rest.contains("undefined: nonsense"), "{}", heard.rest);
}
