//! Start: messages about the configuration, and the listening sockets.

use log::{info, warn};

use super::{
    fatal::Fatal,
    listener::Listener,
    options::Options,
    process::{BadConfig, Origin},
    tokens::{CONNS, LISTENERS},
};
use crate::config::{Auth, Config};

/// Logs where the configuration comes from, and warns about settings that are probably mistakes.
pub fn log_configuration(origin: &Origin, config: &Config) {
    match origin {
        Origin::File(path) => info!("relay {} with {}", env!("CARGO_PKG_VERSION"), path.display()),
        Origin::Demo => warn!(
            "relay {} with the BUILT-IN DEMO SETTING: its keys are public; write a configuration before others can reach it",
            env!("CARGO_PKG_VERSION")
        ),
    }
    if config.sources.is_empty() && config.namespaces.values().all(|namespace| namespace.auth != Auth::Open) {
        warn!("no [sources.NAME] is configured: nobody can connect or notify");
    }
    if config.limits.unsent < config.limits.message {
        warn!(
            "limits.unsent is below limits.message ({} and {} bytes): two large messages in a row close a client as a slow \
             consumer; raise limits.unsent",
            config.limits.unsent, config.limits.message
        );
    }
}

/// Opens the listening sockets: those of `--listen`, otherwise inherited ones, otherwise those of the configuration.
///
/// Fails if an address cannot be bound, or if there is no address or there are too many.
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
