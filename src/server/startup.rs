//! Opening the listening sockets at start.

use super::{
    fatal::Fatal,
    listener::Listener,
    options::Options,
    process::BadConfig,
    tokens::{CONNS, LISTENERS},
};
use crate::config::Config;

/// Opens the listening sockets: those of `--listen`, else inherited ones, else those of the configuration.
///
/// Errors: an address cannot be bound, or there are no or too many addresses.
pub fn listeners(options: &Options, config: &Config) -> Result<Vec<Listener>, Fatal> {
    let mut listeners = Vec::new();
    let mut addresses = &options.listen;
    if addresses.is_empty() {
        listeners = Listener::inherited().map_err(|error| Fatal::Io("inherited sockets", error))?;
        addresses = &config.listen;
    }
    if listeners.is_empty() {
        for address in addresses {
            let bound = Listener::bind(address).map_err(|error| Fatal::Listen(address.to_string(), error))?;
            listeners.extend(bound);
        }
    }
    let few = listeners.len() <= CONNS - LISTENERS;
    if listeners.is_empty() || !few {
        let why = format!("listen: expected 1 to {} addresses, not {}", CONNS - LISTENERS, listeners.len());
        return Err(Fatal::Config(BadConfig(vec![why])));
    }
    Ok(listeners)
}

/// The first listener that other machines can reach while a source has a public demo key. `None` if there is none, or with
/// `--allow-demo-keys`.
pub fn exposure<'a>(config: &Config, options: &Options, listeners: &'a [Listener]) -> Option<&'a Listener> {
    let risky = config.has_demo_keys() && !options.allow_demo_keys;
    listeners.iter().find(|listener| risky && !listener.is_local())
}
