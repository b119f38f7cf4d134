//! Backend messages as they came, and as one line of text that a test compares.

use std::fmt::{self, Display, Formatter};

use bytes::Bytes;
use everline_wire::backend::{Authentication, view};
use everline_wire::tag::backend as tag;
use everline_wire::{ErrorFields, Severity};

/// One message of a backend, byte for byte.
///
/// Its text is compact: `Z[I]`, `C[INSERT 0 1]`, `D[1,NULL]`, `T[id,name]`,
/// `E[40001 "could not …"]`, and `E[FATAL 57P01 "…"]` where the severity is not ERROR; messages
/// without content are their tag alone: `1`, `2`, `n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its type, one of [`everline_wire::tag::backend`].
    pub tag: u8,
    /// What follows the length field.
    pub body: Bytes,
}

impl Message {
    /// The SQLSTATE, when it is an error.
    #[must_use]
    pub fn error_code(&self) -> Option<String> {
        let fields = (self.tag == tag::ERROR).then(|| ErrorFields::parse(&self.body).ok());
        fields.flatten().map(|fields| fields.code().to_string())
    }

    /// One field of an error or notice: `b'M'` the message, `b'H'` the hint, `b'D'` the detail.
    #[must_use]
    pub fn field(&self, field: u8) -> Option<String> {
        let fields = ErrorFields::parse(&self.body).ok()?;
        fields.get(field).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The values, when it is a row.
    #[must_use]
    pub fn row(&self) -> Option<Vec<Option<String>>> {
        let row = (self.tag == tag::DATA_ROW).then(|| view::data_row(&self.body).ok()).flatten()?;
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        Some(row.map(|value| value.map(text)).collect())
    }

    /// What stands in the brackets; `None` for a message that has nothing to say, or is malformed.
    fn content(&self) -> Option<String> {
        let body: &[u8] = &self.body;
        Some(match self.tag {
            tag::READY_FOR_QUERY => String::from_utf8_lossy(body).into_owned(),
            tag::COMMAND_COMPLETE => lossy(view::command_complete(body).ok()?),
            tag::DATA_ROW => {
                let values = self.row()?.into_iter();
                let shown = values.map(|value| value.unwrap_or_else(|| "NULL".to_owned()));
                shown.collect::<Vec<_>>().join(",")
            }
            tag::ROW_DESCRIPTION => column_names(body)?.join(","),
            tag::PARAMETER_STATUS => {
                let (name, value) = view::parameter_status(body).ok()?;
                format!("{name}={value}")
            }
            tag::AUTHENTICATION => authentication(view::authentication(body).ok()?),
            tag::NOTIFICATION => {
                let mut words = body.get(4..)?.split(|byte| *byte == 0);
                format!("{} {:?}", lossy(words.next()?), lossy(words.next()?))
            }
            tag::COPY_DATA => lossy(body),
            _ => return None,
        })
    }
}

impl Display for Message {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let tag = char::from(self.tag);
        if matches!(self.tag, tag::ERROR | tag::NOTICE)
            && let Ok(fields) = ErrorFields::parse(&self.body)
        {
            let mut severity = String::new();
            if fields.severity() != Severity::Error {
                severity = format!("{} ", fields.severity().as_str());
            }
            return write!(out, "{tag}[{severity}{} {:?}]", fields.code(), fields.message());
        }
        match self.content() {
            Some(content) => write!(out, "{tag}[{content}]"),
            None => write!(out, "{tag}"),
        }
    }
}

/// All of `messages` as one line, without ParameterStatus and without the login's key.
#[must_use]
pub fn render(messages: &[Message]) -> String {
    let shown = messages
        .iter()
        .filter(|message| !matches!(message.tag, tag::PARAMETER_STATUS | tag::KEY_DATA));
    shown.map(Message::to_string).collect::<Vec<_>>().join(" ")
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The names in a `RowDescription`: a count, then per column a name and 18 bytes about it.
fn column_names(body: &[u8]) -> Option<Vec<String>> {
    let mut rest = body.get(2..)?;
    let mut names = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == 0)?;
        names.push(lossy(rest.get(..end)?));
        rest = rest.get(end + 1 + 18..)?;
    }
    Some(names)
}

fn authentication(asked: Authentication<'_>) -> String {
    match asked {
        Authentication::Ok => "ok".to_owned(),
        Authentication::Cleartext => "cleartext".to_owned(),
        Authentication::Md5(_) => "md5".to_owned(),
        Authentication::Sasl { mechanisms } => {
            mechanisms.iter().map(lossy).collect::<Vec<_>>().join(",")
        }
        Authentication::SaslContinue(_) => "sasl continue".to_owned(),
        Authentication::SaslFinal(_) => "sasl final".to_owned(),
        Authentication::Other(number) => number.to_string(),
    }
}
