//! Warnings about a valid configuration: settings that are probably mistakes, and keys that are easy to guess.

use std::collections::BTreeMap;

use super::{address::Address, settings::Config};

/// The warnings about a configuration, one for each kind. They name no key.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if config.admits_nobody() {
        warnings.push("no [sources.NAME] is configured: nobody can connect or notify".into());
    }
    if config.limits.unsent < config.limits.message {
        warnings.push(format!(
            "limits.unsent is below limits.message ({} and {} bytes): two large messages in a row close a client as a slow \
             consumer; raise limits.unsent",
            config.limits.unsent, config.limits.message
        ));
    }
    let short: Vec<String> = secrets(config).filter(|(_, key)| key.len() < SHORT).map(|(name, _)| name).collect();
    if !short.is_empty() {
        warnings.push(format!(
            "{} {} fewer than {SHORT} bytes and can be guessed: use a random key, for example of 'openssl rand -hex 16'",
            some_of(&short),
            if short.len() == 1 { "has" } else { "have" }
        ));
    }
    let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, source) in &config.sources {
        by_key.entry(source.sign_key.expose()).or_default().push(name.clone());
    }
    let shared: Vec<String> = by_key.values().filter(|names| names.len() > 1).map(|names| some_of(names)).collect();
    if !shared.is_empty() {
        warnings.push(format!(
            "these sources have one key, so an md5 signature for one can be valid for another: {}; give each source its own",
            shared.iter().take(LISTED).cloned().collect::<Vec<_>>().join("; ")
        ));
    }
    if let Some(open) = config.listen.iter().find(|address| config.has_demo_keys() && !is_local(address)) {
        warnings.push(format!(
            "a source has a demo key, which everybody knows, and other machines can reach {open}: relay serve refuses this; use \
             keys of your own, or pass --allow-demo-keys"
        ));
    }
    warnings
}

/// The secrets that others could guess, with their keys in the file.
fn secrets(config: &Config) -> impl Iterator<Item = (String, &str)> {
    let others = [
        ("admin.token", &config.admin_token),
        ("hooks.secret", &config.hooks.secret),
        ("redis.secret", &config.redis.secret),
    ];
    let others = others.into_iter().filter_map(|(name, secret)| Some((name.to_owned(), secret.as_ref()?.expose())));
    let source = |name: &str| format!("sources.{name}.sign_key");
    others.chain(config.sources.iter().map(move |(name, known)| (source(name), known.sign_key.expose())))
}

/// Whether only this machine can reach an address of the configuration.
fn is_local(address: &Address) -> bool {
    match address {
        Address::Unix(_) => true,
        Address::Tcp(text) => {
            let host = text.rsplit_once(':').map_or(&**text, |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let is_loopback = |ip: core::net::IpAddr| ip.to_canonical().is_loopback();
            host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(is_loopback)
        }
    }
}

/// The first names of a list, and the number of the others.
pub fn some_of(names: &[String]) -> String {
    let (first, more) = names.split_at(names.len().min(LISTED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", first.join(", "))
}

/// Keys of fewer bytes are warned about: 16 random hexadecimal digits have 64 bits.
const SHORT: usize = 16;
/// How many names a warning lists.
const LISTED: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn warnings_of(text: &str) -> String {
        let config = parse(text, &mut |_| Ok("in a file\n".into())).unwrap();
        warnings(&config).join("\n")
    }

    #[test]
    fn a_good_configuration_has_no_warning() {
        let good = "[sources.a]\nsign_key = \"0123456789abcdef\"\n[sources.b]\nsign_key = \"0123456789abcdeF\"\n";
        assert_eq!(warnings_of(good), "");
        assert!(warnings(&Config::demo()).is_empty(), "it listens on 127.0.0.1");
    }

    #[test]
    fn weak_keys() {
        let short =
            "[sources.a]\nsign_key = \"0123456789abcde\"\n[admin]\ntoken = \"t\"\n[hooks]\nsecret_file = \"f\"\n";
        let text = warnings_of(short);
        assert!(text.starts_with("admin.token, hooks.secret, sources.a.sign_key have fewer than 16 bytes"), "{text}");
        assert!(!text.contains("0123"), "no key is shown");
        let many = (0..9).fold(String::new(), |all, n| all + &format!("[sources.s{n}]\nsign_key = \"k{n}\"\n"));
        assert!(warnings_of(&many).contains("sources.s4.sign_key and 4 more have fewer"));
        let one = |name: &str| format!("[sources.{name}]\nsign_key = \"0123456789abcdef\"\n");
        let text = warnings_of(&["a", "c", "b"].map(one).concat());
        assert!(text.starts_with("these sources have one key") && text.contains(": a, b, c;"), "{text}");
    }

    #[test]
    fn demo_keys_beyond_this_machine() {
        let at = |address: &str| {
            let key = crate::config::DEMO_KEYS[0].1;
            warnings_of(&format!("listen = [\"{address}\"]\n[sources.a]\nsign_key = \"{key}\"\n"))
        };
        for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/r"] {
            assert_eq!(at(local), "", "{local}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "relay.lan:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
            assert!(at(open).contains(open), "{open}");
        }
    }

    #[test]
    fn mistakes() {
        assert!(warnings_of("").starts_with("no [sources.NAME] is configured"));
        assert_eq!(warnings_of("[namespaces.\"/a\"]\nauth = \"open\"\n"), "");
        assert!(warnings_of("[limits]\nunsent = 4096").contains("raise limits.unsent"));
    }
}
