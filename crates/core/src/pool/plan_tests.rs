//! The plan over counts.

use super::{Counts, Plan, PoolId, Returned, Verdict};

const A: PoolId = PoolId(1);
const B: PoolId = PoolId(2);

fn plan(budget: usize, pools: &[(PoolId, Counts)]) -> Plan {
    let mut plan = Plan::new(budget, 4);
    for (id, counts) in pools {
        *plan.counts_mut(*id) = *counts;
    }
    plan
}

fn counts(idle: usize, lent: usize, dialling: usize, waiting: usize) -> Counts {
    Counts { idle, lent, dialling, waiting }
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
fn an_idle_connection_of_another_pool_makes_room() {
    let full = plan(3, &[(A, counts(0, 1, 0, 1)), (B, counts(2, 0, 0, 0))]);
    assert_eq!(full.serve(A), Verdict::Evict(B));
    let busy = plan(3, &[(A, counts(0, 1, 0, 1)), (B, counts(1, 1, 0, 1))]);
    assert_eq!(busy.serve(A), Verdict::Wait, "that one is spoken for");
}

#[test]
fn a_returned_connection_goes_where_there_is_none() {
    let starving = plan(2, &[(A, counts(0, 2, 0, 5)), (B, counts(0, 0, 0, 1))]);
    assert_eq!(starving.returned(A), Returned::Close);
    let fed = plan(2, &[(A, counts(0, 1, 0, 5)), (B, counts(0, 1, 0, 1))]);
    assert_eq!(fed.returned(A), Returned::Keep, "both have one");
    let idle_here = plan(2, &[(A, counts(0, 1, 0, 0)), (B, counts(0, 1, 0, 1))]);
    assert_eq!(idle_here.returned(A), Returned::Close, "nobody waits here");
    let room = plan(4, &[(A, counts(0, 2, 0, 0)), (B, counts(0, 0, 0, 1))]);
    assert_eq!(room.returned(A), Returned::Keep, "there is room for a dial");
}

#[test]
fn the_poorest_are_served_first() {
    let plan = plan(9, &[(A, counts(0, 3, 0, 1)), (B, counts(0, 0, 0, 1))]);
    assert_eq!(plan.hungry(), [B, A]);
}
