use super::*;

fn read(text: &str, success: bool) -> String {
    let mut reader = Reader::default();
    for line in text.lines() {
        reader.line(line);
    }
    let tally = reader.end(success);
    format!("{tally}; {}; {}", tally.failed.join(", "), tally.skipped.join(", "))
}

const RESULT: &str = "0 measured; 0 filtered out; finished in 0.00s";

#[test]
fn binaries_are_summed_up() {
    let text = format!(
        "\nrunning 2 tests\ntest a ... ok\ntest b ... ok\n\nsuccesses:\n\n\
         successes:\n    a\n    b\n\n\
         test result: ok. 2 passed; 0 failed; 0 ignored; {RESULT}\n\n\
         running 1 test\ntest c ... ok\n\n\
         test result: ok. 1 passed; 0 failed; 1 ignored; {RESULT}\n"
    );
    assert_eq!(read(&text, true), "3 passed, 0 failed, 1 skipped; ; a test marked #[ignore]");
}

#[test]
fn a_test_that_says_skipped_is_not_counted_as_passed() {
    let text = format!(
        "running 2 tests\ntest a::b ... ok\ntest c ... ok\n\nsuccesses:\n\n\
         ---- a::b stdout ----\nskipped: no PostgreSQL\nskipped: twice\n\n\
         ---- c stdout ----\nfine\n\nsuccesses:\n    a::b\n    c\n\n\
         test result: ok. 2 passed; 0 failed; 0 ignored; {RESULT}\n"
    );
    assert_eq!(read(&text, true), "1 passed, 0 failed, 1 skipped; ; a::b: no PostgreSQL");
}

#[test]
fn a_skipped_test_that_names_itself_is_named_once() {
    let text = format!(
        "running 1 test\ntest a::b ... ok\n\nsuccesses:\n\n\
         ---- a::b stdout ----\nskipped: a::b: no PostgreSQL\n\n\nsuccesses:\n    a::b\n\n\
         test result: ok. 1 passed; 0 failed; 0 ignored; {RESULT}\n"
    );
    assert_eq!(read(&text, true), "0 passed, 0 failed, 1 skipped; ; a::b: no PostgreSQL");
}

#[test]
fn failures_are_named() {
    let text = format!(
        "running 2 tests\ntest a ... FAILED\ntest b ... ok\n\nsuccesses:\n    b\n\nfailures:\n\n\
         ---- a stdout ----\nskipped: not really\n\nfailures:\n    a\n\n\
         test result: FAILED. 1 passed; 1 failed; 0 ignored; {RESULT}\n"
    );
    assert_eq!(read(&text, false), "1 passed, 1 failed, 0 skipped; a; ");
}

#[test]
fn what_ends_without_a_result_has_failed() {
    let died = "a test binary that ended in the middle";
    assert_eq!(
        read("running 2 tests\ntest a ... ok\n", false),
        format!("0 passed, 1 failed, 0 skipped; {died}; ")
    );
    assert_eq!(
        read("error: could not compile\n", false),
        "0 passed, 1 failed, 0 skipped; the test runner itself; see above; "
    );
    assert!(!Reader::default().end(true).holds(), "nothing was checked");
}

#[test]
fn what_a_passing_test_printed_is_not_shown_again() {
    let mut reader = Reader::default();
    let shown = ["running 1 test", "test a ... ok", "successes:", "---- a stdout ----", "chatter"]
        .map(|line| reader.line(line));
    assert_eq!(shown, [Show::Yes, Show::Yes, Show::No, Show::No, Show::No]);
    assert_eq!(reader.line("test result: ok. 1 passed; 0 failed"), Show::Yes);
}
