//! Generational keys: references to values in a table that may be removed at any time.
//!
//! The owner keeps its values in [`Slots`]; other code keeps keys of eight bytes. A key that outlives its value finds nothing,
//! because the next value in the slot has another generation. Slots are reused, so a table is as large as the largest number
//! of values that it ever held at once.

use core::{fmt, marker::PhantomData, num::NonZeroU32};

use slab::Slab;

/// The index of a slot, and the generation of the value in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    generation: NonZeroU32,
}

const _: () = assert!(size_of::<Option<Key>>() == 8);

impl Key {
    /// The index of the slot: small, dense, reused.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The key as a number: generation in the upper half, index in the lower. It repeats only after 2³² insertions.
    pub const fn to_bits(self) -> u64 {
        ((self.generation.get() as u64) << 32) | self.index as u64
    }

    /// The key that [`Key::to_bits`] returned as `bits`; `None` if no key has these bits.
    pub fn from_bits(bits: u64) -> Option<Key> {
        let generation = NonZeroU32::new((bits >> 32) as u32)?;
        Some(Key { index: bits as u32, generation })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// A newtype of [`Key`], one for each kind of table, so that a key cannot be used with a table of another kind.
pub trait Handle: Copy {
    /// The typed key.
    fn wrap(key: Key) -> Self;
    /// The untyped key.
    fn key(self) -> Key;
}

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Key);

        impl Handle for $name {
            fn wrap(key: Key) -> Self {
                $name(key)
            }
            fn key(self) -> Key {
                self.0
            }
        }
    )*};
}

handles! {
    /// The key of a connection: one socket.
    ConnKey
    /// The key of a client: one peer with one outbox, which may outlive its connections.
    ClientKey
    /// The key of a session: a client in one namespace.
    SessionKey
}

/// The number of an entry of the table of addresses (`state::origins`). It is valid while what holds it is counted there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginKey(NonZeroU32);

impl OriginKey {
    /// The key of the entry `index`, which is below `u32::MAX`.
    pub fn new(index: u32) -> OriginKey {
        OriginKey(NonZeroU32::MIN.saturating_add(index))
    }

    /// The index of the entry.
    pub fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// A table of values of type `T` with keys of type `K`. All operations on one value are O(1).
pub struct Slots<K, T> {
    slab: Slab<Slot<T>>,
    generation: NonZeroU32,
    handle: PhantomData<K>,
}

struct Slot<T> {
    generation: NonZeroU32,
    value: T,
}

impl<K: Handle, T> Slots<K, T> {
    /// An empty table. Does not allocate.
    pub const fn new() -> Self {
        Slots { slab: Slab::new(), generation: NonZeroU32::MIN, handle: PhantomData }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether the table has no value.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Inserts a value and returns its key.
    pub fn insert(&mut self, value: T) -> K {
        let generation = self.generation;
        self.generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let index = self.slab.insert(Slot { generation, value });
        K::wrap(Key {
            index: u32::try_from(index).expect("fewer than 2^32 values: each belongs to a file descriptor"),
            generation,
        })
    }

    /// The value of `key`, or `None` if it was removed.
    pub fn get(&self, key: K) -> Option<&T> {
        let key = key.key();
        self.slab.get(key.index()).filter(|slot| slot.generation == key.generation).map(|slot| &slot.value)
    }

    /// The value of `key` for writing, or `None` if it was removed.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let key = key.key();
        self.slab.get_mut(key.index()).filter(|slot| slot.generation == key.generation).map(|slot| &mut slot.value)
    }

    /// The value of `key` for writing if `is_meant` accepts it. `is_meant` is called before the generation is compared,
    /// so it may see another value. If it reads the field whose niche marks free slots, the compiler merges that check
    /// with the check for a free slot.
    #[inline]
    pub fn get_mut_if(&mut self, key: K, is_meant: impl FnOnce(&T) -> bool) -> Option<&mut T> {
        let key = key.key();
        let slot = self.slab.get_mut(key.index())?;
        (is_meant(&slot.value) && slot.generation == key.generation).then_some(&mut slot.value)
    }

    /// Removes the value of `key` and returns it, or `None` if it was removed before.
    pub fn remove(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key.key().index()).value)
    }

    /// The key of the value that is in the slot `index` now.
    pub fn key_at(&self, index: usize) -> Option<K> {
        let slot = self.slab.get(index)?;
        Some(K::wrap(Key { index: index as u32, generation: slot.generation }))
    }

    /// All keys and values, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slab
            .iter()
            .map(|(index, slot)| (K::wrap(Key { index: index as u32, generation: slot.generation }), &slot.value))
    }

    /// All keys, in the order of the slots.
    pub fn keys(&self) -> Vec<K> {
        self.iter().map(|(key, _)| key).collect()
    }
}

impl<K: Handle, T> Default for Slots<K, T> {
    fn default() -> Self {
        Slots::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_find_the_next_value_in_its_slot() {
        let mut slots: Slots<ConnKey, &str> = Slots::new();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(first.key().index(), second.key().index());
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!(slots.key_at(second.key().index()), Some(second));
        assert_eq!(slots.len(), 1);
    }

    #[test]
    fn bits_convert_back() {
        let mut slots: Slots<SessionKey, ()> = Slots::new();
        let key = slots.insert(()).key();
        assert_eq!(Key::from_bits(key.to_bits()), Some(key));
        assert_eq!(Key::from_bits(7), None);
    }
}
