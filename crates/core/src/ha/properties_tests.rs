//! What must hold whatever happens in whatever order, over up to 60 events in at least 3 epochs.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// An event whose epoch is told as a distance into the past, for the epochs are not known yet.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Opened,
    Broken,
    Closed,
    Connected { address: u8, timeline: u32 },
    SystemBroken,
    Refused,
    ShuttingDown,
    Leaving,
    HotStandby,
    LeaderChanged,
    Tick,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Opened),
        4 => Just(Kind::Broken),
        2 => Just(Kind::Closed),
        4 => (0..3_u8, 1..3_u32)
            .prop_map(|(address, timeline)| Kind::Connected { address, timeline }),
        2 => Just(Kind::SystemBroken),
        2 => Just(Kind::Refused),
        1 => Just(Kind::ShuttingDown),
        1 => Just(Kind::Leaving),
        1 => Just(Kind::HotStandby),
        1 => Just(Kind::LeaderChanged),
        3 => Just(Kind::Tick),
    ]
}

fn event(kind: Kind, epoch: u64) -> Event {
    match kind {
        Kind::Opened => Event::PoolOpened { epoch },
        Kind::Broken => Event::PoolBroken { epoch },
        Kind::Closed => Event::PoolClosed { epoch },
        Kind::Connected { address, timeline } => Event::SystemConnected {
            node: Node {
                address: format!("{address}").into(),
                identity: Identity { timeline: Some(timeline), ..Identity::default() },
            },
        },
        Kind::SystemBroken => Event::SystemBroken { epoch },
        Kind::Refused => Event::SystemRefused { epoch },
        Kind::ShuttingDown => Event::ShuttingDown { epoch },
        Kind::Leaving => Event::Leaving { epoch },
        Kind::HotStandby => Event::HotStandby { epoch },
        Kind::LeaderChanged => Event::LeaderChanged,
        Kind::Tick => Event::Tick,
    }
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![
        3 => Just(Mode::ADAPTIVE),
        1 => (1..=100_u8, 0..40_u64).prop_map(|(percent, seconds)| Mode::Adaptive {
            disconnect_percent: Percent::new(percent).unwrap(),
            unhealthy_min: UnhealthyMin::new(Duration::from_secs(seconds)).unwrap(),
        }),
        1 => Just(Mode::Fixed),
    ]
}

/// What an owner of the machine sees, kept beside it.
struct Owner {
    machine: Machine,
    told: Availability,
    retired: Vec<u64>,
}

impl Owner {
    fn step(&mut self, event: &Event, now: Instant) -> Result<(), TestCaseError> {
        let epoch = self.machine.epoch();
        let past = event.epoch().is_some_and(|of| of != epoch);
        let before = format!("{:?}", self.machine);
        let outcome = self.machine.step(event.clone(), now);
        if past {
            prop_assert_eq!(&outcome, &Outcome::default(), "a past epoch is silent");
            prop_assert_eq!(format!("{:?}", self.machine), before);
        }
        for effect in outcome.effects {
            match effect {
                Effect::Publish(availability) => {
                    prop_assert_ne!(availability, self.told, "told twice");
                    self.told = availability;
                }
                Effect::Retire(epoch) => {
                    prop_assert!(!self.told.is_available(), "retired before refusing");
                    self.retired.push(epoch);
                }
                Effect::DialSystem => {
                    prop_assert!(!self.machine.system_up(), "dialled while it stands");
                }
            }
        }
        self.holds(epoch, now)
    }

    fn holds(&self, epoch_before: u64, now: Instant) -> Result<(), TestCaseError> {
        let machine = &self.machine;
        prop_assert_eq!(self.told, machine.availability(), "sessions were last told what is so");
        let expected: Vec<u64> = (1..machine.epoch()).collect();
        prop_assert_eq!(&self.retired, &expected, "each past epoch is retired exactly once");
        prop_assert!(machine.epoch() <= epoch_before + 1, "at most one epoch ends in a step");
        if let Some(deadline) = machine.deadline(now) {
            prop_assert!(deadline > now, "a deadline lies ahead");
        }
        if machine.availability().is_available() {
            prop_assert!(machine.leader().is_some());
            prop_assert!(machine.system_up() || machine.pooled() > 0);
        }
        if machine.system_up() && !machine.is_leaving() {
            prop_assert!(machine.availability().is_available(), "a standing primary is used");
        }
        match machine.state() {
            State::Healthy => prop_assert!(machine.leader().is_some()),
            State::Unhealthy { broken, .. } => prop_assert!(broken > 0),
            State::Starting | State::Failover => prop_assert!(machine.leader().is_none()),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may look at the clock")]
    fn the_machine_keeps_its_promises(
        mode in modes(),
        events in prop::collection::vec((kinds(), 0..3_u64, 0..20_000_u64), 0..60),
    ) {
        let machine = Machine::new(mode);
        let told = machine.availability();
        let mut owner = Owner { machine, told, retired: Vec::new() };
        let mut now = Instant::now();
        for (kind, past, wait) in events {
            let next = now + Duration::from_millis(wait);
            // The owner's timer: it may wake any number of times, and never spins.
            let mut wakes = 0;
            while let Some(deadline) = owner.machine.deadline(now).filter(|at| *at <= next) {
                now = deadline;
                owner.step(&Event::Tick, now)?;
                wakes += 1;
                prop_assert!(wakes < 4, "the owner spins");
            }
            now = next;
            // Half of the news are of the current epoch, the rest of past ones.
            let epoch = owner.machine.epoch().saturating_sub(past.saturating_sub(1));
            owner.step(&event(kind, epoch), now)?;
        }
    }
}
