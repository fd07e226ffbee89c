//! Which message to drop when the kept messages take more than `history.memory`.

use super::{ring::Ring, rings::Rings};
use crate::state::State;

/// Why a message is dropped before others; in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// It is too old.
    Expired,
    /// It is in a room without members.
    Unattended,
    /// It is in a room with members.
    Attended,
    /// It is the last value of a room without members.
    UnattendedLast,
}

/// The ring whose oldest message is to be dropped, and why. The oldest goes first, but only some rings are looked at,
/// beginning with the one after `hand`: there is no index. `None` if none of the messages may be dropped.
pub fn find_victim(rings: &Rings, hand: &mut usize, second: u32, state: &State) -> Option<(usize, Victim)> {
    let all = rings.all();
    let mut best: Option<((Victim, u64), usize)> = None;
    for looked in 0..all.len().min(MOST_LOOKS) {
        if looked >= LOOKS && best.is_some() {
            break;
        }
        *hand = (*hand + 1) % all.len();
        let ring = &all[*hand];
        let Some(stamp) = ring.oldest().map(|entry| entry.stamp()) else { continue };
        let Some(victim) = victim(ring, second, state) else { continue };
        if best.is_none_or(|(known, _)| (victim, stamp) < known) {
            best = Some(((victim, stamp), *hand));
        }
    }
    best.map(|((victim, _), index)| (index, victim))
}

/// Why the oldest message of a ring may be dropped.
fn victim(ring: &Ring, second: u32, state: &State) -> Option<Victim> {
    if ring.expired(second) > 0 {
        return Some(Victim::Expired);
    }
    let is_last = ring.bounds().last && ring.len() == 1;
    match (state.has_members(ring.tenant, &ring.name), is_last) {
        (false, false) => Some(Victim::Unattended),
        (true, false) => Some(Victim::Attended),
        (false, true) => Some(Victim::UnattendedLast),
        (true, true) => None,
    }
}

/// How many rings are looked at for a message to drop.
pub const LOOKS: usize = 16;

/// How many are looked at if none of the first [`LOOKS`] has one.
const MOST_LOOKS: usize = 256;
