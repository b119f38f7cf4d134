use super::*;

fn drain(reports: &mut Reports) -> Vec<Report> {
    let mut taken = Vec::new();
    while let Ok(report) = reports.queue.try_recv() {
        taken.push(report);
    }
    taken
}

#[test]
fn a_registration_says_that_it_began_and_how_it_ended() {
    let (reporter, mut reports) = channel(8);
    let closed = reporter.opened(3);
    let broken = reporter.opened(4);
    assert_eq!((closed.epoch(), broken.epoch()), (3, 4));
    closed.closed();
    drop(broken);
    let expected = [Report::Opened(3), Report::Opened(4), Report::Closed(3), Report::Broken(4)];
    assert_eq!(drain(&mut reports), expected);
}

#[test]
fn what_finds_no_room_is_counted() {
    let (reporter, mut reports) = channel(2);
    let mut pool: Vec<Registration> = (0..5).map(|_| reporter.opened(1)).collect();
    pool.pop().unwrap().closed();
    pool.truncate(1);
    reporter.opened(2).closed();
    assert_eq!(drain(&mut reports), [Report::Opened(1), Report::Opened(1)]);
    let counted = reports.uncounted();
    assert_eq!(counted[&1], Uncounted { opened: 3, broken: 3, closed: 1 });
    assert_eq!(counted[&2], Uncounted { opened: 1, broken: 0, closed: 1 });
    assert!(reports.uncounted().is_empty());
    drop(pool);
    assert_eq!(drain(&mut reports), [Report::Broken(1)], "there is room again");
}

/// From many threads through a channel of one: every report arrives, in whatever way.
#[test]
fn nothing_is_lost_between_threads() {
    let (reporter, mut reports) = channel(1);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let reporter = reporter.clone();
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    drop(reporter.opened(1));
                }
            })
        })
        .collect();
    let (mut opened, mut broken) = (0, 0);
    loop {
        let over = threads.iter().all(std::thread::JoinHandle::is_finished);
        let taken = drain(&mut reports);
        for report in &taken {
            match report {
                Report::Opened(_) => opened += 1,
                Report::Broken(_) => broken += 1,
                Report::Closed(_) | Report::Uncounted => {}
            }
        }
        // As the supervisor does: after a report, and never without one.
        if !taken.is_empty() {
            for counted in reports.uncounted().values() {
                opened += counted.opened;
                broken += counted.broken;
            }
        }
        if over && taken.is_empty() {
            break;
        }
    }
    assert_eq!((opened, broken), (4000, 4000));
}

#[test]
fn life_is_of_one_epoch_and_seen_once() {
    let (reporter, _reports) = channel(1);
    assert!(!reporter.take_life(1));
    let registration = reporter.opened(2);
    registration.life();
    assert!(!reporter.take_life(1), "of another epoch");
    registration.life();
    assert!(reporter.take_life(2));
    assert!(!reporter.take_life(2), "seen already");
    reporter.life(2);
    assert!(reporter.take_life(2));
}

#[tokio::test(start_paused = true)]
async fn suspicions_are_collected() {
    let reporter = Reporter::unheard();
    assert_eq!(reporter.take_suspicions(), (None, false));
    for _ in 0..1000 {
        reporter.suspect(7);
    }
    reporter.nudged().await;
    assert_eq!(reporter.take_suspicions(), (Some(7), false));
    reporter.dial_failed(8, &DialError::TlsRefused);
    reporter.suspect(7);
    reporter.nudged().await;
    assert_eq!(reporter.take_suspicions(), (Some(8), true));
    assert_eq!(reporter.take_suspicions(), (None, false));
}
