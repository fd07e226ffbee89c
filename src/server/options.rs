//! The options of `relay serve`.

use super::config_file::Origin;
use crate::config::ListenAddress;

/// Options of `relay serve`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the configuration comes from.
    pub origin: Origin,
    /// The addresses of `--listen`. If there are any, they replace those of the configuration.
    pub listen: Vec<ListenAddress>,
    /// Whether public demo keys are allowed on addresses that other machines can reach.
    pub allow_demo_keys: bool,
}
