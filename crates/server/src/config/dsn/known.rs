//! The parameters that libpq knows, and what becomes of each here.

/// One of libpq's parameters.
pub(super) struct Parameter {
    pub name: &'static str,
    /// The environment variable that stands in for it.
    pub variable: Option<&'static str>,
    pub treatment: Treatment,
}

/// What Everline does with a parameter.
#[derive(Clone, Copy)]
pub(super) enum Treatment {
    /// Reads it.
    Read,
    /// Accepts it without effect: every value means the same to us.
    Ignored,
    /// Refuses it, because leaving it out of account would change what was asked for.
    Refused(&'static str),
}

const fn read(name: &'static str, variable: &'static str) -> Parameter {
    Parameter { name, variable: Some(variable), treatment: Treatment::Read }
}

const fn plain(name: &'static str) -> Parameter {
    Parameter { name, variable: None, treatment: Treatment::Read }
}

const fn ignored(name: &'static str) -> Parameter {
    Parameter { name, variable: None, treatment: Treatment::Ignored }
}

const fn refused(
    name: &'static str,
    variable: Option<&'static str>,
    reason: &'static str,
) -> Parameter {
    Parameter { name, variable, treatment: Treatment::Refused(reason) }
}

/// libpq's `PQconninfoOptions` (src/interfaces/libpq/fe-connect.c) up to PostgreSQL 18.
///
/// `PGCLIENTENCODING` is left out on purpose: sessions bring their own encoding.
pub(super) const PARAMETERS: &[Parameter] = &[
    read("host", "PGHOST"),
    read("hostaddr", "PGHOSTADDR"),
    read("port", "PGPORT"),
    read("dbname", "PGDATABASE"),
    read("user", "PGUSER"),
    read("password", "PGPASSWORD"),
    read("passfile", "PGPASSFILE"),
    read("require_auth", "PGREQUIREAUTH"),
    read("channel_binding", "PGCHANNELBINDING"),
    read("connect_timeout", "PGCONNECT_TIMEOUT"),
    plain("client_encoding"),
    read("options", "PGOPTIONS"),
    read("application_name", "PGAPPNAME"),
    plain("fallback_application_name"),
    plain("keepalives"),
    plain("keepalives_idle"),
    plain("keepalives_interval"),
    plain("keepalives_count"),
    plain("tcp_user_timeout"),
    read("sslmode", "PGSSLMODE"),
    read("sslnegotiation", "PGSSLNEGOTIATION"),
    read("sslcert", "PGSSLCERT"),
    read("sslkey", "PGSSLKEY"),
    read("sslcertmode", "PGSSLCERTMODE"),
    read("sslrootcert", "PGSSLROOTCERT"),
    read("sslsni", "PGSSLSNI"),
    read("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    read("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    read("gssencmode", "PGGSSENCMODE"),
    read("target_session_attrs", "PGTARGETSESSIONATTRS"),
    plain("min_protocol_version"),
    ignored("max_protocol_version"),
    ignored("load_balance_hosts"),
    ignored("sslcompression"),
    ignored("krbsrvname"),
    ignored("gsslib"),
    ignored("gssdelegation"),
    refused("replication", None, "backend connections are lent to ordinary sessions"),
    refused("requiressl", Some("PGREQUIRESSL"), "write sslmode=require"),
    refused("requirepeer", Some("PGREQUIREPEER"), "the socket's owner is not checked"),
    refused("sslcrl", Some("PGSSLCRL"), "revocation lists are not read"),
    refused("sslcrldir", Some("PGSSLCRLDIR"), "revocation lists are not read"),
    refused("sslpassword", None, "encrypted key files are not read"),
    refused("sslkeylogfile", None, "session keys are not written anywhere"),
    refused("service", Some("PGSERVICE"), "write the service's parameters into the DSN"),
    refused("servicefile", Some("PGSERVICEFILE"), "write the service's parameters into the DSN"),
    refused("scram_client_key", None, "give the password"),
    refused("scram_server_key", None, "give the password"),
    refused("oauth_issuer", None, "log-in by OAuth is not built in"),
    refused("oauth_client_id", None, "log-in by OAuth is not built in"),
    refused("oauth_client_secret", None, "log-in by OAuth is not built in"),
    refused("oauth_scope", None, "log-in by OAuth is not built in"),
];

/// Finds a parameter by its name; `database` is another name of `dbname`.
pub(super) fn find(name: &str) -> Option<&'static Parameter> {
    let name = if name == "database" { "dbname" } else { name };
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

/// The candidate that looks most like `name`, if one does at all.
///
/// At most a third of the letters (but two in a short word) may differ; `name` is cut at 64 bytes,
/// since it may come from anywhere.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name: Vec<char> = name.to_lowercase().chars().take(64).collect();
    let bound = (name.len() / 3).max(2).min(name.len().saturating_sub(1));
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(left: &[char], right: &str) -> usize {
    let mut row: Vec<usize> = (0..=left.len()).collect();
    for (line, there) in right.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        let mut next = vec![before];
        for (here, above) in left.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(*here != there);
            before = replaced.min(before + 1).min(above + 1);
            diagonal = *above;
            next.push(before);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
