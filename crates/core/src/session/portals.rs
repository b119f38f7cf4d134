//! The portals of one client, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::here::Here;
use super::survey::Survey;

/// A portal of the client.
#[derive(Debug)]
pub(super) struct Portal {
    /// What its statement's text tells.
    pub survey: Arc<Survey>,
    /// Bound here, and known to no backend.
    pub here: Option<Here>,
}

/// Those that are open. Most clients only know the unnamed one, which takes no allocation.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Option<Portal>,
    named: BTreeMap<Box<[u8]>, Portal>,
}

impl Portals {
    /// The portal of that name.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(name) }
    }

    /// Opens a portal, in place of an older one of that name.
    pub(super) fn insert(&mut self, name: &[u8], portal: Portal) {
        if name.is_empty() {
            self.unnamed = Some(portal);
        } else {
            self.named.insert(name.into(), portal);
        }
    }

    /// Forgets the portal of that name.
    pub(super) fn remove(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(name);
        }
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.unnamed = None;
        if !self.named.is_empty() {
            self.named.clear();
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.named.len().saturating_add(usize::from(self.unnamed.is_some()))
    }

    /// Takes what was bound here and is known to no backend, by name.
    pub(super) fn take_here(&mut self) -> Vec<(Box<[u8]>, Here)> {
        let unnamed = self.unnamed.as_mut().and_then(|portal| portal.here.take());
        let mut taken: Vec<_> = unnamed.into_iter().map(|here| (Box::default(), here)).collect();
        for (name, portal) in &mut self.named {
            taken.extend(portal.here.take().map(|here| (name.clone(), here)));
        }
        taken
    }
}
