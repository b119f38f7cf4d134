//! Cases of the codec alone.

use std::hint::black_box;
use std::num::NonZeroU32;

use bytes::BytesMut;
use everline_core::session::survey::Survey;
use everline_wire::auth::scram::{NONCE_BYTES, Server};
use everline_wire::auth::secret::ScramVerifier;
use everline_wire::{backend, frame};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

/// A statement as an application's data layer writes it.
const UPDATE: &[u8] = b"/* orders */ UPDATE \"public\".\"orders\" SET \"state\" = $1, \"note\" = \
    'it''s paid', \"changed_at\" = now(), \"total\" = \"net\" * 1.19 + $2 WHERE \"id\" = $3 AND \
    \"state\" IN ('new', 'open') AND \"customer_id\" = (SELECT id FROM customers WHERE email = $4 \
    LIMIT 1) RETURNING \"id\", \"state\", \"total\"";
/// What a login costs does not depend on it once the keys are known.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(16).expect("not 0");
const PASSWORD: &str = "secret";

/// As many rows as fill a few reads of a socket.
pub(crate) fn rows(count: u32, out: &mut BytesMut) {
    for row in 0..count {
        let id = format!("{row:08}");
        backend::data_row(out, [Some(id.as_bytes()), None, Some(b"a text of some length")]);
    }
}

pub(crate) fn scan_1000_rows(times: u32) {
    let mut bytes = BytesMut::new();
    rows(1000, &mut bytes);
    for _ in 0..times {
        let mut rest = black_box(&bytes[..]);
        let mut seen = 0_u32;
        while let Ok(Some(header)) = frame::header(rest) {
            let Some(next) = rest.get(header.total()..) else { break };
            rest = next;
            seen += u32::from(header.tag == everline_wire::tag::backend::DATA_ROW);
        }
        assert_eq!(black_box(seen), 1000);
    }
}

pub(crate) fn survey_statement(times: u32) {
    for _ in 0..times {
        let survey = Survey::of(black_box(UPDATE), false);
        assert!(!black_box(&survey).read_only);
    }
}

pub(crate) fn scram_login(times: u32) {
    let verifier = ScramVerifier::from_password(PASSWORD, b"0123456789abcdef", ITERATIONS);
    let mut client = ScramSha256::new(PASSWORD.as_bytes(), ChannelBinding::unsupported());
    let first = client.message().to_vec();
    let challenge = |first: &[u8]| {
        let step = Server::new(None).first(SCRAM_SHA_256.as_bytes(), first);
        step.map(|step| step.challenge(&verifier, &[7; NONCE_BYTES]))
    };
    let offered = challenge(&first).expect("the first message is right");
    client.update(offered.message()).expect("the challenge is right");
    let last = client.message().to_vec();
    for _ in 0..times {
        let challenge = challenge(black_box(&first)).expect("the first message is right");
        let accepted = challenge.last(black_box(&last)).expect("the proof is right");
        black_box(accepted.message());
    }
}
