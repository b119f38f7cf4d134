//! A leader that works but has no slot free for the system connection.

use super::*;

#[test]
fn a_leader_without_a_free_slot_stays_available_while_others_work() {
    check(
        "
        0s     system a/1      | healthy available
        0s     opened x3       | healthy
        1s     system broken   | unhealthy unavailable dial
        1.1s   refused         | unhealthy available
        3s     refused         | unhealthy
        5.999s tick            | unhealthy
        6s     tick            | unhealthy unavailable
        7s     refused         | unhealthy available
        8s     broken          | unhealthy unavailable
        9s     refused         | unhealthy available
        31s    tick            | unhealthy unavailable
        ",
    );
    check(
        "
        0s     system a/1      | healthy available
        0s     opened          | healthy
        1s     system broken   | unhealthy unavailable dial
        2s     refused         | unhealthy available
        3s     closed          | unhealthy unavailable
        4s     refused         | unhealthy
        ",
    );
}

#[test]
fn a_leader_without_a_free_slot_is_not_given_up_while_others_work() {
    check(
        "
        0s   system a/1      | healthy available
        1s   system broken   | unhealthy unavailable dial
        2s   opened x5       | unhealthy
        3s   refused         | unhealthy available
        32s  refused         | unhealthy
        33s  tick            | unhealthy
        34s  system a/1      | healthy
        ",
    );
    check(
        "
        0s   system a/1      | healthy available
        1s   system broken   | unhealthy unavailable dial
        2s   opened x5       | unhealthy
        30s  refused         | unhealthy available
        32.9s tick           | unhealthy
        33s  tick            | failover unavailable retire:1 dial
        34s  refused         | failover
        ",
    );
}

#[test]
fn a_refusal_means_nothing_under_a_standing_system_connection() {
    check(
        "
        0s   system a/1      | healthy available
        0s   opened          | healthy
        1s   refused         | healthy
        2s   system broken   | unhealthy unavailable dial
        ",
    );
}

#[test]
fn an_old_refusal_is_not_counted_once_the_system_connection_stood_again() {
    check(
        "
        0s     system a/1      | healthy available
        0s     opened          | healthy
        1s     system broken   | unhealthy unavailable dial
        1.1s   refused         | unhealthy available
        1.2s   system a/1      | healthy
        1.3s   system broken   | unhealthy unavailable dial
        1.4s   refused         | unhealthy available
        1.5s   system b/2      | healthy unavailable retire:1 available
        1.6s   opened          | healthy
        1.7s   system broken   | unhealthy unavailable dial
        ",
    );
}
