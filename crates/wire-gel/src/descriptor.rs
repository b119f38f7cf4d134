//! Type descriptors: blocks of which each may refer to those before it; the last one is the root.
//!
//! An identifier is a digest of the structure, names included, in an encoding that is different
//! for different structures: clients keep what they know of a type by its identifier alone, for
//! all their connections together.

use bytes::{BufMut, BytesMut};
use everline_wire::digest::sha256;

use crate::cursor::{NIL, Uuid, put_bytes, put_counted};
use crate::server::Described;
use crate::types::{Scalar, Type};

/// Most columns or parameters that one descriptor has; PostgreSQL's own bound on both is lower
/// (1664 columns) or the same (65 535 parameters).
const ELEMENTS_MAX: usize = 65_535;

const OBJECT_SHAPE: u8 = 1;
const SCALAR: u8 = 3;
const TUPLE: u8 = 4;
const ARRAY: u8 = 6;
const ENUM: u8 = 7;
const INPUT_SHAPE: u8 = 8;
const RANGE: u8 = 9;
const MULTIRANGE: u8 = 12;
const SQL_RECORD: u8 = 13;

/// An element may be missing.
const AT_MOST_ONE: u8 = b'o';

/// A descriptor with its identifier.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// The identifier.
    pub id: Uuid,
    /// The blocks.
    pub bytes: Box<[u8]>,
}

impl Descriptor {
    /// No value.
    #[must_use]
    pub fn nothing() -> Self {
        Self { id: NIL, bytes: Box::default() }
    }

    /// As it stands in messages.
    #[must_use]
    pub fn described(&self) -> Described<'_> {
        Described { id: self.id, bytes: &self.bytes }
    }

    /// The arguments of a statement: an object with one element for each parameter, named by its
    /// number from zero, which is what every client makes of positional arguments.
    #[must_use]
    pub fn arguments(parameters: &[Type]) -> Self {
        if parameters.is_empty() {
            return Self::nothing();
        }
        let mut builder = Builder::default();
        let elements = parameters.iter().take(ELEMENTS_MAX).enumerate();
        let elements: Vec<_> =
            elements.map(|(index, kind)| (index.to_string(), builder.add(kind))).collect();
        builder.object(&elements);
        builder.finish()
    }

    /// The rows of a statement of SQL; none of the columns has the name of another.
    #[must_use]
    pub fn sql_record(columns: &[(String, Type)]) -> Self {
        let mut builder = Builder::default();
        let elements = builder.elements(columns);
        let id = structure(SQL_RECORD, &[], &elements);
        builder.block(SQL_RECORD, &id, |out| {
            out.put_u16(count(elements.len()));
            for (name, position) in &elements {
                put_bytes(out, name.as_bytes());
                out.put_u16(position.index);
            }
        });
        builder.finish()
    }

    /// The same as a free object, as a query of `EdgeQL` would return it.
    #[must_use]
    pub fn object(columns: &[(String, Type)]) -> Self {
        let mut builder = Builder::default();
        let elements = builder.elements(columns);
        builder.object(&elements);
        builder.finish()
    }
}

/// Names that differ: a name that came before gets the first free of `_1`, `_2` …, because clients
/// keep rows as dictionaries.
#[must_use]
pub fn distinct(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let wanted: Vec<String> = names.into_iter().collect();
    let mut taken: std::collections::BTreeSet<String> = std::collections::BTreeSet::new();
    let all: std::collections::BTreeSet<&String> = wanted.iter().collect();
    let mut numbers: std::collections::BTreeMap<&str, u32> = std::collections::BTreeMap::new();
    let mut distinct = Vec::new();
    for name in &wanted {
        if taken.insert(name.clone()) {
            distinct.push(name.clone());
            continue;
        }
        let number = numbers.entry(name).or_insert(0);
        let free = loop {
            *number = number.saturating_add(1);
            let candidate = format!("{name}_{number}");
            if !all.contains(&candidate) && !taken.contains(&candidate) {
                break candidate;
            }
        };
        taken.insert(free.clone());
        distinct.push(free);
    }
    distinct
}

/// Where a type stands among the blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    index: u16,
    id: Uuid,
}

/// Writes blocks, each type once.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    out: BytesMut,
    blocks: Vec<Uuid>,
}

impl Builder {
    pub(crate) fn finish(self) -> Descriptor {
        let id = self.blocks.last().copied().unwrap_or(NIL);
        Descriptor { id, bytes: self.out.to_vec().into() }
    }

    fn elements(&mut self, columns: &[(String, Type)]) -> Vec<(String, Position)> {
        let columns = columns.iter().take(ELEMENTS_MAX);
        columns.map(|(name, kind)| (name.clone(), self.add(kind))).collect()
    }

    pub(crate) fn add(&mut self, kind: &Type) -> Position {
        match kind {
            Type::Scalar(scalar, _) => self.scalar(scalar),
            Type::Array(element, _) => {
                let position = self.scalar(element);
                self.array(position, element.name)
            }
            Type::Range(element) => self.collection(RANGE, "range", element),
            Type::Multirange(element) => self.collection(MULTIRANGE, "multirange", element),
        }
    }

    pub(crate) fn scalar(&mut self, scalar: &Scalar) -> Position {
        self.block(SCALAR, &scalar.id, |out| {
            put_bytes(out, scalar.name.as_bytes());
            out.put_u8(1); // defined in the schema
            out.put_u16(0); // with no ancestors
        })
    }

    /// An array of what stands at `element` and has the name `of`.
    pub(crate) fn array(&mut self, element: Position, of: &str) -> Position {
        let name = format!("array<{of}>");
        let id = structure(ARRAY, name.as_bytes(), &[(String::new(), element)]);
        self.block(ARRAY, &id, |out| {
            put_bytes(out, name.as_bytes());
            out.put_u8(0);
            out.put_u16(0);
            out.put_u16(element.index);
            out.put_u16(1); // dimension
            out.put_i32(-1); // of any length
        })
    }

    fn collection(&mut self, tag: u8, name: &str, element: &Scalar) -> Position {
        let element_at = self.scalar(element);
        let name = format!("{name}<{}>", element.name);
        let id = structure(tag, name.as_bytes(), &[(String::new(), element_at)]);
        self.block(tag, &id, |out| {
            put_bytes(out, name.as_bytes());
            out.put_u8(0);
            out.put_u16(0);
            out.put_u16(element_at.index);
        })
    }

    pub(crate) fn tuple(&mut self, elements: &[Position], name: &str) -> Position {
        let unnamed: Vec<_> = elements.iter().map(|at| (String::new(), *at)).collect();
        let id = structure(TUPLE, name.as_bytes(), &unnamed);
        self.block(TUPLE, &id, |out| {
            put_bytes(out, name.as_bytes());
            out.put_u8(0);
            out.put_u16(0);
            out.put_u16(count(elements.len()));
            for element in elements {
                out.put_u16(element.index);
            }
        })
    }

    pub(crate) fn enumeration(&mut self, name: &str, words: &[&str]) -> Position {
        let id = digest(ENUM, name.as_bytes(), words.iter().map(|word| (*word, NIL)));
        self.block(ENUM, &id, |out| {
            put_bytes(out, name.as_bytes());
            out.put_u8(1);
            out.put_u16(0);
            out.put_u16(count(words.len()));
            for word in words {
                put_bytes(out, word.as_bytes());
            }
        })
    }

    pub(crate) fn object(&mut self, elements: &[(String, Position)]) -> Position {
        let id = structure(OBJECT_SHAPE, &[], elements);
        self.block(OBJECT_SHAPE, &id, |out| {
            out.put_u8(1); // free: of no object type
            out.put_u16(0);
            out.put_u16(count(elements.len()));
            for (name, position) in elements {
                put_element(out, name, *position);
                out.put_u16(0); // nor its elements
            }
        })
    }

    pub(crate) fn input(&mut self, elements: &[(&str, Position)]) -> Position {
        let named: Vec<_> = elements.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        let id = structure(INPUT_SHAPE, &[], &named);
        self.block(INPUT_SHAPE, &id, |out| {
            out.put_u16(count(elements.len()));
            for (name, position) in elements {
                put_element(out, name, *position);
            }
        })
    }

    /// Writes a block, unless it is there already.
    fn block(&mut self, tag: u8, id: &Uuid, body: impl FnOnce(&mut BytesMut)) -> Position {
        let known = self.blocks.iter().position(|known| known == id);
        let index = known.unwrap_or(self.blocks.len());
        if known.is_none() {
            self.blocks.push(*id);
            put_counted(&mut self.out, |out| {
                out.put_u8(tag);
                out.put_slice(id);
                body(out);
            });
        }
        Position { index: count(index), id: *id }
    }
}

fn structure(tag: u8, name: &[u8], elements: &[(String, Position)]) -> Uuid {
    digest(tag, name, elements.iter().map(|(name, at)| (name.as_str(), at.id)))
}

fn put_element(out: &mut BytesMut, name: &str, position: Position) {
    out.put_u32(0); // no flags
    out.put_u8(AT_MOST_ONE);
    put_bytes(out, name.as_bytes());
    out.put_u16(position.index);
}

fn count(count: usize) -> u16 {
    u16::try_from(count).expect("a descriptor's elements are bounded by ELEMENTS_MAX")
}

/// The identifier of a structure: a UUID (version 8, RFC 9562) made of its digest.
fn digest<'a>(tag: u8, name: &[u8], elements: impl Iterator<Item = (&'a str, Uuid)>) -> Uuid {
    let mut text = BytesMut::new();
    text.put_u8(tag);
    put_bytes(&mut text, name);
    for (name, id) in elements {
        put_bytes(&mut text, name.as_bytes());
        text.put_slice(&id);
    }
    let digest = sha256(&[b"everline gel type\0", &text]);
    let mut id = NIL;
    for (to, from) in id.iter_mut().zip(digest) {
        *to = from;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut id;
    *version = *version & 0x0f | 0x80;
    *variant = *variant & 0x3f | 0x80;
    id
}

#[cfg(test)]
#[path = "descriptor_tests.rs"]
mod tests;
