//! What statements take and return, as PostgreSQL has described them once.

use std::collections::BTreeMap;
use std::sync::Arc;

use everline_wire::backend::view::ColumnView;
use everline_wire_gel::descriptor::{Descriptor, distinct};
use everline_wire_gel::types::Type;

use crate::limits::{DESCRIPTION_TEXT_BYTES_MAX, DESCRIPTIONS_BYTES_MAX, DESCRIPTIONS_MAX};

/// As what a row goes to the client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Shape {
    /// A record of SQL.
    Record,
    /// A free object, for a client that believes that it speaks `EdgeQL`.
    Object,
}

/// One column of a result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Column {
    /// Its name, as PostgreSQL gives it.
    pub name: Box<str>,
    /// OID of its type.
    pub oid: u32,
    /// The format in which it comes: 0 text, 1 binary.
    pub format: i16,
}

impl From<&ColumnView<'_>> for Column {
    fn from(column: &ColumnView<'_>) -> Self {
        let name = String::from_utf8_lossy(column.name).into_owned().into();
        Self { name, oid: column.type_oid, format: column.format }
    }
}

/// What a statement takes and returns.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Description {
    /// OIDs of its parameters, as PostgreSQL inferred them.
    pub parameters: Vec<u32>,
    /// As what they come from clients.
    pub parameter_types: Vec<Type>,
    /// Its columns, in the formats in which they are asked for.
    pub columns: Vec<Column>,
    /// As what they go to clients.
    pub column_types: Vec<Type>,
    /// Descriptor of the arguments.
    pub input: Descriptor,
    /// Descriptor of a row; of nothing where there are no rows.
    pub output: Descriptor,
    /// Whether it returns rows at all.
    pub returns_rows: bool,
}

impl Description {
    /// A statement with these parameters (and the types that stand for those that are domains)
    /// and columns; `None` where it returns no rows.
    #[must_use]
    pub fn new(
        parameters: Vec<u32>,
        bases: &BTreeMap<u32, u32>,
        columns: Option<Vec<Column>>,
        shape: Shape,
    ) -> Self {
        let base = |oid: &u32| Type::of(*bases.get(oid).unwrap_or(oid));
        let parameter_types: Vec<Type> = parameters.iter().map(base).collect();
        let input = Descriptor::arguments(&parameter_types);
        let mut description = Self {
            parameters,
            parameter_types,
            columns: Vec::new(),
            column_types: Vec::new(),
            input,
            output: Descriptor::nothing(),
            returns_rows: columns.is_some(),
        };
        description.set_columns(columns.unwrap_or_default(), shape);
        description
    }

    /// Takes the columns in the formats in which they come.
    pub fn set_columns(&mut self, columns: Vec<Column>, shape: Shape) {
        let typed = columns.iter().map(|column| Type::of_column(column.oid, column.format));
        self.column_types = typed.collect();
        let names = distinct(columns.iter().map(|column| column.name.to_string()));
        let record: Vec<_> = names.into_iter().zip(self.column_types.iter().copied()).collect();
        self.output = match shape {
            Shape::Record => Descriptor::sql_record(&record),
            Shape::Object => Descriptor::object(&record),
        };
        self.columns = columns;
    }

    /// The formats in which its columns are wanted.
    #[must_use]
    pub fn formats(&self) -> Vec<i16> {
        self.columns.iter().map(|column| Type::of(column.oid).format()).collect()
    }

    /// The tail of a Parse message: the types of the parameters, so that PostgreSQL reads them as
    /// the client has written them or refuses.
    #[must_use]
    pub fn types_raw(&self) -> Vec<u8> {
        let count = u16::try_from(self.parameters.len()).unwrap_or(u16::MAX);
        let mut raw = count.to_be_bytes().to_vec();
        for oid in self.parameters.iter().take(usize::from(count)) {
            raw.extend_from_slice(&oid.to_be_bytes());
        }
        raw
    }

    fn bytes(&self) -> usize {
        let columns = self.columns.iter();
        let texts: usize = columns.map(|column| column.name.len().saturating_add(64)).sum();
        texts
            .saturating_add(self.input.bytes.len())
            .saturating_add(self.output.bytes.len())
            .saturating_add(self.parameters.len().saturating_mul(64))
    }
}

/// The descriptions that all sessions of one database and role share.
#[derive(Debug, Default)]
pub struct Descriptions {
    known: BTreeMap<(Shape, Box<str>), Arc<Description>>,
    bytes: usize,
}

impl Descriptions {
    /// What is known of a statement.
    #[must_use]
    pub fn get(&self, shape: Shape, text: &str) -> Option<Arc<Description>> {
        self.known.get(&(shape, text.into())).map(Arc::clone)
    }

    /// Keeps a description. When there is no room all are forgotten: each costs one exchange with
    /// a backend to have again.
    pub fn put(&mut self, shape: Shape, text: &str, description: Arc<Description>) {
        if text.len() > DESCRIPTION_TEXT_BYTES_MAX {
            return;
        }
        self.remove(shape, text);
        let bytes = description.bytes().saturating_add(text.len());
        let full = self.known.len() >= DESCRIPTIONS_MAX
            || self.bytes.saturating_add(bytes) > DESCRIPTIONS_BYTES_MAX;
        if full {
            self.clear();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.known.insert((shape, text.into()), description);
    }

    /// Forgets a statement.
    pub fn remove(&mut self, shape: Shape, text: &str) {
        if let Some(old) = self.known.remove(&(shape, text.into())) {
            self.bytes = self.bytes.saturating_sub(old.bytes().saturating_add(text.len()));
        }
    }

    /// Forgets all of them: what they are about has changed.
    pub fn clear(&mut self) {
        self.known.clear();
        self.bytes = 0;
    }
}
