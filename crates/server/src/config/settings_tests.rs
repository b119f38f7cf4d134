use std::collections::BTreeSet;

use super::*;
use crate::cli;

#[test]
fn every_setting_has_a_key_a_flag_an_environment_name_and_a_sentence() {
    let command = cli::command();
    let check = command.find_subcommand("check").unwrap();
    let mut variables = BTreeSet::new();
    for setting in SETTINGS {
        let key = setting.key;
        assert!(
            key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'),
            "{key}"
        );
        for command in [&command, check] {
            let mut arguments = command.get_arguments();
            let argument = arguments.find(|argument| argument.get_id() == key).expect(key);
            assert_eq!(argument.get_long(), Some(setting.flag().as_str()));
            assert_eq!(argument.get_help_heading(), Some(setting.heading));
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&setting.variable()), "{help}");
            assert!(help.contains(setting.default) || setting.shape == Shape::Switch, "{help}");
        }
        let doc = setting.doc;
        assert!(doc.ends_with('.') && doc.starts_with(char::is_uppercase), "{key}: {doc}");
        assert!(variables.insert(setting.variable()), "{key}");
        for other in setting.variables {
            assert!(variables.insert((*other).to_owned()), "{other}");
        }
    }
    let arguments: BTreeSet<_> = command.get_arguments().map(|a| a.get_id().to_string()).collect();
    let known: BTreeSet<_> = SETTINGS.iter().map(|s| s.key.to_owned()).collect();
    let rest: Vec<_> = arguments.difference(&known).collect();
    assert_eq!(rest, ["config"]);
}

#[test]
fn a_setting_is_found_by_its_key_alone() {
    assert_eq!(find("failover_hold").unwrap().flag(), "failover-hold");
    assert_eq!(find("failover_hold").unwrap().variable(), "EVERLINE_FAILOVER_HOLD");
    assert!(find("failover-hold").is_none());
}
