//! Conversations drawn at random, in every run of the tests.

use everline_fuzz::conversation::{Said, message, play};
use everline_fuzz::input::Input;
use proptest::prelude::*;

fn said() -> impl Strategy<Value = Said> {
    let drawn = (0..3_usize, any::<[u8; 4]>(), any::<usize>());
    drawn.prop_map(|(client, bytes, choice)| {
        let message = message(&mut Input::new(&bytes));
        Said { client, message, choice }
    })
}

proptest! {
    #[test]
    fn pooled_clients_see_what_they_would_see_alone(
        said in prop::collection::vec(said(), 1..60)
    ) {
        play(&said);
    }
}
