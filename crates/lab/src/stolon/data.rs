//! `clusterdata` as a sentinel rewrites it.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value is asked by name: a missing one reads as null, and what is written stands in the template"
)]

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::{Pace, ProxyInfo, go_duration};

/// A healthy cluster of two as Stolon wrote it.
const TEMPLATE: &str = include_str!("clusterdata.json");
/// The template's own names for a leader and for a standby.
const LEADER: &str = "/dbs/be8f1607";
const STANDBY: &str = "/dbs/9ea5a851";

/// One cluster's data. Node `n` belongs to the keeper `keeper<n>`.
#[derive(Debug, Clone)]
pub(super) struct Clusterdata(Value);

impl Clusterdata {
    /// The data of a healthy cluster whose first node leads.
    pub(super) fn new(nodes: &[SocketAddr], pace: Pace) -> Self {
        let mut data: Value = serde_json::from_str(TEMPLATE).expect("the template is JSON");
        let leader = data.pointer(LEADER).cloned().expect("the template has a leader");
        let standby = data.pointer(STANDBY).cloned().expect("the template has a standby");
        let keeper = data["keepers"]["keeper0"].clone();
        let spec = &mut data["cluster"]["spec"];
        spec["sleepInterval"] = go_duration(pace.sleep).into();
        spec["proxyCheckInterval"] = go_duration(pace.check).into();
        spec["proxyTimeout"] = go_duration(pace.timeout).into();
        let (mut dbs, mut keepers) = (Map::new(), Map::new());
        let uids: Vec<String> = nodes.iter().map(|_| uid()).collect();
        let first = uids.first().cloned().unwrap_or_default();
        for (at, (node, uid)) in nodes.iter().zip(&uids).enumerate() {
            let mut db = if at == 0 { leader.clone() } else { standby.clone() };
            db["uid"] = uid.as_str().into();
            db["spec"]["keeperUID"] = format!("keeper{at}").into();
            db["status"]["listenAddress"] = node.ip().to_string().into();
            db["status"]["port"] = node.port().to_string().into();
            if at == 0 {
                db["spec"]["followers"] = uids.iter().skip(1).cloned().collect();
            } else {
                db["spec"]["followConfig"]["dbuid"] = first.as_str().into();
            }
            dbs.insert(uid.clone(), db);
            let mut one = keeper.clone();
            one["uid"] = format!("keeper{at}").into();
            keepers.insert(format!("keeper{at}"), one);
        }
        data["dbs"] = dbs.into();
        data["keepers"] = keepers.into();
        data["cluster"]["status"]["master"] = first.as_str().into();
        data["cluster"]["uid"] = uid().into();
        data["proxy"]["spec"] = json!({ "masterDbUid": first });
        Self(data)
    }

    pub(super) fn read(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text).map(Self)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }

    pub(super) fn into_value(self) -> Value {
        self.0
    }

    pub(super) fn generation(&self) -> u64 {
        self.0["proxy"]["generation"].as_u64().unwrap_or(0)
    }

    /// The uid of the leader that the proxies may serve.
    pub(super) fn announced(&self) -> Option<String> {
        let uid = self.0.pointer("/proxy/spec/masterDbUid").and_then(Value::as_str);
        uid.filter(|uid| !uid.is_empty()).map(str::to_owned)
    }

    /// What a cycle without news does: the announcement when all proxies are ready for it, the
    /// list of proxies, and the marks of time that change at every cycle.
    pub(super) fn cycle(&mut self, active: &[ProxyInfo]) {
        let generation = self.generation();
        if self.announced().is_none() {
            if active.iter().all(|proxy| proxy.generation == generation) {
                self.0["proxy"]["spec"]["masterDbUid"] = self.master().into();
                self.next_generation();
            }
        } else {
            let mut enabled: Vec<&str> = active.iter().map(|proxy| proxy.uid.as_str()).collect();
            enabled.sort_unstable();
            let spec = &mut self.0["proxy"]["spec"];
            // Go holds an empty list and none for different, and writes none for both: without
            // any proxy the generation grows at every cycle.
            if enabled.is_empty() {
                spec.as_object_mut().map(|spec| spec.remove("enabledProxies"));
                self.next_generation();
            } else if spec["enabledProxies"] != json!(enabled) {
                spec["enabledProxies"] = json!(enabled);
                self.next_generation();
            }
        }
        self.mark_time();
    }

    /// Makes the node of keeper `at` the master, announced to nobody.
    pub(super) fn elect(&mut self, at: usize) {
        let old = self.master();
        let Some(new) = self.of_keeper(at) else { return };
        self.0["cluster"]["status"]["master"] = new.as_str().into();
        let keeper = self.0["dbs"][&old]["spec"]["keeperUID"].as_str().map(str::to_owned);
        let db = &mut self.0["dbs"][&new];
        db["spec"]["role"] = "master".into();
        remove(&mut db["spec"], "followConfig");
        grow(&mut db["generation"]);
        if old != new {
            let db = &mut self.0["dbs"][&old];
            db["spec"]["followers"] = json!([]);
            remove(&mut db["status"], "healthy");
            grow(&mut db["generation"]);
        }
        if let Some(keeper) = keeper {
            remove(&mut self.0["keepers"][keeper]["status"], "healthy");
        }
        self.withdraw();
    }

    /// Takes the leader away from the proxies.
    pub(super) fn withdraw(&mut self) {
        remove(&mut self.0["proxy"]["spec"], "masterDbUid");
        self.next_generation();
    }

    /// Gives all nodes but the leader new uids, as standbys of the leader, and marks the leader as
    /// converged.
    pub(super) fn resync(&mut self) {
        let master = self.master();
        let template: Value = serde_json::from_str(TEMPLATE).expect("the template is JSON");
        let standby = template.pointer(STANDBY).cloned().unwrap_or_default();
        let Some(dbs) = self.0["dbs"].as_object_mut() else { return };
        let old: Vec<String> = dbs.keys().filter(|uid| **uid != master).cloned().collect();
        let mut followers = Vec::new();
        for old in old {
            let Some(left) = dbs.remove(&old) else { continue };
            let new = uid();
            let mut db = standby.clone();
            db["uid"] = new.as_str().into();
            db["spec"]["keeperUID"] = left["spec"]["keeperUID"].clone();
            db["spec"]["followConfig"]["dbuid"] = master.as_str().into();
            db["status"]["listenAddress"] = left["status"]["listenAddress"].clone();
            db["status"]["port"] = left["status"]["port"].clone();
            dbs.insert(new.clone(), db);
            followers.push(new);
        }
        let db = &mut self.0["dbs"][&master];
        db["spec"]["followers"] = json!(followers);
        db["status"]["currentGeneration"] = db["generation"].clone();
        db["status"]["timelineID"] = (db["status"]["timelineID"].as_u64().unwrap_or(0) + 1).into();
        for keeper in self.0["keepers"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            keeper["status"]["healthy"] = true.into();
        }
    }

    fn master(&self) -> String {
        self.0["cluster"]["status"]["master"].as_str().unwrap_or_default().to_owned()
    }

    fn of_keeper(&self, at: usize) -> Option<String> {
        let keeper = format!("keeper{at}");
        let dbs = self.0["dbs"].as_object()?;
        let (uid, _) = dbs.iter().find(|(_, db)| db["spec"]["keeperUID"] == keeper.as_str())?;
        Some(uid.clone())
    }

    fn next_generation(&mut self) {
        grow(&mut self.0["proxy"]["generation"]);
    }

    /// Changes what changes at every cycle, so that no two writes are alike.
    fn mark_time(&mut self) {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = since_1970.unwrap_or_default();
        // Nobody reads the day: only the mark has to move.
        let seconds = now.as_secs() % 86_400;
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let nanos = now.subsec_nanos();
        let time = format!("2026-11-23T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z");
        self.0["changeTime"] = time.as_str().into();
        for keeper in self.0["keepers"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            keeper["changeTime"] = time.as_str().into();
            keeper["status"]["lastHealthyTime"] = time.as_str().into();
        }
        for db in self.0["dbs"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            db["changeTime"] = time.as_str().into();
            grow(&mut db["status"]["xLogPos"]);
        }
    }
}

fn remove(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
}

fn grow(number: &mut Value) {
    *number = (number.as_u64().unwrap_or(0) + 1).into();
}

/// Eight hexadecimal digits, as Stolon names things.
fn uid() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(0_u8);
    format!("{:08x}", random >> 32)
}
