//! What the command line decides.

use super::process::Origin;
use crate::config::Address;

/// Options of `relay serve`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration comes from.
    pub origin: Origin,
    /// Addresses in place of the configuration's.
    pub listen: Vec<Address>,
    /// Whether keys that everybody knows may be used beyond this machine.
    pub allow_demo_keys: bool,
}
