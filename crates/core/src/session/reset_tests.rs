//! Resets while there is no leader, and resets that are lost on their way.

use crate::session::script_tests::check;

const ASYNCPG: &str = "SELECT pg_advisory_unlock_all();CLOSE ALL;UNLISTEN *;RESET ALL;";
const DEADPOOL: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                        SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;";

#[test]
fn what_pools_send_to_reset_a_session_succeeds_without_a_leader() {
    check(&format!(
        "> Q:SET work_mem = '3MB'              | lease
         lease                                 | => Q:SET work_mem = '3MB'
         < C:SET / Z:I                         | C:SET / Z:I release
         > Q:{ASYNCPG} | lease
         refuse                                | T / D: / C:SELECT 1 / C:CLOSE CURSOR ALL / C:UNLISTEN / C:RESET / Z:I
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1"
    ));
    check(&format!(
        "> Q:{DEADPOOL} | lease
         refuse                                | C:CLOSE CURSOR ALL / C:SET / C:RESET / C:UNLISTEN / T / D: / C:SELECT 1 / C:DISCARD TEMP / C:DISCARD SEQUENCES / Z:I"
    ));
    check(
        "> Q:SET work_mem = '3MB'              | lease
         lease                                 | => Q:SET work_mem = '3MB'
         < C:SET / Z:I                         | C:SET / Z:I release
         > Q:DISCARD ALL                       | lease
         refuse                                | C:DISCARD ALL / Z:I",
    );
}

#[test]
fn a_reset_lost_on_its_way_has_done_all_there_was_to_do() {
    check(&format!(
        "> Q:{ASYNCPG} | lease
         lease                                 | => Q:{ASYNCPG}
         lost                                  | T / D: / C:SELECT 1 / C:CLOSE CURSOR ALL / C:UNLISTEN / C:RESET / Z:I"
    ));
    check(
        "> Q:LISTEN a                          | lease
         lease                                 | => Q:LISTEN a
         < C:LISTEN / Z:I                      | C:LISTEN / Z:I
         > Q:UNLISTEN *; RESET ALL             | => Q:UNLISTEN *; RESET ALL
         lost                                  | C:UNLISTEN / C:RESET / Z:I
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1",
    );
}

#[test]
fn a_reset_that_a_shutdown_answers_has_done_all_there_was_to_do() {
    check(&format!(
        "> Q:{ASYNCPG} | lease
         lease                                 | => Q:{ASYNCPG}
         < F:57P01                             | T / D: / C:SELECT 1 / C:CLOSE CURSOR ALL / C:UNLISTEN / C:RESET / Z:I lost(the backend ended the connection: 57P01 words of the backend)
         > Q:SELECT 1                          | lease
         lease                                 | => Q:SELECT 1"
    ));
    // What is more than a reset is told as before, and so is what was answered in part.
    check(&format!(
        "> Q:RESET ALL; DELETE FROM t          | lease
         lease                                 | => Q:RESET ALL; DELETE FROM t
         < F:57P01                             | E:08007 / Z:I lost(the backend ended the connection: 57P01 words of the backend)
         > Q:{ASYNCPG} | lease
         lease                                 | => Q:{ASYNCPG}
         < T / F:57P01                         | T / E:08007 / Z:I lost(the backend ended the connection: 57P01 words of the backend)"
    ));
}

#[test]
fn what_is_more_than_a_reset_is_told_as_it_is() {
    check(
        "> Q:RESET ALL; DELETE FROM t          | lease
         refuse                                | E:40001 / Z:I
         > Q:RESET ALL; DELETE FROM t          | lease
         lease                                 | => Q:RESET ALL; DELETE FROM t
         lost                                  | E:08007 / Z:I
         > Q:DISCARD ALL; RESET ALL            | lease
         refuse                                | E:40001 / Z:I",
    );
    // Its answer has begun: nobody knows how far it came.
    check(&format!(
        "> Q:{ASYNCPG} | lease
         lease                                 | => Q:{ASYNCPG}
         < T / D / C:SELECT 1                  | T / D: / C:SELECT 1
         lost                                  | E:08007 / Z:I"
    ));
}
