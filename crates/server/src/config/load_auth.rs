//! How clients get in, from the settings as written.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::cidr::Cidr;
use super::dsn::{Dsn, TlsVersion};
use super::given::{ConfigError, Given, Value};
use super::hba::{self, Method};
use super::ident::Maps;
use super::load::{Layers, user, wrong};
use super::value::{self, Zero};
use super::{
    AuthConfig, AuthQuery, Door, FrontendConfig, PeersConfig, TlsDemand, TlsFiles, User, file,
    userlist,
};

/// Longest file of users, rules or maps, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Highest number of a peer: what fits into a cancel key beside its random bits.
const PEER_ID_MAX: usize = 127;

impl Layers<'_> {
    pub(super) fn frontend(&self, dsn: &Dsn) -> Result<FrontendConfig, ConfigError> {
        let auth = self.auth(dsn)?;
        let tls = self.tls()?;
        if auth.door == Door::One(Method::Cert)
            && tls.as_ref().is_none_or(|tls| tls.client_ca.is_none())
        {
            return Err(ConfigError::at(&self.value("auth")?.origin, "cert wants tls_client_ca"));
        }
        Ok(FrontendConfig {
            listen: self.listen()?,
            tls,
            auth,
            clients_max: self.number("clients_max", 1, 1_000_000)?,
            login: self.duration("login_timeout", Zero::Refused)?,
            message_bytes_max: self.number("message_bytes_max", 1024, 0x3fff_ffff)?,
            socket_mode: self.optional("unix_socket_mode", |text| {
                let octal = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
                octal.ok_or_else(|| "has to be octal, such as 0777".to_owned())
            })?,
            reuse_port: self.read("reuse_port", value::boolean)?,
            proxies: self.list("proxy_protocol_from", str::parse::<Cidr>)?,
            peers: self.peers()?,
            admins: match self.names("admin_users")? {
                nobody if nobody.is_empty() => vec![dsn.user.clone()],
                admins => admins,
            },
            watchers: self.names("stats_users")?,
        })
    }

    fn auth(&self, dsn: &Dsn) -> Result<AuthConfig, ConfigError> {
        let rules = self.file("auth_hba_file", hba::parse)?;
        let by_name = [
            ("scram-sha-256", Some(Method::Scram)),
            ("md5", Some(Method::Md5)),
            ("password", Some(Method::Password)),
            ("cert", Some(Method::Cert)),
            ("peer", Some(Method::Peer)),
            ("trust", Some(Method::Trust)),
            ("hba", None),
        ];
        let door = match (self.read("auth", |text| value::word(text, &by_name))?, rules) {
            (Some(method), _) => Door::One(method),
            (None, Some(rules)) => Door::Rules(rules),
            (None, None) => {
                let origin = &self.value("auth")?.origin;
                return Err(ConfigError::at(origin, "hba wants auth_hba_file"));
            }
        };
        let mut users = BTreeMap::new();
        for (name, secret) in self.file("auth_file", userlist::parse)?.unwrap_or_default() {
            let credential = value::credential(&secret);
            let origin = &self.value("auth_file")?.origin;
            let credential = credential
                .map_err(|problem| ConfigError::at(origin, format!("user {name}: {problem}")))?;
            users.insert(name.clone(), User { name, credential });
        }
        for given in &self.given.users {
            if let Some(user) = user(given, &door)? {
                users.insert(user.name.clone(), user);
            }
        }
        let query = self.auth_query(dsn)?;
        let by_password = matches!(door, Door::One(Method::Scram | Method::Md5 | Method::Password));
        if by_password && users.is_empty() && query.is_none() && dsn.own_password().is_none() {
            return Err(ConfigError(format!(
                "nobody could log in: there is no password for user {} of the backend DSN, no \
                 [[users]] in the file, no auth_file and no auth_query",
                dsn.user
            )));
        }
        Ok(AuthConfig {
            door,
            maps: self.file("auth_ident_file", Maps::parse)?.unwrap_or_default(),
            map: self.optional("auth_map", |text| Ok(text.to_owned()))?,
            users: users.into_values().collect(),
            query,
            by_role: self.read("backend_login", |text| {
                value::word(text, &[("client", false), ("role", true)])
            })?,
        })
    }

    fn auth_query(&self, dsn: &Dsn) -> Result<Option<AuthQuery>, ConfigError> {
        let sql = self.optional("auth_query", |text| {
            let asks = text.contains("$1") && !text.contains('\0');
            asks.then(|| text.to_owned()).ok_or_else(|| "has to have the name as $1".to_owned())
        })?;
        let database = self.optional("auth_query_database", |text| Ok(text.to_owned()))?;
        let life = self.duration("auth_query_life", Zero::Refused)?;
        let database = database.unwrap_or_else(|| dsn.database.clone());
        Ok(sql.map(|sql| AuthQuery { sql, database, life }))
    }

    fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let demand = self.read("tls_clients", |text| {
            let words = [
                ("allow", TlsDemand::Allow),
                ("require", TlsDemand::Require),
                ("verify", TlsDemand::Verify),
            ];
            value::word(text, &words)
        })?;
        let versions = [("TLSv1.2", TlsVersion::V1_2), ("TLSv1.3", TlsVersion::V1_3)];
        let min_version = self.read("tls_min_version", |text| value::word(text, &versions))?;
        let client_ca = self.given.get("tls_client_ca").map(Given::path);
        let wants = |given: &Value, what| Err(ConfigError::at(&given.origin, what));
        match (self.given.get("tls_cert"), self.given.get("tls_key")) {
            (Some(cert), Some(key)) => {
                if demand == TlsDemand::Verify && client_ca.is_none() {
                    return wants(self.value("tls_clients")?, "verify wants tls_client_ca");
                }
                let (cert, key) = (Given::path(cert), Given::path(key));
                Ok(Some(TlsFiles { cert, key, client_ca, demand, min_version }))
            }
            (Some(cert), None) => wants(cert, "wants tls_key beside it"),
            (None, Some(key)) => wants(key, "wants tls_cert beside it"),
            (None, None) if demand != TlsDemand::Allow => {
                wants(self.value("tls_clients")?, "wants tls_cert and tls_key beside it")
            }
            (None, None) => match self.given.get("tls_client_ca") {
                Some(ca) => wants(ca, "wants tls_cert and tls_key beside it"),
                None => Ok(None),
            },
        }
    }

    fn peers(&self) -> Result<PeersConfig, ConfigError> {
        let own = self.number("peer_id", 0, PEER_ID_MAX)?;
        let others = self.list("peers", |text| {
            let problem = || "has to be ID=ADDRESS:PORT, the ID from 1 to 127".to_owned();
            let (id, address) = text.split_once('=').ok_or_else(problem)?;
            let id = value::number(id, 1..=PEER_ID_MAX).ok().and_then(|id| u8::try_from(id).ok());
            let address: SocketAddr = value::socket_address(address)?;
            Ok((id.ok_or_else(problem)?, address))
        })?;
        let own = u8::try_from(own).unwrap_or(0);
        if own == 0 && !others.is_empty() {
            return Err(ConfigError::at(&self.value("peers")?.origin, "wants peer_id beside it"));
        }
        Ok(PeersConfig { own, others: others.into_iter().collect() })
    }

    fn optional<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        if self.given.get(key).is_none() { Ok(None) } else { self.read(key, parse).map(Some) }
    }

    fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(given) = self.given.get(key) else { return Ok(Vec::new()) };
        let texts = given.texts.iter().flat_map(|text| text.split(',')).map(str::trim);
        let read = |text| parse(text).map_err(|problem| wrong(given, text, &problem));
        texts.filter(|text| !text.is_empty()).map(read).collect()
    }

    fn file<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(given) = self.given.get(key) else { return Ok(None) };
        let path = Given::path(given);
        let read = file::bounded(&path, FILE_BYTES_MAX).and_then(|text| parse(&text));
        read.map(Some).map_err(|problem| {
            ConfigError::at(&given.origin, format!("{}: {problem}", path.display()))
        })
    }
}
