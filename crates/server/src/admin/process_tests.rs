use super::{Process, number};

#[test]
fn this_process_has_used_something() {
    let process = Process::look();
    assert!(process.resident_bytes.expect("memory") > 1e6, "{process:?}");
    assert!(process.open_fds.expect("files") >= 3.0, "{process:?}");
    assert!(process.max_fds.expect("a limit") >= process.open_fds.expect("files"), "{process:?}");
    assert!(process.cpu_s.expect("time") >= 0.0, "{process:?}");
    // After this was written, and not in the future by more than a clock's step.
    assert!(process.start_s.expect("a start") > 1.7e9, "{process:?}");
}

#[tokio::test]
async fn tasks_are_counted_where_there_is_a_runtime() {
    let before = Process::look().tasks.expect("a runtime");
    let task = tokio::spawn(std::future::pending::<()>());
    let with_one_more = Process::look().tasks.expect("a runtime");
    assert!((with_one_more - before - 1.0).abs() < f64::EPSILON, "{before}, {with_one_more}");
    task.abort();
}

#[test]
fn numbers_keep_their_size() {
    assert!((number(5_u64) - 5.0).abs() < f64::EPSILON);
    assert!((number(1_u64 << 40) - 1_099_511_627_776.0).abs() < f64::EPSILON);
}
