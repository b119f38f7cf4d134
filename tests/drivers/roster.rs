//! Who takes part: each driver, what it needs, and what may be seen of it.
//!
//! The words here stand in the manual; the counts beside them there are measured.

/// What a client of a driver does, over connections of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Shape {
    /// One connection: inserts that commit by themselves.
    Autocommit,
    /// Transactions of four statements inside the usual retry helper.
    Transaction,
    /// Four at a time over the driver's usual pool: inserts and reads.
    Pool,
    /// A way to use the pool that gives connections up on every error.
    Shortcut,
    /// One connection: prepared statements.
    Prepared,
    /// One connection that waits for notifications.
    Listen,
    /// One connection that says nothing until the leader has changed.
    Idle,
}

impl Shape {
    /// Its name in the programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Autocommit => "autocommit",
            Self::Transaction => "transaction",
            Self::Pool => "pool",
            Self::Shortcut => "shortcut",
            Self::Prepared => "prepared",
            Self::Listen => "listen",
            Self::Idle => "idle",
        }
    }

    /// Whether it writes all the time.
    pub(crate) fn writes(self) -> bool {
        match self {
            Self::Autocommit | Self::Transaction | Self::Pool | Self::Shortcut | Self::Prepared => {
                true
            }
            Self::Listen | Self::Idle => false,
        }
    }
}

/// In what a driver's program is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Language {
    Python,
    Node,
    Go,
    Java,
    Rust,
}

/// Which connections a driver or its pool gives up, whatever a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GivesUp {
    /// None.
    Nothing,
    /// In the shortcut, the connection of every error.
    InTheShortcut,
    /// In its pool, the connection of a statement whose outcome is unknown.
    WhenUnknown,
}

/// One driver, with its pool and its retry helper.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Driver {
    /// The name of its test.
    pub(crate) name: &'static str,
    /// What the manual calls it.
    pub(crate) title: &'static str,
    pub(crate) language: Language,
    /// The program, as its language names it.
    pub(crate) program: &'static str,
    pub(crate) shapes: &'static [Shape],
    pub(crate) gives_up: GivesUp,
    /// Whether it also gives up those whose probe is refused, which needs a hold of 0 s.
    pub(crate) probes: bool,
    /// What repeats its transactions.
    pub(crate) helper: &'static str,
    /// What must be set, and what helps.
    pub(crate) settings: &'static str,
    /// What it does on 40001 and 08007.
    pub(crate) errors: &'static str,
}

const ALL: &[Shape] = &[
    Shape::Autocommit,
    Shape::Transaction,
    Shape::Pool,
    Shape::Prepared,
    Shape::Listen,
    Shape::Idle,
];

/// Without LISTEN and prepared statements, which the driver below offers.
const FRAMEWORK: &[Shape] = &[Shape::Autocommit, Shape::Transaction, Shape::Pool, Shape::Idle];

/// Everyone.
pub(crate) const ROSTER: &[Driver] = &[
    Driver {
        name: "psycopg",
        title: "psycopg 3, psycopg_pool",
        language: Language::Python,
        program: "with_psycopg.py",
        shapes: ALL,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own around `conn.transaction()`, on `SerializationFailure`",
        settings: "none; `check=ConnectionPool.check_connection` costs nothing",
        errors: "`SerializationFailure`; `TransactionResolutionUnknown`",
    },
    Driver {
        name: "psycopg2",
        title: "psycopg2 and its pool",
        language: Language::Python,
        program: "with_psycopg2.py",
        shapes: ALL,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own around `with conn`, on `SerializationFailure`",
        settings: "none",
        errors: "`SerializationFailure`; `TransactionResolutionUnknown`",
    },
    Driver {
        name: "asyncpg",
        title: "asyncpg and its pool",
        language: Language::Python,
        program: "with_asyncpg.py",
        shapes: ALL,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own around `conn.transaction()`, on `SerializationError`",
        settings: "none: its statement cache may stay on",
        errors: "`SerializationError`; `TransactionResolutionUnknownError`",
    },
    Driver {
        name: "sqlalchemy",
        title: "SQLAlchemy 2 over psycopg 3",
        language: Language::Python,
        program: "with_sqlalchemy.py",
        shapes: FRAMEWORK,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own around a new `Session`, on `orig.sqlstate`",
        settings: "none; `pool_pre_ping=True` costs nothing",
        errors: "`OperationalError`, not taken for a disconnect",
    },
    Driver {
        name: "django",
        title: "Django over psycopg 3",
        language: Language::Python,
        program: "with_django.py",
        shapes: FRAMEWORK,
        gives_up: GivesUp::Nothing,
        probes: true,
        helper: "`pgtransaction.atomic(retry=n)` of django-pgtransaction",
        settings: "`CONN_MAX_AGE = None` or its own pool, `CONN_HEALTH_CHECKS = True`",
        errors: "`OperationalError`; the connection is tried at the end of the request, and kept",
    },
    Driver {
        name: "node_postgres",
        title: "node-postgres",
        language: Language::Node,
        program: "with_pg.js",
        shapes: &[
            Shape::Autocommit,
            Shape::Transaction,
            Shape::Pool,
            Shape::Shortcut,
            Shape::Prepared,
            Shape::Listen,
            Shape::Idle,
        ],
        gives_up: GivesUp::InTheShortcut,
        probes: false,
        helper: "a loop of your own, on `error.code`",
        settings: "`pool.connect()` and `client.release()`: `pool.query()` gives its connection up \
                   on every error",
        errors: "`DatabaseError` with `code`",
    },
    Driver {
        name: "postgres_js",
        title: "postgres.js",
        language: Language::Node,
        program: "with_postgres.js",
        shapes: &[Shape::Autocommit, Shape::Transaction, Shape::Pool, Shape::Listen, Shape::Idle],
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own around `sql.begin()`, on `error.code`",
        settings: "none: `prepare` may stay on",
        errors: "`PostgresError` with `code`",
    },
    Driver {
        name: "pgx",
        title: "pgx, pgxpool",
        language: Language::Go,
        program: "with_pgx",
        shapes: ALL,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "`crdb.ExecuteInTx` of cockroach-go, around a `Tx` that keeps COMMIT's error (below)",
        settings: "none: statements may be prepared and cached",
        errors: "`*pgconn.PgError`",
    },
    Driver {
        name: "lib_pq",
        title: "lib/pq under database/sql",
        language: Language::Go,
        program: "with_pq",
        shapes: ALL,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "the same",
        settings: "`SetMaxIdleConns` as high as `SetMaxOpenConns`, as always",
        errors: "`*pq.Error`, never `driver.ErrBadConn`",
    },
    Driver {
        name: "pgjdbc",
        title: "pgjdbc, HikariCP",
        language: Language::Java,
        program: "WithHikari",
        shapes: ALL,
        gives_up: GivesUp::WhenUnknown,
        probes: false,
        helper: "a loop of your own, or Spring's `@Retryable`, on SQLState `40001`",
        settings: "none: `prepareThreshold` may stay. HikariCP gives up the connection of an \
                   `08007`; `unknown_sqlstate = 40003` spares it, if nothing retries class 40",
        errors: "`PSQLException`",
    },
    Driver {
        name: "tokio_postgres",
        title: "tokio-postgres, deadpool",
        language: Language::Rust,
        program: "with_tokio_postgres",
        shapes: ALL,
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own, on `error.code()`",
        settings: "none; `RecyclingMethod::Verified` costs nothing",
        errors: "`Error` with `code()`",
    },
    Driver {
        name: "sqlx",
        title: "sqlx and its pool",
        language: Language::Rust,
        program: "with_sqlx",
        shapes: &[Shape::Autocommit, Shape::Transaction, Shape::Pool, Shape::Listen, Shape::Idle],
        gives_up: GivesUp::Nothing,
        probes: false,
        helper: "a loop of your own, on `as_database_error().code()`",
        settings: "none; `test_before_acquire` costs nothing",
        errors: "`Error::Database`",
    },
];
