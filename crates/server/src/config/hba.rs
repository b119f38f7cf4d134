//! Who may come from where, and how they prove who they are: `pg_hba.conf`'s syntax.
//!
//! Source: PostgreSQL manual, "The `pg_hba.conf` File". What Everline cannot decide as PostgreSQL
//! would (groups, host names, regular expressions, included files) is an error, never ignored.

use std::net::IpAddr;

use super::cidr::Cidr;

/// Most rules, and most names in one.
const RULES_MAX: usize = 10_000;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// It is turned away.
    Reject,
    /// By SCRAM-SHA-256.
    Scram,
    /// By an MD5 of the password, or by SCRAM where the stored secret is a SCRAM verifier.
    Md5,
    /// By the password in the clear.
    Password,
    /// By the name of the operating system's user, over a Unix socket.
    Peer,
    /// By a certificate.
    Cert,
}

/// Which connections a rule is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Local,
    Host,
    Tls,
    Plain,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Name {
    All,
    SameUser,
    /// `replication`: there are no such connections here.
    Never,
    Is(String),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Address {
    All,
    In(Cidr),
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    kind: Kind,
    databases: Vec<Name>,
    users: Vec<Name>,
    address: Address,
    /// How.
    pub method: Method,
    /// Which map leads from the outside name to users: `map`.
    pub map: Option<String>,
    /// Whether the client has to show a certificate besides: `clientcert`.
    pub certificate: bool,
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// A Unix socket.
    Unix,
    /// TCP.
    Tcp(IpAddr),
}

/// Who knocks.
#[derive(Clone, Copy, Debug)]
pub struct Knock<'a> {
    /// The database that it wants.
    pub database: &'a str,
    /// Who it says it is.
    pub user: &'a str,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it speaks TLS.
    pub tls: bool,
}

impl Rule {
    /// Whether the rule is for this client.
    #[must_use]
    pub fn is_for(&self, knock: &Knock<'_>) -> bool {
        let way = match (self.kind, knock.origin) {
            (Kind::Local, Origin::Unix) | (Kind::Host, Origin::Tcp(_)) => true,
            (Kind::Tls, Origin::Tcp(_)) => knock.tls,
            (Kind::Plain, Origin::Tcp(_)) => !knock.tls,
            (Kind::Local, Origin::Tcp(_))
            | (Kind::Host | Kind::Tls | Kind::Plain, Origin::Unix) => false,
        };
        let place = match (self.address, knock.origin) {
            (Address::All, _) | (Address::In(_), Origin::Unix) => true,
            (Address::In(range), Origin::Tcp(address)) => range.contains(address),
        };
        let named = |names: &[Name], asked: &str| {
            names.iter().any(|name| match name {
                Name::All => true,
                Name::SameUser => knock.database == knock.user,
                Name::Never => false,
                Name::Is(name) => name == asked,
            })
        };
        way && place && named(&self.databases, knock.database) && named(&self.users, knock.user)
    }
}

/// The first rule that is for this client.
#[must_use]
pub fn decide<'a>(rules: &'a [Rule], knock: &Knock<'_>) -> Option<&'a Rule> {
    rules.iter().find(|rule| rule.is_for(knock))
}

/// Reads the text of a file.
///
/// # Errors
/// One sentence with the line.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    let mut pending = String::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(begun) = line.strip_suffix('\\') {
            pending.push_str(begun);
            continue;
        }
        pending.push_str(line);
        let wrong = |problem: String| format!("line {}: {problem}", index + 1);
        let fields = fields(&pending).map_err(wrong)?;
        pending.clear();
        if fields.is_empty() {
            continue;
        }
        rules.push(rule(&fields).map_err(wrong)?);
        if rules.len() > RULES_MAX {
            return Err(format!("has more than {RULES_MAX} rules"));
        }
    }
    Ok(rules)
}

/// A word, and whether it stood in quotes, which take a keyword's meaning away.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) quoted: bool,
}

/// The fields of a line, each of one or more words separated by commas.
pub(super) fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut characters = line.chars().peekable();
    let mut continues = false;
    loop {
        while characters.next_if(|c| c.is_whitespace()).is_some() {}
        let Some(first) = characters.peek() else { break };
        if *first == '#' {
            break;
        }
        let mut word = Word { text: String::new(), quoted: false };
        while let Some(c) = characters.next_if(|c| !c.is_whitespace() && *c != ',' && *c != '#') {
            if c != '"' {
                word.text.push(c);
                continue;
            }
            word.quoted = true;
            loop {
                match characters.next() {
                    Some('"') if characters.next_if_eq(&'"').is_some() => word.text.push('"'),
                    Some('"') => break,
                    Some(c) => word.text.push(c),
                    None => return Err("a quote is not closed".to_owned()),
                }
            }
        }
        match fields.last_mut() {
            Some(field) if continues => field.push(word),
            Some(_) | None => fields.push(vec![word]),
        }
        continues = characters.next_if_eq(&',').is_some();
    }
    if continues {
        return Err("ends with a comma".to_owned());
    }
    Ok(fields)
}

fn rule(fields: &[Vec<Word>]) -> Result<Rule, String> {
    let mut fields = fields.iter();
    let mut field = |what: &str| fields.next().ok_or_else(|| format!("has no {what}"));
    let kind = match single(field("type of connection")?)? {
        "local" => Kind::Local,
        "host" | "hostnogssenc" => Kind::Host,
        "hostssl" => Kind::Tls,
        "hostnossl" => Kind::Plain,
        other => return Err(format!("\"{other}\" connections are not served")),
    };
    let databases = names(field("database")?, Whose::Database)?;
    let users = names(field("user")?, Whose::User)?;
    let mut method = None;
    let address = if kind == Kind::Local {
        Address::All
    } else {
        let text = single(field("address")?)?;
        if let Ok(address) = text.parse::<IpAddr>() {
            // An address alone is followed by its mask.
            let mask = single(field("mask")?)?;
            let mask = mask.parse().map_err(|_| format!("\"{mask}\" is no mask"))?;
            Cidr::with_mask(address, mask).map(Address::In).ok_or("the mask does not fit")?
        } else {
            address(text)?
        }
    };
    let word = single(field("method")?)?;
    let methods = [
        ("trust", Method::Trust),
        ("reject", Method::Reject),
        ("scram-sha-256", Method::Scram),
        ("md5", Method::Md5),
        ("password", Method::Password),
        ("peer", Method::Peer),
        ("ident", Method::Peer),
        ("cert", Method::Cert),
    ];
    for (name, known) in methods {
        if name == word {
            method = Some(known);
        }
    }
    let method = method.ok_or_else(|| format!("the method \"{word}\" is not served"))?;
    let mut rule = Rule { kind, databases, users, address, method, map: None, certificate: false };
    for option in fields {
        set(&mut rule, single(option)?)?;
    }
    match (rule.method, rule.kind) {
        (Method::Peer, Kind::Host | Kind::Tls | Kind::Plain) => {
            Err(format!("\"{word}\" is for local connections"))
        }
        (Method::Cert, Kind::Local | Kind::Host | Kind::Plain) => {
            Err("cert is for hostssl connections".to_owned())
        }
        (_, Kind::Local | Kind::Host | Kind::Plain) if rule.certificate => {
            Err("clientcert is for hostssl connections".to_owned())
        }
        (_, _) => Ok(rule),
    }
}

fn set(rule: &mut Rule, option: &str) -> Result<(), String> {
    match option.split_once('=') {
        Some(("map", map)) if !map.is_empty() => rule.map = Some(map.to_owned()),
        Some(("clientcert", "verify-ca")) => rule.certificate = true,
        // The name in the certificate is looked at too: what `cert` does.
        Some(("clientcert", "verify-full")) if rule.method == Method::Cert => {
            rule.certificate = true;
        }
        _ => return Err(format!("the option \"{option}\" is not served")),
    }
    Ok(())
}

fn single(words: &[Word]) -> Result<&str, String> {
    match words {
        [word] => Ok(&word.text),
        _ => Err("has a list where one word is expected".to_owned()),
    }
}

fn address(text: &str) -> Result<Address, String> {
    match text {
        "all" => Ok(Address::All),
        "samehost" | "samenet" => Err(format!("\"{text}\" is not served: write the addresses")),
        text => text
            .parse()
            .map(Address::In)
            .map_err(|_| format!("\"{text}\" is no range of addresses; host names are not served")),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Whose {
    Database,
    User,
}

fn names(words: &[Word], whose: Whose) -> Result<Vec<Name>, String> {
    let name = |word: &Word| {
        let text = word.text.as_str();
        if word.quoted {
            return Ok(Name::Is(text.to_owned()));
        }
        match (text, whose) {
            ("all", _) => Ok(Name::All),
            ("sameuser", Whose::Database) => Ok(Name::SameUser),
            ("replication", Whose::Database) => Ok(Name::Never),
            ("samerole" | "samegroup", Whose::Database) => Err(not_served(text)),
            (text, _) if text.starts_with(['+', '@', '/']) => Err(not_served(text)),
            (text, _) => Ok(Name::Is(text.to_owned())),
        }
    };
    words.iter().map(name).collect()
}

fn not_served(text: &str) -> String {
    format!("\"{text}\": groups, files and regular expressions are not served")
}

#[cfg(test)]
#[path = "hba_tests.rs"]
mod tests;
