//! A first statement is kept until the first word of its answer: when the backend refuses it as
//! a node does that does not lead, it is taken back and sent to the leader, unseen by the client.

use bytes::{Buf, BytesMut};
use everline_wire::fields::{ErrorFields, Severity};
use everline_wire::frame::{self, Header};
use everline_wire::sqlstate::SqlState;
use everline_wire::tag::{backend as tag, frontend};

use super::backend_state::BackendState;
use super::conversation::{Conversation, Incoming};
use super::pin::Pins;
use super::pipeline::{Request, Segment};
use super::transaction::Transaction;
use crate::limits::{KEPT_BYTES_MAX, WHOLE_MESSAGE_BYTES_MAX};

/// The client's messages since nothing was owed, as they came.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: BytesMut,
    /// The session's ties before them.
    pins: Pins,
    /// All of them are here, and the client has heard nothing of their answer.
    whole: bool,
    /// The client prepares or describes what it runs in the same segment, and believes nothing
    /// about its columns.
    described: bool,
    /// How often they were taken back.
    taken_back: u32,
}

/// How often a segment is taken back because of a plan, or of a connection that ended: more than
/// that, and these are not what is wrong.
const TAKEN_BACK_MAX: u32 = 100;

impl Kept {
    /// Begins anew with a message that was sent while nothing was owed.
    pub(super) fn begin(&mut self, message: &Incoming<'_>, pins: Pins) {
        self.bytes.clear();
        self.pins = pins;
        self.whole = pins.unreplayable().is_none();
        self.described = false;
        self.add(message);
    }

    /// Adds a message that was sent behind the first.
    pub(super) fn add(&mut self, message: &Incoming<'_>) {
        let total = self.bytes.len().saturating_add(Header::BYTES + message.body.len());
        self.whole &= !message.is_cut() && total <= KEPT_BYTES_MAX;
        self.described |= matches!(message.tag, frontend::PARSE | frontend::DESCRIBE);
        if self.whole {
            message.forward(&mut self.bytes);
        }
    }

    /// The messages.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All of them are answered, by us: no backend has seen any.
    pub(super) fn answered(&mut self) {
        self.bytes.clear();
    }

    /// The segment has come to its end.
    pub(super) const fn ended(&mut self) {
        self.taken_back = 0;
    }

    /// Whether they can be taken back.
    pub(super) const fn is_whole(&self) -> bool {
        self.whole
    }

    /// They can no longer be taken back.
    pub(super) const fn forget(&mut self) {
        self.whole = false;
    }
}

/// The beginning of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FirstWord {
    /// Not there yet.
    Awaited,
    /// The node refuses to write.
    Demoted,
    /// The connection ends, and with no word of an answer before.
    Farewell,
    /// The connection has a plan that is out of date.
    Stale,
    /// Anything else.
    Other,
}

impl Conversation {
    /// Takes back what was forwarded and refused with [`super::Relayed::Demoted`]: the session is
    /// as it was before, and the messages returned are to be offered again.
    pub fn take_back(&mut self) -> BytesMut {
        let (requests, _, _) = self.pipeline.take();
        self.unsay(requests.iter());
        self.portals.clear();
        self.gap |= self.listens();
        self.pins = self.kept.pins;
        self.kept.taken_back = self.kept.taken_back.saturating_add(1);
        self.kept.forget();
        self.kept.bytes.split()
    }

    /// Whether all that is owed is a `SELECT 1`, of whose answer the client has heard nothing: it
    /// has the same answer everywhere, so it may be [taken back](Self::take_back) from a connection
    /// that is lost.
    #[must_use]
    pub fn awaits_probe(&self) -> bool {
        let probes = |request: &Request| request.segment().is_some_and(Segment::is_probe);
        self.kept.whole
            && self.kept.taken_back < TAKEN_BACK_MAX
            && self.transaction == Transaction::None
            && self.is_one_whole()
            && self.pipeline.requests().any(probes)
    }

    /// Whether a first statement was sent of whose answer nothing is known.
    #[must_use]
    pub fn awaits_word(&self) -> bool {
        self.kept.whole && !self.pipeline.is_empty()
    }

    /// Whether the client wants its session or its transaction to be read only, so that a refusal
    /// to write is an answer to it.
    ///
    /// What the backend reports is the session's default, whoever has set it.
    pub(super) fn is_read_only(&self, backend: &BackendState) -> bool {
        let is_on = |name: &str| backend.parameters.get(name).is_some_and(|value| **value == *"on");
        self.asks_read_only || is_on("default_transaction_read_only")
    }

    /// Looks at what answers a first statement that is still kept, without taking it.
    ///
    /// What comes before an error ([`tag::PARSE_COMPLETE`] and its kin) is short and comes with it.
    pub(super) fn first_word(&self, backend: &BackendState, mut input: &[u8]) -> FirstWord {
        if let Some(word) = farewell(input) {
            return word;
        }
        if !self.kept.whole || self.transaction != Transaction::None || !self.is_one_whole() {
            return FirstWord::Other;
        }
        loop {
            let Ok(header) = frame::header(input) else { return FirstWord::Other };
            let Some(header) = header else { return FirstWord::Awaited };
            let goes_on = matches!(
                header.tag,
                tag::PARSE_COMPLETE
                    | tag::BIND_COMPLETE
                    | tag::CLOSE_COMPLETE
                    | tag::PARAMETER_DESCRIPTION
                    | tag::ROW_DESCRIPTION
                    | tag::NO_DATA
            );
            if !goes_on && header.tag != tag::ERROR || header.total() > WHOLE_MESSAGE_BYTES_MAX {
                return FirstWord::Other;
            }
            let Some(body) = input.get(Header::BYTES..header.total()) else {
                return FirstWord::Awaited;
            };
            if header.tag == tag::ERROR && has_stale_plan(body) {
                let heals = self.kept.described && self.kept.taken_back < TAKEN_BACK_MAX;
                return if heals { FirstWord::Stale } else { FirstWord::Other };
            }
            if header.tag == tag::ERROR {
                let demoted = refuses_to_write(body) && !self.is_read_only(backend);
                return if demoted { FirstWord::Demoted } else { FirstWord::Other };
            }
            input.advance(header.total());
        }
    }

    /// Whether one segment is owed and nothing else, and an error in it undoes all of it.
    fn is_one_whole(&self) -> bool {
        let mut ends = 0_u32;
        let mut undone = true;
        for request in self.pipeline.requests() {
            match request {
                Request::Sync(segment) | Request::Query(segment) => {
                    ends = ends.saturating_add(1);
                    undone &= segment.fails_whole();
                }
                Request::Ours | Request::Dress(_) | Request::Bind { ours: true } => return false,
                Request::Parse { .. }
                | Request::ParseAnswered { .. }
                | Request::Bind { ours: false }
                | Request::DescribeStatement
                | Request::DescribePortal
                | Request::Execute(_)
                | Request::Close { .. }
                | Request::CloseAnswered(_) => {}
            }
        }
        ends == 1 && undone && self.pipeline.open.is_none()
    }
}

/// What an answer that begins with an error is, if that ends the connection or is not all there.
fn farewell(input: &[u8]) -> Option<FirstWord> {
    let header = frame::header(input).ok().flatten()?;
    if header.tag != tag::ERROR || header.total() > WHOLE_MESSAGE_BYTES_MAX {
        return None;
    }
    let Some(body) = input.get(Header::BYTES..header.total()) else {
        return Some(FirstWord::Awaited);
    };
    let severity = ErrorFields::parse(body).ok()?.severity();
    matches!(severity, Severity::Fatal | Severity::Panic).then_some(FirstWord::Farewell)
}

/// Whether an `ErrorResponse` says that a statement's columns are others than when it was prepared:
/// the message is in the server's language, the routine is not.
pub(super) fn has_stale_plan(body: &[u8]) -> bool {
    ErrorFields::parse(body).is_ok_and(|fields| {
        fields.code() == SqlState::FEATURE_NOT_SUPPORTED
            && fields.get(b'R') == Some(&b"RevalidateCachedQuery"[..])
    })
}

/// Whether an `ErrorResponse` says that its node does not take writes.
fn refuses_to_write(body: &[u8]) -> bool {
    ErrorFields::parse(body).is_ok_and(|fields| {
        fields.code() == SqlState::READ_ONLY_SQL_TRANSACTION && fields.severity() == Severity::Error
    })
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
