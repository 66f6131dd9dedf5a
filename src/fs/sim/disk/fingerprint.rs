//! A hash by which two disks are told apart as an opening would.
//!
//! Invariant: it depends neither on times nor on inode numbers; each part is written with its length
//! or has a fixed one, so that no two disks give the same bytes.

use std::collections::BTreeMap;

use super::{Body, Disk, ROOT};
use crate::base::hash::ContentHash;

impl Disk {
    pub(in crate::fs::sim) fn fingerprint(&self) -> u128 {
        let mut bytes = Vec::with_capacity(4096);
        self.describe(ROOT, &mut BTreeMap::new(), &mut bytes);
        ContentHash::of(&bytes).0
    }

    /// Describes an inode; one that was described before, by its number in the order of the names.
    fn describe(&self, number: u64, known: &mut BTreeMap<u64, u64>, to: &mut Vec<u8>) {
        if let Some(at) = known.get(&number) {
            to.push(b'L');
            to.extend(at.to_le_bytes());
            return;
        }
        known.insert(number, known.len() as u64);
        match self.inodes.get(&number).map(|inode| &inode.body) {
            None | Some(Body::Other) => to.push(b'O'),
            Some(Body::File(data)) => {
                to.push(if self.spoiled.contains_key(&number) { b'S' } else { b'F' });
                data.now().digest_into(to);
            }
            Some(Body::Directory { now, .. }) => {
                to.push(b'D');
                to.extend((now.len() as u64).to_le_bytes());
                for (name, number) in now.iter() {
                    to.extend((name.len() as u64).to_le_bytes());
                    to.extend(name.as_bytes());
                    self.describe(*number, known, to);
                }
            }
        }
    }
}
