//! Start: messages about the configuration, and the listening sockets.

use core::fmt::Display;

use log::{info, warn};

use super::{
    config_file::{BadConfig, Loaded, Origin},
    fatal::Fatal,
    listener::Listener,
    options::Options,
    tokens::{CONNS, LISTENERS},
};
use crate::config::{Config, ListenAddress};

/// Logs where the configuration comes from, and warns about settings that are probably mistakes.
pub fn log_configuration(origin: &Origin, loaded: &Loaded) {
    match origin {
        Origin::File(_) | Origin::Variable(_) => info!("relay {} with {origin}", env!("CARGO_PKG_VERSION")),
        Origin::Demo => warn!(
            "relay {} with the BUILT-IN DEMO SETTING: its keys are public; write a configuration before others can reach it",
            env!("CARGO_PKG_VERSION")
        ),
    }
    loaded.warnings.iter().for_each(|warning| warn!("{warning}"));
}

/// Why relay cannot use TLS at an address.
pub fn no_certificate(address: &dyn Display) -> String {
    format!("listen: {address} needs a certificate: add [[tls.certificates]] with cert_file and key_file")
}

/// The warning about certificates that no address uses.
pub const UNUSED_CERTIFICATES: &str =
    "[[tls.certificates]] has no effect: no address of listen begins with tls:// or proxy+tls://";

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
        // Those for all addresses first: then the others need no socket of their own.
        let (all, some): (Vec<&ListenAddress>, Vec<&ListenAddress>) =
            addresses.iter().partition(|listen| listen.address.is_wildcard());
        for listen in all.into_iter().chain(some) {
            let failed = |error| Fatal::Listen(listen.to_string(), error);
            Listener::bind(listen, &mut listeners).map_err(failed)?;
        }
    }
    let clients = listeners.len();
    for listen in &config.admin_listen {
        let failed = |error| Fatal::Listen(listen.to_string(), error);
        Listener::bind(listen, &mut listeners).map_err(failed)?;
    }
    match wrong_count(clients, listeners.len() - clients) {
        Some(why) => Err(Fatal::Config(BadConfig(vec![why]))),
        None => Ok(listeners),
    }
}

/// Why relay cannot have this many listening sockets, for clients and for metrics only.
pub fn wrong_count(clients: usize, metrics: usize) -> Option<String> {
    let most = CONNS - LISTENERS;
    if clients == 0 || clients > most {
        return Some(format!("listen: expected 1 to {most} addresses, not {clients}"));
    }
    (clients + metrics > most)
        .then(|| format!("admin.listen: expected at most {} addresses, not {metrics}", most - clients))
}

/// Why relay does not start with a demo key at this address.
pub fn exposed(config: &Config, address: &dyn Display) -> String {
    let name = config.sources.iter().find(|(_, source)| source.is_public()).map_or("", |(name, _)| name);
    format!(
        "source {name:?} uses a public demo key, and {address} can be reached from other machines: use keys of your own, or \
         pass --allow-demo-keys"
    )
}

/// The first listener that other machines can reach while a source has a public demo key. `None` if there is none, or with
/// `--allow-demo-keys`.
pub fn exposure<'a>(config: &Config, options: &Options, listeners: &'a [Listener]) -> Option<&'a Listener> {
    let risky = |listener: &&Listener| forbids_reach(config, options) && !listener.is_local() && !listener.metrics_only;
    listeners.iter().find(risky)
}

/// Whether no other machine may reach relay, because a source has a public demo key.
pub fn forbids_reach(config: &Config, options: &Options) -> bool {
    config.has_demo_keys() && !options.allow_demo_keys
}
