//! What clients write, for the tests.

use bytes::{BufMut, BytesMut};

use crate::cursor::{NIL, Uuid, put_bytes};

/// A command and all that goes with it.
#[derive(Clone, Debug)]
pub(crate) struct Sample<'a> {
    pub(crate) allowed: u64,
    pub(crate) limit: u64,
    pub(crate) bytes: [u8; 3],
    pub(crate) text: &'a str,
    pub(crate) state: (Uuid, &'a [u8]),
}

impl<'a> Sample<'a> {
    pub(crate) fn sql(text: &'a str) -> Self {
        Self { allowed: !6, limit: 0, bytes: *b"Sbm", text, state: (NIL, &[]) }
    }

    pub(crate) fn parse(&self) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_u16(1);
        put_bytes(&mut out, b"tag");
        put_bytes(&mut out, b"x");
        out.put_u64(self.allowed);
        out.put_u64(4);
        out.put_u64(self.limit);
        out.put_slice(&self.bytes);
        put_bytes(&mut out, self.text.as_bytes());
        out.put_slice(&self.state.0);
        put_bytes(&mut out, self.state.1);
        out
    }

    pub(crate) fn execute(&self, input: Uuid, output: Uuid, arguments: &[u8]) -> BytesMut {
        let mut out = self.parse();
        out.put_slice(&input);
        out.put_slice(&output);
        put_bytes(&mut out, arguments);
        out
    }
}

/// The arguments of an Execute.
pub(crate) fn arguments(values: &[Option<&[u8]>]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u32(u32::try_from(values.len()).unwrap());
    for value in values {
        out.put_u32(0);
        match value {
            Some(bytes) => put_bytes(&mut out, bytes),
            None => out.put_i32(-1),
        }
    }
    out
}

/// A handshake.
pub(crate) fn handshake(version: (u16, u16), parameters: &[(&str, &str)]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_u16(version.0);
    out.put_u16(version.1);
    out.put_u16(u16::try_from(parameters.len()).unwrap());
    for (name, value) in parameters {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    out.put_u16(0);
    out
}

/// Bytes as a test writes them: hexadecimal, white space aside, and `"text"`.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in text.split('"').enumerate() {
        if index % 2 == 1 {
            bytes.extend_from_slice(part.as_bytes());
            continue;
        }
        let digits: Vec<char> = part.chars().filter(|c| !c.is_whitespace()).collect();
        for pair in digits.chunks(2) {
            let pair: String = pair.iter().collect();
            bytes.push(u8::from_str_radix(&pair, 16).expect("hexadecimal digits"));
        }
    }
    bytes
}

/// An identifier as [`hex`] reads it.
pub(crate) fn identifier(id: &[u8]) -> String {
    id.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
