//! The hash of a room's name. A publication needs it for its room's history and for its members in each namespace, and
//! computes it once: it is a quarter of what finding them costs.

use core::hash::BuildHasher;
use std::{hash::RandomState, sync::LazyLock};

/// The hash of a room's name in all tables of this process. Its key is random, because clients may choose names.
pub fn room_hash(name: &str) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(name)
}

/// The name of a room with its hash.
#[derive(Clone, Copy, Debug)]
pub struct HashedRoom<'a> {
    /// The name.
    pub name: &'a str,
    /// Its [`room_hash`].
    pub hash: u64,
}

impl<'a> HashedRoom<'a> {
    /// Hashes a name.
    pub fn new(name: &'a str) -> HashedRoom<'a> {
        HashedRoom { name, hash: room_hash(name) }
    }
}
