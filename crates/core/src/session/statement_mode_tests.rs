use crate::session::script_tests::check_with;
use crate::session::{Lending, Policy};

fn check(script: &str) {
    check_with(Policy { lending: Lending::Statement, ..Policy::default() }, script);
}

#[test]
fn a_transaction_over_several_statements_is_refused_and_the_session_goes_on() {
    check(
        "> Q:BEGIN                             | E:0A000 / Z:I
         > Q:/* a */ start transaction         | E:0A000 / Z:I
         > Q:SELECT 1; BEGIN; SELECT 2         | E:0A000 / Z:I
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1
         < C:SELECT 1 / Z:I                    | C:SELECT 1 / Z:I release
         > P::BEGIN / B: / E / S               | E:0A000 / Z:I
         > Q:ROLLBACK                          | N:25P01 / C:ROLLBACK / Z:I",
    );
}
