//! What the collector knows a file by.
//!
//! A file's key leaves its device out where birth times tell files apart: the number of a device may change with a reboot. But a
//! volume that was cloned holds files of the same inode and birth time. The second of them gets a key with its device.

use std::{collections::HashMap, path::Path};

use super::identity::{About, Identity};

/// The keys of files that were seen.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: HashMap<Identity, String>,
    owners: HashMap<String, Identity>,
    /// Keys of clones that the collector knows, by the name they were found under.
    clones: HashMap<(String, std::path::PathBuf), String>,
}

/// What is known of a key that is not open.
pub(super) struct Owner<'a> {
    pub(super) path: &'a Path,
    pub(super) device: u64,
}

impl Keys {
    /// Takes what the collector knows: keys, and the names of their files.
    pub(super) fn new<'a>(known: impl Iterator<Item = (&'a str, &'a Path)>) -> Self {
        let clone =
            |(key, path): (&str, &Path)| Some(((base(key)?.to_owned(), path.to_owned()), key.to_owned()));
        Self { clones: known.filter_map(clone).collect(), ..Self::default() }
    }

    /// The key of the file at `path`. `held` tells what is known of a key.
    pub(super) fn of<'a>(
        &mut self,
        identity: &Identity,
        path: &Path,
        held: impl Fn(&str) -> Option<Owner<'a>>,
    ) -> String {
        if let Some(key) = self.keys.get(identity) {
            return key.clone();
        }
        let key = self.choose(identity, path, held);
        self.keys.insert(*identity, key.clone());
        self.owners.insert(key.clone(), *identity);
        key
    }

    fn choose<'a>(
        &self,
        identity: &Identity,
        path: &Path,
        held: impl Fn(&str) -> Option<Owner<'a>>,
    ) -> String {
        let key = identity.key();
        if identity.birth_time == 0 {
            return key;
        }
        if let Some(clone) = self.clones.get(&(key.clone(), path.to_owned())) {
            return clone.clone();
        }
        let is_taken = self.owners.get(&key).is_some_and(|owner| owner.device != identity.device);
        if !is_taken && held(&key).is_some_and(|owner| owner.path == path) {
            return key;
        }
        let own = self.own_key(identity, &key, path, &held);
        if is_taken || held(&own).is_some() {
            return own;
        }
        match held(&key) {
            // The number of its device changed, or another file of the kind is where the known one was.
            Some(owner)
                if owner.device != identity.device && owner.path != path && is_there(&owner, &key) =>
            {
                own
            }
            _ => key,
        }
    }

    /// A key with the file's device. After a reboot another clone may have the number that this one had: what is known by it is that
    /// one's, when it is where it was.
    fn own_key<'a>(
        &self,
        identity: &Identity,
        key: &str,
        path: &Path,
        held: &impl Fn(&str) -> Option<Owner<'a>>,
    ) -> String {
        let own = format!("{key}@{:x}", identity.device);
        let is_others = |own: &str| {
            let is_open = self.owners.get(own).is_some_and(|owner| owner != identity);
            is_open || held(own).is_some_and(|owner| owner.path != path && is_elsewhere(&owner, identity))
        };
        let others = (1..).map(|n: u32| format!("{own}-{n:x}"));
        std::iter::once(own.clone()).chain(others).find(|own| !is_others(own)).unwrap_or(own)
    }

    /// Lets go of a file that was closed.
    pub(super) fn forget(&mut self, key: &str) {
        if let Some(identity) = self.owners.remove(key) {
            self.keys.remove(&identity);
        }
    }
}

fn is_there(owner: &Owner<'_>, key: &str) -> bool {
    About::of_path(owner.path).is_ok_and(|about| about.identity.key() == key)
}

/// Whether a clone of a file, and not the file itself, is where something known was.
fn is_elsewhere(owner: &Owner<'_>, identity: &Identity) -> bool {
    About::of_path(owner.path)
        .is_ok_and(|about| about.identity.key() == identity.key() && about.identity.device != identity.device)
}

/// The key that a clone's key begins with.
fn base(key: &str) -> Option<&str> {
    let (base, _) = key.rsplit_once('@')?;
    base.contains('@').then_some(base)
}

/// The part of a key that clones share.
pub(super) fn file_part(key: &str) -> &str {
    base(key).unwrap_or(key)
}

/// Whether a file may have this key.
pub(super) fn fits(identity: &Identity, key: &str) -> bool {
    let own = identity.key();
    key == own || base(key) == Some(&own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Identity = Identity { device: 7, inode: 12, birth_time: 5 };
    const CLONE: Identity = Identity { device: 8, ..FIRST };

    #[test]
    fn clones_have_keys_of_their_own_and_keep_them_by_their_names() {
        let (a, b) = (Path::new("/a/app.log"), Path::new("/b/app.log"));
        let mut keys = Keys::default();
        assert_eq!(keys.of(&FIRST, a, |_| None), "file:c@5");
        assert_eq!(keys.of(&CLONE, b, |_| None), "file:c@5@8");
        assert_eq!(keys.of(&FIRST, a, |_| None), "file:c@5");

        // After a reboot the devices have each other's numbers.
        let known = [("file:c@5", a), ("file:c@5@8", b)];
        let mut keys = Keys::new(known.into_iter());
        let held = |key: &str| match key {
            "file:c@5" => Some(Owner { path: a, device: 7 }),
            "file:c@5@8" => Some(Owner { path: b, device: 8 }),
            _ => None,
        };
        assert_eq!(keys.of(&CLONE, a, held), "file:c@5");
        assert_eq!(keys.of(&FIRST, b, held), "file:c@5@8");
        assert!(fits(&CLONE, "file:c@5@8") && fits(&CLONE, "file:c@5"));
        assert!(!fits(&CLONE, "file:d@5@8"));
    }

    #[test]
    fn a_clone_that_is_new_and_has_the_device_of_a_known_one_has_a_key_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (there, new) = (folder.path().join("app.log"), Path::new("/new/app.log"));
        std::fs::write(&there, "x").unwrap();
        let known = About::of_path(&there).unwrap().identity;
        if known.birth_time == 0 {
            return;
        }
        let clone = Identity { device: known.device + 1, ..known };
        let own = format!("{}@{:x}", known.key(), clone.device);
        let held = |key: &str| {
            [&own, &known.key()].contains(&&key.to_owned()).then_some(Owner { path: &there, device: 7 })
        };
        let key = Keys::default().of(&clone, new, held);
        assert_eq!(key, format!("{own}-1"));
        assert!(fits(&clone, &key));
    }

    #[test]
    fn a_file_whose_device_changed_keeps_its_key() {
        let (a, b) = (Path::new("/a/app.log"), Path::new("/b/app.log"));
        let held = |_: &str| Some(Owner { path: a, device: 7 });
        assert_eq!(
            Keys::default().of(&CLONE, a, |key| (key == "file:c@5").then(|| held(key)).flatten()),
            "file:c@5"
        );
        // Nothing is where it was: it has another name by now.
        assert_eq!(
            Keys::default().of(&CLONE, b, |key| (key == "file:c@5").then(|| held(key)).flatten()),
            "file:c@5"
        );
    }
}
