use super::*;

#[test]
fn a_line_of_stat_is_read_whatever_the_name_is() {
    let rest = "S 1 99 99 0 -1 4194560 1 2 3 4 150 75 9 9 20 0 3 0 12 1 2 3";
    for name in ["pgbouncer", "a b", "a) R 7 (b", ")"] {
        let line = format!("42 ({name}) {rest}\n");
        assert_eq!(stat(&line), Some(Stat { id: 42, parent: 1, ticks: 225 }), "{name}");
    }
    for broken in ["", "42", "42 (a) S 1", "x (a) S 1 99 99 0 -1 4 1 2 3 4 150 75", "42 (a"] {
        assert_eq!(stat(broken), None, "{broken}");
    }
}

#[test]
fn descendants_count_and_others_do_not() {
    let one = |id, parent| Stat { id, parent, ticks: 1 };
    let all = [one(1, 0), one(5, 1), one(6, 5), one(7, 6), one(8, 1), one(9, 5)];
    let ids = |root| tree(&all, root).iter().map(|one| one.id).collect::<Vec<_>>();
    assert_eq!(ids(5), [5, 6, 9, 7]);
    assert_eq!(ids(8), [8]);
    assert_eq!(ids(4), [0; 0]);
}

#[test]
fn resident_memory_is_read() {
    let status = "Name:\tx\nVmHWM:\t  20 kB\nVmRSS:\t  1024 kB\nThreads:\t1\n";
    assert_eq!(resident_kib(status), Some(1024));
    assert_eq!(resident_kib("Name:\tkthreadd\n"), None);
}

#[test]
fn this_process_uses_something() {
    let id = std::process::id();
    let before = cpu(id);
    let mut sum = 0_u64;
    while cpu(id) == before {
        sum = sum.wrapping_add((0..100_000_u64).fold(0, |a, b| a ^ b.rotate_left(7)));
    }
    assert!(resident_bytes(id) > 100 * 1024, "{sum}");
}
