//! Receipts: who gets a notification, and who has got it (docs/protocol.md, Receipts).
//!
//! `request` has what a backend asks for. `count` counts the members of a room, here or at another relay; `receipt` puts the
//! counts of all relays together. `open` is a receipt that waits: for the counts of other relays, or until clients are known
//! to have the message. `table` has all that are open and the clients that they wait for, and `answers` the requests that
//! are answered when their receipts are done.
//!
//! A delivery knows nothing of this: members are counted after it, and only if a receipt was asked for.

mod answers;
mod count;
mod open;
mod receipt;
mod request;
mod table;

pub use self::{
    answers::{Answer, Answers},
    count::{Count, Names},
    open::{Asker, Open, Waiting},
    receipt::{Receipt, RoomReceipt},
    request::{ReceiptRequest, check_rooms},
    table::Receipts,
};
