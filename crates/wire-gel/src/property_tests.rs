//! What holds whatever comes.

use bytes::BytesMut;
use everline_wire::backend::view::data_row;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::capability::Class;
use crate::client::{Execute, Handshake, Parse, sasl_initial, sasl_response};
use crate::descriptor::{Descriptor, distinct};
use crate::edgeql::Control;
use crate::error::{ErrorCode, Place, Problem};
use crate::frame::{self, Header, Phase};
use crate::sample::{Sample, arguments};
use crate::server;
use crate::state::State;
use crate::types::Type;
use crate::value;

/// OIDs that are in the table, and some that are not.
const OIDS: [u32; 14] = [16, 17, 20, 21, 23, 25, 26, 114, 869, 1009, 1231, 3802, 3904, 4451];

/// Reads messages as a server does, as far as they go; returns how many there were.
fn read_all(mut bytes: &[u8], mut phase: Phase) -> usize {
    let mut count = 0;
    while let Ok(Some(header)) = frame::header(bytes, phase) {
        assert!(header.body <= frame::COMMAND_BODY_BYTES_MAX);
        let Some(body) = bytes.get(Header::BYTES..header.total()) else { break };
        drop(Handshake::parse(body));
        let _: Result<_, _> = sasl_initial(body);
        let _: Result<_, _> = sasl_response(body);
        let _: Result<_, _> = Parse::parse(body);
        if let Ok(execute) = Execute::parse(body) {
            drop(Class::of(execute.command.text));
            drop(Control::parse(execute.command.text));
            drop(State::parse(execute.command.state));
            let types = OIDS.map(Type::of);
            drop(value::bind(&mut BytesMut::new(), execute.arguments, &types, &[1]));
        }
        bytes = &bytes[header.total()..];
        phase = Phase::Commands;
        count += 1;
    }
    count
}

/// Messages that are all right, and then are not: bytes changed, cut off, doubled.
fn mangled() -> impl Strategy<Value = Vec<u8>> {
    let message = (any::<String>(), vec(any::<u8>(), 0..40), vec(any::<u8>(), 0..40)).prop_map(
        |(text, state, given)| {
            let sample = Sample { state: ([0; 16], &state), ..Sample::sql(&text) };
            let body = sample.execute([0; 16], [0; 16], &given);
            let mut message = vec![b'O'];
            message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            message.extend_from_slice(&body);
            message
        },
    );
    (vec(message, 1..4), vec((any::<prop::sample::Index>(), any::<u8>()), 0..8), any::<bool>())
        .prop_map(|(messages, changes, cut)| {
            let mut bytes = messages.concat();
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let (true, Some((at, _))) = (cut, changes.first()) {
                bytes.truncate(at.index(bytes.len()));
            }
            bytes
        })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        read_all(&bytes, Phase::Handshake);
        read_all(&bytes, Phase::Commands);
        drop(State::parse(&bytes));
        let mut out = BytesMut::new();
        drop(value::bind(&mut out, &bytes, &OIDS.map(Type::of), &[]));
        prop_assert!(out.len() <= bytes.len() + 4 * OIDS.len() + 64);
    }

    #[test]
    fn mangled_messages_are_read_or_refused(bytes in mangled()) {
        read_all(&bytes, Phase::Commands);
    }

    #[test]
    fn any_text_is_classed(text in any::<String>()) {
        drop(Class::of(&text));
        drop(Control::parse(&text));
        for position in ["1", "5", "18446744073709551615", "-1"] {
            if let Some(place) = Place::of(&text, position) {
                prop_assert!(text.is_char_boundary(place.byte));
            }
        }
    }

    #[test]
    fn what_is_written_is_one_message(text in any::<String>(), oids in vec(0..OIDS.len(), 0..20)) {
        let mut out = BytesMut::new();
        let place = Place::of(&text, "1");
        server::error(&mut out, &Problem { place, ..Problem::new(ErrorCode::QUERY, &text) });
        let length = u32::from_be_bytes(out[1..5].try_into().unwrap());
        prop_assert_eq!(usize::try_from(length).unwrap() + 1, out.len());
        let types: Vec<Type> = oids.iter().map(|index| Type::of(OIDS[*index])).collect();
        let arguments = Descriptor::arguments(&types);
        prop_assert_eq!(well_formed(&arguments.bytes), !types.is_empty());
    }

    /// Values go through both frames and come back as they were.
    #[test]
    fn values_survive(values in vec(proptest::option::of(vec(any::<u8>(), 0..30)), 0..10)) {
        let borrowed: Vec<_> = values.iter().map(Option::as_deref).collect();
        let types = vec![Type::of(17); values.len()];
        let mut out = BytesMut::new();
        value::bind(&mut out, &arguments(&borrowed), &types, &[]).unwrap();
        let row_at = 2 + 2 * values.len();
        let row = data_row(&out[row_at..out.len() - 2]).unwrap();
        let again: Vec<_> = row.clone().map(|value| value.map(<[u8]>::to_vec)).collect();
        prop_assert_eq!(&again, &values);
        let mut data = BytesMut::new();
        value::row(&mut data, row, &types);
        prop_assert_eq!(&data[11..], &arguments(&borrowed)[..]);
    }

    /// Different structures, different identifiers.
    #[test]
    fn identifiers_are_injective(
        one in vec(("[ab:\\n0]{0,3}", 0..OIDS.len()), 0..4),
        other in vec(("[ab:\\n0]{0,3}", 0..OIDS.len()), 0..4),
    ) {
        let typed = |columns: &[(String, usize)]| {
            let columns = columns.iter().map(|(name, i)| (name.clone(), Type::of(OIDS[*i])));
            columns.collect::<Vec<_>>()
        };
        let (one, other) = (typed(&one), typed(&other));
        let shape = |columns: &[(String, Type)]| Descriptor::sql_record(columns);
        let gel = |columns: &[(String, Type)]| {
            let same = |kind: &Type| match kind {
                Type::Scalar(scalar, _) => format!("s{}", scalar.name),
                Type::Array(scalar, _) => format!("a{}", scalar.name),
                Type::Range(scalar) => format!("r{}", scalar.name),
                Type::Multirange(scalar) => format!("m{}", scalar.name),
            };
            columns.iter().map(|(name, kind)| (name.clone(), same(kind))).collect::<Vec<_>>()
        };
        prop_assert_eq!(shape(&one).id == shape(&other).id, gel(&one) == gel(&other));
        prop_assert_eq!(shape(&one).bytes == shape(&other).bytes, gel(&one) == gel(&other));
    }

    #[test]
    fn names_become_distinct(names in vec("[ab]{1,2}(_1)?", 0..12)) {
        let distinct = distinct(names.clone());
        let set: std::collections::BTreeSet<_> = distinct.iter().collect();
        prop_assert_eq!(set.len(), names.len());
        for (given, name) in names.iter().zip(&distinct) {
            prop_assert!(name.starts_with(given.as_str()));
        }
    }
}

/// Whether these are blocks, one after the other, and at least one.
fn well_formed(mut bytes: &[u8]) -> bool {
    let mut any = false;
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
        let Some(rest) = rest.get(length..) else { return false };
        (bytes, any) = (rest, true);
    }
    bytes.is_empty() && any
}
