//! Keywords and identifiers.

use std::borrow::Cow;

use super::lexer::Token;

/// Longest identifier in bytes: PostgreSQL cuts them there (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

/// Words that are no name unless they are quoted, in order.
///
/// Source: `pg_get_keywords()` of PostgreSQL 17, categories R and T.
#[rustfmt::skip] // one word a line would fill the screen
const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "binary", "both", "case", "cast", "check", "collate", "collation", "column", "concurrently",
    "constraint", "create", "cross", "current_catalog", "current_date", "current_role",
    "current_schema", "current_time", "current_timestamp", "current_user", "default", "deferrable",
    "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign",
    "freeze", "from", "full", "grant", "group", "having", "ilike", "in", "initially", "inner",
    "intersect", "into", "is", "isnull", "join", "lateral", "leading", "left", "like", "limit",
    "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "on", "only",
    "or", "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right",
    "select", "session_user", "similar", "some", "symmetric", "system_user", "table",
    "tablesample", "then", "to", "trailing", "true", "union", "unique", "user", "using",
    "variadic", "verbose", "when", "where", "window", "with",
];

/// A word in capitals, to be matched against keywords; empty where it is longer than any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyword {
    bytes: [u8; 16],
    length: usize,
}

impl Keyword {
    #[inline]
    pub(super) fn of(word: &[u8]) -> Self {
        let mut bytes = [0; 16];
        match bytes.get_mut(..word.len()) {
            Some(copy) => {
                copy.copy_from_slice(word);
                copy.make_ascii_uppercase();
                Self { bytes, length: word.len() }
            }
            None => Self { bytes, length: 0 },
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// The name that an identifier stands for: lower case unless it is quoted.
///
/// `None` where the token is no identifier, is a reserved word, or has escapes that we do not read.
pub(super) fn identifier(token: Token<'_>) -> Option<Cow<'_, str>> {
    let name = match token {
        Token::Word(word) if listed(RESERVED, word) => return None,
        Token::Word(word) => fold(String::from_utf8_lossy(word)),
        Token::Quoted(inner) => {
            let name = String::from_utf8_lossy(inner);
            if name.contains("\"\"") { Cow::Owned(name.replace("\"\"", "\"")) } else { name }
        }
        Token::Unicode | Token::Text | Token::Number | Token::Parameter | Token::Symbol(_) => {
            return None;
        }
    };
    if name.is_empty() { None } else { Some(cut(name)) }
}

/// Lower case, in ASCII only.
pub(super) fn fold(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        name
    }
}

fn cut(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let end = name.floor_char_boundary(NAME_BYTES_MAX);
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(..end).unwrap_or_default()),
        Cow::Owned(mut name) => {
            name.truncate(end);
            Cow::Owned(name)
        }
    }
}

/// Whether the list, which is in order and in lower case, has this word.
pub(super) fn listed(list: &[&str], word: &[u8]) -> bool {
    let mut lower = [0; 32];
    let Some(lower) = lower.get_mut(..word.len()) else { return false };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    let lower: &[u8] = lower;
    list.binary_search_by(|entry| entry.as_bytes().cmp(lower)).is_ok()
}

#[cfg(test)]
#[test]
fn the_reserved_words_are_in_order() {
    assert!(RESERVED.is_sorted() && RESERVED.iter().all(|word| word.len() <= 32));
}
