//! Names for things that live in a slot: an index and a generation.
//!
//! Owners hold values in [`Slots`]; everybody else holds a key, eight bytes, and asks. A key kept longer than its value
//! finds nothing, since the slot's next life has another generation. Slots are reused, so the table stays as large as the
//! most there ever were at once.

use core::{fmt, marker::PhantomData, num::NonZeroU32};

use slab::Slab;

/// The index of a slot, and which of its lives is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    generation: NonZeroU32,
}

const _: () = assert!(size_of::<Option<Key>>() == 8);

impl Key {
    /// The slot's index: small, dense, reused.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// Both halves in one number: unique for 2³² insertions.
    pub const fn to_bits(self) -> u64 {
        ((self.generation.get() as u64) << 32) | self.index as u64
    }

    /// The key of [`Key::to_bits`]; nothing if there can be no such key.
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

/// A newtype around [`Key`], so that one table's key cannot be used on another.
pub trait Handle: Copy {
    /// Wraps.
    fn wrap(key: Key) -> Self;
    /// Unwraps.
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
    /// Names a connection: one socket.
    ConnKey
    /// Names a client: one peer with one outbox, whatever carries it.
    ClientKey
    /// Names a session: a client in one namespace.
    SessionKey
}

/// A table of values named by keys of type `K`.
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
    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        Slots { slab: Slab::new(), generation: NonZeroU32::MIN, handle: PhantomData }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Puts a value into a free slot.
    pub fn insert(&mut self, value: T) -> K {
        let generation = self.generation;
        self.generation = generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        let index = self.slab.insert(Slot { generation, value });
        K::wrap(Key { index: u32::try_from(index).expect("fewer than 2^32 slots: descriptors are fewer"), generation })
    }

    /// The value, if it still lives.
    pub fn get(&self, key: K) -> Option<&T> {
        let key = key.key();
        self.slab.get(key.index()).filter(|slot| slot.generation == key.generation).map(|slot| &slot.value)
    }

    /// The value to change, if it still lives.
    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let key = key.key();
        self.slab.get_mut(key.index()).filter(|slot| slot.generation == key.generation).map(|slot| &mut slot.value)
    }

    /// The same if `is_meant` says so, which is asked before the key's generation is compared: where a value's first bits
    /// say both that it lives and that it is meant, one look is enough.
    #[inline]
    pub fn get_mut_if(&mut self, key: K, is_meant: impl FnOnce(&T) -> bool) -> Option<&mut T> {
        let key = key.key();
        let slot = self.slab.get_mut(key.index())?;
        (is_meant(&slot.value) && slot.generation == key.generation).then_some(&mut slot.value)
    }

    /// Takes the value out and frees the slot.
    pub fn remove(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key.key().index()).value)
    }

    /// The key of whoever lives at `index` now.
    pub fn key_at(&self, index: usize) -> Option<K> {
        let slot = self.slab.get(index)?;
        Some(K::wrap(Key { index: index as u32, generation: slot.generation }))
    }

    /// All values with their keys, in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slab
            .iter()
            .map(|(index, slot)| (K::wrap(Key { index: index as u32, generation: slot.generation }), &slot.value))
    }

    /// All keys, in slot order.
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
    fn a_key_outlives_its_value_but_not_its_meaning() {
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
    fn bits_are_the_key() {
        let mut slots: Slots<SessionKey, ()> = Slots::new();
        let key = slots.insert(()).key();
        assert_eq!(Key::from_bits(key.to_bits()), Some(key));
        assert_eq!(Key::from_bits(7), None);
    }
}
