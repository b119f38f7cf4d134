//! Whether a query can be seen to write nothing.

use super::{
    lexer::{Lexer, Token},
    name::{Keyword, listed},
};

/// Functions of PostgreSQL that change nothing, in order. Names of types are among them: a cast may
/// be written as a call.
#[rustfmt::skip] // one word a line would fill the screen
const FUNCTIONS: &[&str] = &[
    "abs", "age", "array_agg", "array_append", "array_cat", "array_length", "array_lower",
    "array_ndims", "array_position", "array_positions", "array_prepend", "array_remove",
    "array_replace", "array_to_json", "array_to_string", "array_upper", "ascii", "avg", "bigint",
    "bit_length", "bool_and", "bool_or", "btrim", "cardinality", "ceil", "ceiling", "char",
    "char_length", "character_length", "chr", "clock_timestamp", "col_description", "concat",
    "concat_ws", "convert_from", "convert_to", "corr", "count", "cume_dist", "current_database",
    "current_schema", "current_schemas", "current_setting", "date", "date_part", "date_trunc",
    "decode", "degrees", "dense_rank", "div", "encode", "every", "exp", "first_value", "floor",
    "format", "format_type", "gen_random_uuid", "generate_series", "generate_subscripts",
    "greatest", "has_column_privilege", "has_database_privilege", "has_function_privilege",
    "has_schema_privilege", "has_sequence_privilege", "has_table_privilege", "inet_client_addr",
    "inet_client_port", "inet_server_addr", "inet_server_port", "initcap", "int", "integer",
    "isfinite", "json_agg", "json_array_elements", "json_array_length", "json_build_array",
    "json_build_object", "json_each", "json_extract_path", "json_object", "json_object_agg",
    "json_object_keys", "json_typeof", "jsonb_agg", "jsonb_array_elements", "jsonb_array_length",
    "jsonb_build_array", "jsonb_build_object", "jsonb_each", "jsonb_extract_path", "jsonb_object",
    "jsonb_object_agg", "jsonb_object_keys", "jsonb_set", "jsonb_typeof", "justify_days",
    "justify_hours", "justify_interval", "lag", "last_value", "lead", "least", "left", "length",
    "ln", "localtimestamp", "log", "lower", "lpad", "ltrim", "make_date", "make_interval",
    "make_time", "make_timestamp", "make_timestamptz", "max", "md5", "min", "mod", "now",
    "nth_value", "ntile", "nullif", "numeric", "obj_description", "octet_length", "overlay",
    "percent_rank", "percentile_cont", "percentile_disc", "pg_backend_pid", "pg_column_size",
    "pg_current_wal_insert_lsn", "pg_current_wal_lsn", "pg_database_size", "pg_encoding_to_char",
    "pg_function_is_visible", "pg_get_constraintdef", "pg_get_expr", "pg_get_functiondef",
    "pg_get_indexdef", "pg_get_ruledef", "pg_get_serial_sequence", "pg_get_triggerdef",
    "pg_get_userbyid", "pg_get_viewdef", "pg_is_in_recovery", "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn", "pg_last_xact_replay_timestamp", "pg_postmaster_start_time",
    "pg_relation_size", "pg_size_pretty", "pg_sleep", "pg_table_is_visible", "pg_table_size",
    "pg_total_relation_size", "pg_type_is_visible", "pg_typeof", "pi", "position", "power",
    "quote_ident", "quote_literal", "quote_nullable", "radians", "random", "rank", "regexp_match",
    "regexp_matches", "regexp_replace", "regexp_split_to_array", "regexp_split_to_table", "repeat",
    "replace", "reverse", "right", "round", "row_number", "row_to_json", "rpad", "rtrim",
    "session_user", "shobj_description", "sign", "smallint", "split_part", "sqrt",
    "statement_timestamp", "stddev", "stddev_pop", "stddev_samp", "string_agg", "string_to_array",
    "strpos", "substr", "substring", "sum", "text", "time", "timeofday", "timestamp",
    "timestamptz", "timezone", "to_char", "to_date", "to_hex", "to_json", "to_jsonb", "to_number",
    "to_regclass", "to_regproc", "to_regtype", "to_timestamp", "transaction_timestamp",
    "translate", "trim", "trunc", "unnest", "upper", "var_pop", "var_samp", "varchar", "variance",
    "version", "width_bucket",
];

/// Keywords that may stand before a parenthesis and are no function's name, in order.
#[rustfmt::skip] // one word a line would fill the screen
const RESERVED: &[&str] = &[
    "all", "and", "any", "array", "as", "between", "bit", "case", "cast", "character", "coalesce",
    "current_time", "current_timestamp", "dec", "decimal", "distinct", "else", "except", "exists",
    "extract", "float", "from", "group", "grouping", "having", "in", "intersect", "interval",
    "lateral", "limit", "localtime", "nchar", "not", "offset", "on", "only", "or", "order",
    "precision", "row", "select", "some", "symmetric", "then", "to", "union", "using", "values",
    "when", "where", "with",
];

/// Keywords that may stand there too, and are a function's name unless an operand stands before
/// them, in order.
const BEHIND_OPERAND: &[&str] = &["filter", "ilike", "is", "join", "like", "over"];

/// Whether no word of the query could write, lock or call what we do not know.
pub(super) fn only_reads(mut lexer: Lexer<'_>) -> bool {
    let mut last = Last::Nothing;
    while let Some(token) = lexer.next_token() {
        if token == Token::Symbol(b'(') && !last.may_open() {
            return false;
        }
        last = match token {
            Token::Word(word) => match Keyword::of(word).as_bytes() {
                b"INSERT" | b"UPDATE" | b"DELETE" | b"MERGE" | b"INTO" | b"FOR" => return false,
                _ => last.word(word),
            },
            Token::Symbol(b'.') => last.dot(),
            Token::Symbol(b')' | b']') => Last::Operand,
            Token::Text | Token::Number | Token::Parameter => Last::Operand,
            Token::Quoted(_) | Token::Unicode => Last::Name,
            Token::Symbol(_) => Last::Nothing,
        };
    }
    true
}

/// Whether one of the words is among those of the statement, strings and names in quotes aside.
pub(super) fn has_word(mut lexer: Lexer<'_>, words: &[&str]) -> bool {
    while let Some(token) = lexer.next_token() {
        if let Token::Word(word) = token
            && words.iter().any(|wanted| word.eq_ignore_ascii_case(wanted.as_bytes()))
        {
            return true;
        }
    }
    false
}

/// What stands before a token.
#[derive(Clone, Copy, Debug)]
enum Last<'a> {
    /// Nothing, or an operator.
    Nothing,
    /// A constant, or something in parentheses.
    Operand,
    /// A word that is not qualified.
    Word(&'a [u8]),
    /// A keyword in the place of an operator.
    Operator,
    /// A word behind `pg_catalog.`.
    Function(&'a [u8]),
    /// A name in quotes or in a schema of somebody's.
    Name,
    /// A dot.
    Dot,
    /// `pg_catalog.`
    CatalogDot,
}

impl<'a> Last<'a> {
    /// Whether a parenthesis here calls nothing, or something harmless.
    fn may_open(self) -> bool {
        match self {
            Self::Word(word) => listed(RESERVED, word) || listed(FUNCTIONS, word),
            Self::Function(word) => listed(FUNCTIONS, word),
            Self::Name => false,
            Self::Nothing | Self::Operand | Self::Operator | Self::Dot | Self::CatalogDot => true,
        }
    }

    fn word(self, word: &'a [u8]) -> Self {
        match self {
            Self::CatalogDot => Self::Function(word),
            Self::Dot => Self::Name,
            Self::Word(before) => {
                let by = word.eq_ignore_ascii_case(b"by")
                    && [&b"order"[..], b"group", b"partition"]
                        .iter()
                        .any(|keyword| before.eq_ignore_ascii_case(keyword));
                if by || is_operator(word) && !listed(RESERVED, before) {
                    Self::Operator
                } else {
                    Self::Word(word)
                }
            }
            Self::Operand | Self::Function(_) | Self::Name => Self::behind_operand(word),
            Self::Nothing | Self::Operator => Self::Word(word),
        }
    }

    fn behind_operand(word: &'a [u8]) -> Self {
        if is_operator(word) { Self::Operator } else { Self::Word(word) }
    }

    fn dot(self) -> Self {
        match self {
            Self::Word(word) if word.eq_ignore_ascii_case(b"pg_catalog") => Self::CatalogDot,
            Self::Word(_)
            | Self::Function(_)
            | Self::Name
            | Self::Nothing
            | Self::Operand
            | Self::Operator
            | Self::Dot
            | Self::CatalogDot => Self::Dot,
        }
    }
}

/// Whether the word stands for an operator when it comes behind an operand.
fn is_operator(word: &[u8]) -> bool {
    // Most words are longer or begin with another letter, and need no search.
    let possible = word.len() <= 6
        && word.first().is_some_and(|byte| b"fijlo".contains(&byte.to_ascii_lowercase()));
    possible && listed(BEHIND_OPERAND, word)
}

#[cfg(test)]
#[path = "read_only_tests.rs"]
mod tests;
