//! PostgreSQL's protocol: frames, the first packet, SCRAM, the lexer, the header of a proxy.

use std::cell::Cell;
use std::num::NonZeroU32;

use bytes::BytesMut;
use everline_core::session::survey::Survey;
use everline_wire::auth::scram::{NONCE_BYTES, Server};
use everline_wire::auth::scram_keys::ScramKeys;
use everline_wire::auth::secret::{ScramVerifier, Verifier};
use everline_wire::backend::{self, view};
use everline_wire::frame::{self, Header};
use everline_wire::frontend::{self, Bind, Close, Describe, Execute, Parse, Query, SaslInitial};
use everline_wire::startup::{self, Startup, parse_startup};
use everline_wire::{ErrorFields, proxy_header, sql as lexer, tag};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

use crate::input::Input;

/// Frames of both directions, and the views of their bodies. A view that is whole writes what it
/// was read from.
pub fn frames(data: &[u8]) {
    let mut rest = data;
    loop {
        let header = match frame::header(rest) {
            Ok(Some(header)) => header,
            Ok(None) => {
                assert!(rest.len() < Header::BYTES);
                break;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        };
        let length = u32::try_from(header.body + 4).unwrap().to_be_bytes();
        assert_eq!(&rest[1..Header::BYTES], length);
        let came = rest.len().min(header.total());
        let body = &rest[Header::BYTES..came];
        frontend_views(header.tag, body, came == header.total());
        backend_views(body);
        rest = &rest[came..];
    }
}

fn frontend_views(message: u8, body: &[u8], whole: bool) {
    let mut again = BytesMut::new();
    let written = match message {
        tag::frontend::QUERY => Query::parse(body).is_ok_and(|query| {
            frontend::query(&mut again, query.sql);
            query.complete
        }),
        tag::frontend::PARSE => Parse::parse(body).is_ok_and(|parse| {
            frontend::parse(&mut again, parse.name, parse.sql, parse.types_raw);
            parse.complete && !parse.types_raw.is_empty()
        }),
        tag::frontend::BIND => Bind::parse(body).is_ok_and(|bind| {
            let rest = bind.rest;
            frontend::bind(&mut again, bind.portal, bind.statement, rest, rest.len());
            true
        }),
        tag::frontend::DESCRIBE => Describe::parse(body).is_ok_and(|describe| {
            frontend::describe(&mut again, describe.kind, describe.name);
            true
        }),
        tag::frontend::CLOSE => Close::parse(body).is_ok_and(|close| {
            frontend::close(&mut again, close.kind, close.name);
            true
        }),
        tag::frontend::EXECUTE => Execute::parse(body).is_ok_and(|execute| {
            frontend::execute(&mut again, execute.portal, execute.max_rows);
            true
        }),
        _ => {
            let _: Result<_, _> = SaslInitial::parse(body);
            let _: Result<_, _> = frontend::password_view(body);
            false
        }
    };
    if whole && written {
        assert_eq!(&again[Header::BYTES..], body, "{}", char::from(message));
    }
}

fn backend_views(body: &[u8]) {
    let _: Result<_, _> = view::key_data(body);
    let _: Result<_, _> = view::parameter_status(body);
    let _: Result<_, _> = view::command_complete(body);
    let _: Result<_, _> = view::authentication(body);
    let _: Result<_, _> = view::parameter_description(body);
    let _: Result<_, _> = view::row_description(body);
    if let Ok(status) = view::ready_for_query(body) {
        assert_eq!(body, [status.byte()]);
    }
    if let Ok(negotiation) = view::negotiate(body) {
        assert!(negotiation.options().count() <= body.len());
    }
    if let Ok(row) = view::data_row(body) {
        let mut again = BytesMut::new();
        let values: Vec<_> = row.collect();
        backend::data_row(&mut again, values);
        assert_eq!(&again[Header::BYTES..], body);
    }
    if let Ok(fields) = ErrorFields::parse(body) {
        let _ = (fields.severity(), fields.code(), fields.message());
        let _ = (fields.detail(), fields.hint());
    }
}

/// The packet that begins a connection. What is short of its end says nothing; what was read is
/// read again from what it is written as.
pub fn startup_packet(data: &[u8]) {
    match parse_startup(data) {
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(Some((read, first))) => {
            assert!(read <= data.len() && read <= startup::STARTUP_BYTES_MAX);
            for short in [0, read / 2, read - 1] {
                assert_eq!(parse_startup(&data[..short]), Ok(None));
            }
            if let Startup::Startup(message) = first {
                let parameters = message.parameters.iter();
                let parameters = parameters.map(|(name, value)| (name.as_str(), value.as_str()));
                let mut again = BytesMut::new();
                startup::startup(&mut again, &message.user, &message.database, parameters);
                let Ok(Some((_, Startup::Startup(second)))) = parse_startup(&again) else {
                    assert!(again.len() > startup::STARTUP_BYTES_MAX, "not read again");
                    return;
                };
                assert_eq!((second.user, second.database), (message.user, message.database));
                assert_eq!(second.parameters, message.parameters);
            }
        }
    }
}

/// Which message of an exchange is spoilt.
const MESSAGES: usize = 5;

/// SCRAM by both sides at once: one message of an honest exchange is spoilt, or none. Only where
/// nothing was spoilt are both content. Then each side alone gets any bytes.
pub fn scram(data: &[u8]) {
    let mut input = Input::new(data);
    let (which, at, change) = (input.below(MESSAGES + 1), input.byte(), input.byte());
    let anything = input.bytes();
    let verifier = ScramVerifier::from_password("secret", b"0123456789abcdef", NonZeroU32::MIN);
    let spoilt = Cell::new(false);
    let mut spoil = |number: usize, message: &[u8]| {
        let mut message = message.to_vec();
        if number == which && !message.is_empty() {
            let at = usize::from(at) % message.len();
            spoilt.set(spoilt.get() || change != 0);
            message[at] ^= change;
        }
        message
    };
    // The client that knows the password, and the one that knows its keys alone.
    let keys = exchange(&verifier, None, &mut |_, message| message.to_vec());
    let keys = keys.expect("an honest client is content");
    for keys in [None, Some(&keys)] {
        spoilt.set(false);
        let content = exchange(&verifier, keys, &mut spoil).is_some();
        assert_eq!(content, !spoilt.get(), "spoilt, and accepted; or honest, and refused");
    }
    let _: Result<_, _> = Server::new(None).first(b"SCRAM-SHA-256", anything);
    if let Ok(first) = Server::new(None).first(b"SCRAM-SHA-256", b"n,,n=,r=nonce") {
        assert!(first.challenge(&verifier, &[0; NONCE_BYTES]).last(anything).is_err());
    }
    let mut proving = ScramKeys::new([1; 32], [2; 32]).begin(b"nonce", "n,,", b"");
    if proving.challenge(anything).is_ok() {
        assert!(proving.message().starts_with(b"c=biws,r="));
    }
    assert!(proving.finish(anything).is_err());
    let _: Option<Result<Verifier, _>> = str::from_utf8(anything).ok().map(str::parse);
}

/// One exchange; the client's keys when both sides are content.
fn exchange(
    verifier: &ScramVerifier,
    keys: Option<&ScramKeys>,
    spoil: &mut impl FnMut(usize, &[u8]) -> Vec<u8>,
) -> Option<ScramKeys> {
    let mut password = ScramSha256::new(b"secret", ChannelBinding::unsupported());
    let mut proving = keys.map(|keys| keys.begin(b"nonce", "n,,", b""));
    let first = proving.as_ref().map_or_else(|| password.message(), |keys| keys.message());
    let mechanism = spoil(0, b"SCRAM-SHA-256");
    let first = Server::new(None).first(&mechanism, &spoil(1, first)).ok()?;
    let challenge = first.challenge(verifier, &[7; NONCE_BYTES]);
    let told = spoil(2, challenge.message());
    let proof = match &mut proving {
        None => {
            // What the server says of iterations is looked at before it is believed.
            if !told.ends_with(b",i=1") {
                return None;
            }
            password.update(&told).ok()?;
            password.message()
        }
        Some(proving) => {
            proving.challenge(&told).ok()?;
            proving.message()
        }
    };
    let accepted = challenge.last(&spoil(3, proof)).ok()?;
    let last = spoil(4, accepted.message());
    match proving {
        None => password.finish(&last).ok()?,
        Some(proving) => proving.finish(&last).ok()?,
    }
    Some(ScramKeys::new(*accepted.client_key(), *accepted.server_key()))
}

/// The lexer and what is concluded from it. A comment before a text changes nothing; what is cut
/// off is never surer than the whole.
pub fn sql(data: &[u8]) {
    let mut count = 0_usize;
    let mut read_only = true;
    for statement in lexer::statements(data) {
        count += 1;
        assert!(statement.text.len() <= data.len());
        let alone = Survey::of(statement.text, false).read_only;
        assert!(!statement.provably_read_only() || alone, "provably, and not");
        read_only &= alone;
        let _ = (statement.names_a_write(), statement.names("select"), statement.channel());
    }
    assert!(count <= data.len() / 2 + 1, "{count} statements");
    assert!(!lexer::is_blank(data) || count == 0, "blank, and {count} statements");
    let _: bool = lexer::begins_with_work(data);
    let survey = Survey::of(data, false);
    assert!(!survey.read_only || read_only, "read only as a whole, not in its parts");
    let commented = [b"/* c /* d */ */ -- e\n", data].concat();
    let same = Survey::of(&commented, false);
    assert_eq!(format!("{:?}", same.controls), format!("{:?}", survey.controls));
    assert_eq!(
        (same.read_only, same.pins, same.discards, same.is_blank()),
        (survey.read_only, survey.pins, survey.discards, survey.is_blank()),
    );
    let cut = Survey::of(data, true);
    assert!(!cut.read_only || survey.read_only, "surer of what is cut off");
}

/// The header that a proxy puts before a connection. What is short of its end says nothing.
pub fn proxy_header(data: &[u8]) {
    match proxy_header::parse(data) {
        Ok(None) => assert!(data.len() < 16 + 65_536),
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(Some((read, _))) => {
            assert!(read <= data.len());
            for short in 0..read.min(300) {
                assert!(matches!(proxy_header::parse(&data[..short]), Ok(None)));
            }
        }
    }
}
