//! What can be wrong with a DSN.

use std::borrow::Cow;
use std::path::PathBuf;

/// One mistake in a DSN, as one sentence that never shows a password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DsnError {
    /// The scheme is another one, or there is none.
    #[error(
        "the scheme of the backend DSN is expected to be postgres://, postgresql:// or \
         stolon+consul+http(s)://{}",
        .found.as_deref().map(|scheme| format!(", not {scheme}://")).unwrap_or_default()
    )]
    Scheme {
        /// The scheme that was found.
        found: Option<String>,
    },
    /// The text is longer than we read.
    #[error("the backend DSN is longer than {max} bytes")]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// The text is not built as it should be.
    #[error("{0}")]
    Syntax(String),
    /// A parameter that nobody knows.
    #[error(
        "{place} is not a parameter of the backend DSN{}",
        .nearest.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
    )]
    Unknown {
        /// The parameter's name where it may be shown, else its place.
        place: String,
        /// The known name that looks most like it.
        nearest: Option<Cow<'static, str>>,
    },
    /// A parameter of libpq's that Everline does not do.
    #[error("the DSN parameter {name} is not supported: {reason}")]
    Unsupported {
        /// The parameter.
        name: Cow<'static, str>,
        /// Why, or what to do instead.
        reason: &'static str,
    },
    /// A value that its parameter cannot have.
    #[error("{name} {problem}")]
    Value {
        /// The parameter or the environment variable.
        name: &'static str,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// Two parameters that cannot be together.
    #[error("{0}")]
    Conflict(&'static str),
    /// Nobody says who logs in.
    #[error("the backend DSN names no user, and neither does PGUSER")]
    NoUser,
    /// A file named by the DSN cannot be read.
    #[error("{name} {}: {problem}", .path.display())]
    File {
        /// The parameter.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        problem: String,
    },
}
