//! The plan over counts; how well it shares is measured in `tests/pool_quality`.

use std::time::{Duration, Instant};

use super::{Counts, GroupId, Limits, Plan, PoolId, Returned, Verdict};

const A: PoolId = PoolId(1);
const B: PoolId = PoolId(2);
const C: PoolId = PoolId(3);

fn plan(budget: usize, pools: &[(PoolId, Counts)]) -> Plan {
    let mut plan = Plan::new(budget, 4);
    for (id, counts) in pools {
        *plan.counts_mut(*id) = *counts;
    }
    plan
}

fn counts(idle: usize, lent: usize, dialling: usize, waiting: usize) -> Counts {
    Counts { idle, lent, dialling, ahead: 0, waiting }
}

fn limits(min: usize, max: usize) -> Limits {
    Limits { min, max, ..Limits::default() }
}

#[expect(clippy::disallowed_methods, reason = "an instant can be had from the clock alone")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn one_dial_for_each_unserved_session_within_the_budget() {
    assert_eq!(plan(3, &[(A, counts(0, 0, 0, 1))]).serve(A), Verdict::Dial);
    assert_eq!(plan(3, &[(A, counts(0, 0, 1, 1))]).serve(A), Verdict::Wait, "it is on its way");
    assert_eq!(plan(3, &[(A, counts(1, 0, 0, 1))]).serve(A), Verdict::Wait, "one is idle");
    assert_eq!(plan(3, &[(A, counts(0, 3, 0, 1))]).serve(A), Verdict::Wait, "no room");
    assert_eq!(plan(3, &[(A, counts(0, 2, 0, 1))]).serve(A), Verdict::Dial);
    assert_eq!(plan(9, &[(A, counts(0, 0, 4, 9))]).serve(A), Verdict::Wait, "dials are bounded");
}

#[test]
fn an_idle_connection_that_is_not_needed_makes_room() {
    let full = plan(3, &[(A, counts(0, 1, 0, 1)), (B, counts(2, 0, 0, 0))]);
    assert_eq!(full.serve(A), Verdict::Evict(B));
    let busy = plan(3, &[(A, counts(0, 1, 0, 1)), (B, counts(1, 1, 0, 1))]);
    assert_eq!(busy.serve(A), Verdict::Wait, "that one is spoken for");
}

#[test]
fn what_a_pool_has_used_lately_is_left_to_it_but_for_a_pool_that_has_none() {
    let mut plan = plan(2, &[(A, counts(0, 1, 0, 1)), (B, counts(0, 1, 0, 0))]);
    let began = now();
    plan.tick(began);
    *plan.counts_mut(B) = counts(1, 0, 0, 0);
    plan.tick(began + Duration::from_millis(20));
    assert_eq!(plan.serve(A), Verdict::Wait, "B will want it again");
    *plan.counts_mut(A) = counts(0, 0, 0, 1);
    assert_eq!(plan.serve(A), Verdict::Dial, "there is room");
    *plan.counts_mut(C) = counts(0, 1, 0, 0);
    assert_eq!(plan.serve(A), Verdict::Evict(B), "A has none");
    *plan.counts_mut(A) = counts(0, 1, 0, 1);
    *plan.counts_mut(C) = Counts::default();
    for tick in 1..200 {
        plan.tick(began + Duration::from_millis(20 + tick * 10));
    }
    assert_eq!(plan.serve(A), Verdict::Evict(B), "it was not used for long");
}

#[test]
fn a_returned_connection_goes_where_there_is_none() {
    let starving = plan(2, &[(A, counts(0, 2, 0, 5)), (B, counts(0, 0, 0, 1))]);
    assert_eq!(starving.returned(A, now()), Returned::Close);
    let idle_here =
        plan(2, &[(A, counts(0, 1, 0, 0)), (B, counts(0, 0, 0, 1)), (C, counts(0, 1, 0, 1))]);
    assert_eq!(idle_here.returned(A, now()), Returned::Close, "nobody waits here");
    let room = plan(4, &[(A, counts(0, 2, 0, 0)), (B, counts(0, 0, 0, 1))]);
    assert_eq!(room.returned(A, now()), Returned::Keep, "there is room for a dial");
}

#[test]
fn it_goes_where_the_wait_is_longer_if_that_pays_for_the_dial() {
    let mut plan = plan(4, &[(A, counts(0, 3, 0, 3)), (B, counts(0, 1, 0, 30))]);
    for pool in [A, B] {
        plan.note_hold(pool, Duration::from_millis(10));
    }
    plan.note_dial(Duration::from_millis(50));
    assert_eq!(plan.returned(A, now()), Returned::Close, "300 ms there, 15 ms here");
    plan.counts_mut(B).waiting = 6;
    assert_eq!(plan.returned(A, now()), Returned::Keep, "60 ms there, a dial takes 50");
    plan.counts_mut(B).waiting = 30;
    assert_eq!(plan.returned(B, now()), Returned::Keep, "it is the only one");
}

#[test]
fn pools_take_turns_where_connections_are_fewer() {
    let mut plan = plan(1, &[(A, counts(0, 1, 0, 9)), (B, counts(0, 0, 0, 9))]);
    let began = now();
    plan.note_dial(Duration::from_millis(50));
    plan.tick(began);
    assert_eq!(plan.returned(A, began + Duration::from_millis(100)), Returned::Keep);
    assert_eq!(plan.returned(A, began + Duration::from_millis(200)), Returned::Close);
}

#[test]
fn who_has_starved_for_longest_is_served_first() {
    let mut plan = plan(9, &[(A, counts(0, 3, 0, 1)), (C, counts(0, 0, 0, 1))]);
    let began = now();
    plan.tick(began);
    *plan.counts_mut(B) = counts(0, 0, 0, 1);
    assert_eq!(plan.hungry(began + Duration::from_secs(1)), [C, B, A]);
}

#[test]
fn a_pool_stays_between_its_minimum_and_its_maximum() {
    let mut plan = plan(3, &[(A, counts(0, 1, 0, 1)), (B, counts(2, 0, 0, 0))]);
    plan.set_limits(B, limits(2, 9));
    assert_eq!(plan.serve(A), Verdict::Wait, "B keeps its minimum");
    plan.counts_mut(A).lent = 0;
    *plan.counts_mut(C) = counts(0, 1, 0, 0);
    assert_eq!(plan.serve(A), Verdict::Evict(B), "but not from a pool without any");
    let mut plan = Plan::new(9, 4);
    plan.set_limits(A, limits(1, 2));
    assert!(plan.is_needed());
    assert_eq!((plan.hungry(now()), plan.serve(A)), (vec![A], Verdict::Dial), "to be warm");
    *plan.counts_mut(A) = counts(0, 2, 0, 5);
    assert_eq!(plan.serve(A), Verdict::Wait, "its maximum");
    plan.counts_mut(A).lent = 3;
    assert_eq!(plan.returned(A, now()), Returned::Close, "the maximum was lowered");
}

#[test]
fn a_group_shares_a_bound_of_its_own() {
    let group = Some((GroupId(7), 2));
    let shared = Limits { groups: [group, None], ..Limits::default() };
    let mut plan =
        plan(9, &[(A, counts(0, 2, 0, 4)), (B, counts(0, 0, 0, 1)), (C, counts(3, 0, 0, 0))]);
    plan.set_limits(A, shared);
    plan.set_limits(B, shared);
    assert_eq!(plan.serve(B), Verdict::Wait, "nothing of C makes room in the group");
    assert_eq!(plan.returned(A, now()), Returned::Close, "A shares with B");
    *plan.counts_mut(A) = counts(2, 0, 0, 0);
    assert_eq!(plan.serve(B), Verdict::Evict(A));
    assert_eq!(plan.serve(C), Verdict::Wait);
}

#[test]
fn connections_ahead_are_bounded_by_use_dials_and_budget() {
    let (one, two) = (PoolId(1), PoolId(2));
    let mut plan = Plan::new(10, 4);
    plan.counts_mut(one).waiting = 1;
    assert!(!plan.dial_ahead(one, 0));
    assert!(plan.dial_ahead(one, 1));
    plan.counts_mut(one).ahead = 1;
    assert!(!plan.dial_ahead(one, 1), "it has what it can use");
    assert!(plan.dial_ahead(one, 2));
    plan.counts_mut(two).ahead = 2;
    plan.counts_mut(two).dialling = 1;
    assert!(!plan.dial_ahead(one, 2), "four are made");
    plan.counts_mut(two).ahead = 0;
    assert!(plan.dial_ahead(one, 2));
    plan.counts_mut(two).lent = 8;
    assert!(!plan.dial_ahead(one, 2), "the budget is used up");
}

#[test]
fn a_session_waits_for_the_connection_that_was_made_ahead() {
    let mut plan = Plan::new(10, 4);
    let counts = plan.counts_mut(PoolId(1));
    (counts.waiting, counts.ahead) = (2, 1);
    assert_eq!(plan.counts(PoolId(1)).unserved(), 1);
    plan.counts_mut(PoolId(1)).ahead = 2;
    assert_eq!(plan.serve(PoolId(1)), Verdict::Wait);
}
