//! Listeners and the connections that they lose.

use crate::session::Policy;
use crate::session::script_tests::{check, check_with};

#[test]
fn a_listener_is_attached_before_it_says_anything() {
    check(
        "> Q:LISTEN news                       | lease
         lease                                 | => Q:LISTEN news
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         lost                                  |
         listen                                | => Q:LISTEN news;
         < C:LISTEN / Z:I                      |
         > Q:SELECT 1                          | => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I",
    );
}

#[test]
fn a_listener_is_told_of_the_gap_once() {
    let policy = Policy { tells_of_gaps: true, ..Policy::default() };
    check_with(
        policy.clone(),
        "> Q:LISTEN News                       | lease
         lease                                 | => Q:LISTEN News
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         > Q:LISTEN \"More News\"               | => Q:LISTEN \"More News\"
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         lost                                  |
         listen                                | => Q:LISTEN News;LISTEN \"More News\";
         < C:LISTEN / C:LISTEN / Z:I           | A:news=everline:gap / A:More News=everline:gap
         > Q:SELECT 1                          | => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I",
    );
    // A statement that comes first attaches it as well, and is told first.
    check_with(
        policy,
        "> Q:LISTEN news                       | lease
         lease                                 | => Q:LISTEN news
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         lost                                  |
         > Q:SELECT 1                          | lease
         lease                                 | => Q:LISTEN news; wait
         < C:LISTEN / Z:I                      | A:news=everline:gap => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I
         > Q:UNLISTEN *                        | => Q:UNLISTEN *
         < C:UNLISTEN / Z:I                    | C:UNLISTEN / Z:I release",
    );
}
