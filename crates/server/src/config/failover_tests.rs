//! Which codes and words are taken, and which are refused, and why.

use super::{message, retryable, unknown};

fn refused<T: std::fmt::Debug>(outcome: Result<T, String>, why: &str) {
    let said = outcome.expect_err(why);
    assert!(said.contains(why), "{said}");
}

#[test]
fn codes_on_which_pools_empty_themselves_are_refused() {
    for code in ["57P01", "57P02", "57P03", "53300", "58030", "F0000", "XX000"] {
        refused(retryable(code), "throw their connections away");
        refused(unknown(code), "throw their connections away");
    }
    for code in ["40001", "40P01", "08006"] {
        assert!(retryable(code).is_ok(), "{code}");
    }
}

#[test]
fn codes_on_which_a_commit_is_repeated_are_refused() {
    for code in ["40001", "40P01", "40000", "55P03", "25006"] {
        refused(unknown(code), "committed already");
    }
    for code in ["08007", "40003", "08006"] {
        assert!(unknown(code).is_ok(), "{code}");
    }
}

#[test]
fn words_of_a_lost_connection_are_refused() {
    refused(message("ERROR: Terminating connection due to failover"), "terminating connection");
    refused(message("the server went away"), "went away");
    refused(message("two\nlines"), "one line");
    refused(message("  "), "1 to 200 bytes");
    refused(message(&"x".repeat(201)), "1 to 200 bytes");
    assert_eq!(
        message("please repeat; restart transaction").unwrap(),
        "please repeat; restart transaction"
    );
}
