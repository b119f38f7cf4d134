//! The settings about clients.

use super::{Setting, Shape, list, switch, text};

const FRONTEND: &str = "Clients";

/// Those under the heading of clients, in the order of the help.
pub(super) const CLIENTS: &[Setting] = &[
    Setting {
        key: "listen",
        shape: Shape::List,
        value: "WHERE",
        default: "127.0.0.1:6432",
        heading: FRONTEND,
        variables: &[],
        doc: "Where clients connect: ADDRESS:PORT, or unix:DIRECTORY for a socket there. May be \
              given several times.",
    },
    text(
        FRONTEND,
        "auth",
        "METHOD",
        "scram-sha-256",
        "How clients prove who they are: scram-sha-256, md5, password, cert, peer, trust for sockets \
         that only friends can reach, or hba for the rules of auth_hba_file. The DSN's own user may \
         log in, and whom the file names under [[users]], auth_file or auth_query.",
    ),
    text(
        FRONTEND,
        "auth_file",
        "FILE",
        "",
        "More users, in PgBouncer's format: a \"name\" and a \"secret\" a line, the secret a password or \
         what PostgreSQL stores in its place.",
    ),
    text(
        FRONTEND,
        "auth_query",
        "SQL",
        "",
        "What PostgreSQL is asked, as the DSN's user, about users whom no file names: a query with \
         the name as $1 that returns the name and what is stored in place of its password.",
    ),
    text(
        FRONTEND,
        "auth_query_database",
        "NAME",
        "",
        "The database in which auth_query is asked, if not the DSN's.",
    ),
    text(
        FRONTEND,
        "auth_query_life",
        "DURATION",
        "1m",
        "How long an answer of auth_query holds; while PostgreSQL cannot be asked it holds on.",
    ),
    text(
        FRONTEND,
        "auth_hba_file",
        "FILE",
        "",
        "Who may come from where, and how they prove who they are, in pg_hba.conf's syntax.",
    ),
    text(
        FRONTEND,
        "auth_ident_file",
        "FILE",
        "",
        "Maps from names in certificates and of the operating system to users, in pg_ident.conf's \
         syntax.",
    ),
    text(
        FRONTEND,
        "auth_map",
        "NAME",
        "",
        "The map of auth_ident_file that cert and peer look at; without it the names have to be the \
         same.",
    ),
    text(
        FRONTEND,
        "backend_login",
        "HOW",
        "client",
        "As whom statements run at PostgreSQL: client logs in as the client's user, by its password \
         or by the keys that it shows when it logs in here; role logs in as the DSN's user and sets \
         the client's user as its role.",
    ),
    text(FRONTEND, "tls_cert", "FILE", "", "The certificate chain shown to clients, PEM."),
    text(
        FRONTEND,
        "tls_key",
        "FILE",
        "",
        "The key of that certificate, PEM, readable by us alone.",
    ),
    text(
        FRONTEND,
        "tls_client_ca",
        "FILE",
        "",
        "Root certificates, PEM, for the certificates that clients show.",
    ),
    text(
        FRONTEND,
        "tls_clients",
        "WHAT",
        "allow",
        "What is demanded over TCP: allow takes clients with TLS and without, require only with TLS, \
         verify only those with a certificate that tls_client_ca vouches for.",
    ),
    text(
        FRONTEND,
        "tls_min_version",
        "VERSION",
        "TLSv1.2",
        "The oldest version of TLS that clients may speak: TLSv1.2 or TLSv1.3.",
    ),
    text(
        FRONTEND,
        "unix_socket_mode",
        "MODE",
        "",
        "The permissions of Unix sockets, octal, such as 0777; else the umask decides.",
    ),
    switch(
        FRONTEND,
        "reuse_port",
        "Let several processes listen at the same TCP port (SO_REUSEPORT).",
    ),
    Setting {
        key: "proxy_protocol_from",
        shape: Shape::List,
        value: "RANGE",
        default: "",
        heading: FRONTEND,
        variables: &[],
        doc: "Addresses of proxies, such as 10.0.0.0/8, whose connections begin with a header of the \
              PROXY protocol, version 1 or 2. From them it is expected, from others never believed.",
    },
    text(
        FRONTEND,
        "peer_id",
        "NUMBER",
        "0",
        "This process's number, 1 to 127, among several behind one address; 0 is none.",
    ),
    Setting {
        key: "peers",
        shape: Shape::List,
        value: "ID=ADDRESS",
        default: "",
        heading: FRONTEND,
        variables: &[],
        doc: "The others behind the same address, each as its peer_id and where it listens, such as \
              2=10.0.0.2:6432: a cancel request for one of their clients is passed on.",
    },
    text(
        FRONTEND,
        "clients_max",
        "NUMBER",
        "10000",
        "The most clients at a time; further ones are turned away.",
    ),
    list(
        FRONTEND,
        "admin_users",
        "USER",
        "Who may do everything on the console, the database everline: the DSN's own user if nobody \
         is named.",
    ),
    list(FRONTEND, "stats_users", "USER", "Who may look at the console's tables."),
    text(
        FRONTEND,
        "clients_max_per_user",
        "NUMBER",
        "0",
        "The most clients of one user at a time; 0 is no bound of its own.",
    ),
    text(
        FRONTEND,
        "clients_max_per_database",
        "NUMBER",
        "0",
        "The most clients of one database at a time; 0 is no bound of its own.",
    ),
    text(
        FRONTEND,
        "login_timeout",
        "DURATION",
        "1m",
        "How long a client may take from its connection to the end of its login.",
    ),
    text(
        FRONTEND,
        "client_idle_timeout",
        "DURATION",
        "0s",
        "How long a client may say nothing outside a transaction before it is sent away; 0s is for \
         ever.",
    ),
    text(
        FRONTEND,
        "idle_in_transaction_timeout",
        "DURATION",
        "0s",
        "How long a client may say nothing in a transaction, and so keep a backend connection, \
         before it is sent away; 0s is for ever.",
    ),
    text(
        FRONTEND,
        "query_timeout",
        "DURATION",
        "0s",
        "How long a statement may run before it is cancelled; 0s is for ever.",
    ),
    text(
        FRONTEND,
        "message_bytes_max",
        "NUMBER",
        "1073741823",
        "The longest message of a client, in bytes, within PostgreSQL's own bounds.",
    ),
];
