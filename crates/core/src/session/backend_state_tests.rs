use super::{BackendState, Parameters};
use crate::limits::{PARAMETER_BYTES_MAX, PARAMETERS_MAX};

#[test]
fn a_backend_reports_so_many_settings_of_such_a_length_and_no_more() {
    let mut backend = BackendState::new(Parameters::new());
    for number in 0..PARAMETERS_MAX {
        assert!(backend.reports(&format!("setting{number}"), "on"), "{number}");
    }
    assert!(!backend.reports("one more", "on"));
    assert!(backend.reports("setting7", "off"), "one that is known may change");
    assert!(!backend.reports("setting8", &"x".repeat(PARAMETER_BYTES_MAX)));
    assert_eq!(backend.parameters.len(), PARAMETERS_MAX);
    let kept = |name: &str| backend.parameters.get(name).map(ToString::to_string);
    assert_eq!((kept("setting7"), kept("setting8")), (Some("off".into()), Some("on".into())));
}
