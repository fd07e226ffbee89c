//! Warnings about a valid configuration: settings that are probably mistakes, and keys that are easy to guess.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    address::{Address, Network},
    history::HistoryRule,
    settings::Config,
};

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
    if config.origins.allow_null() && !config.origins.allow_all() {
        warnings.push(
            "origins lists \"null\", the origin of every sandboxed frame: any site can open one, so only signatures keep \
             other sites out"
                .into(),
        );
    }
    if let Some(element) = config.origins.websocket() {
        warnings.push(format!("origins lists {element:?}: the origin of a page begins with http:// or https://"));
    }
    let short: Vec<String> = secrets(config).filter(|(_, key)| key.len() < SHORT).map(|(name, _)| name).collect();
    if !short.is_empty() {
        warnings.push(format!(
            "{} {} fewer than {SHORT} bytes and can be guessed: use a random key, for example of 'openssl rand -hex 16'",
            some_of(&short),
            if short.len() == 1 { "has" } else { "have" }
        ));
    }
    warnings.extend(tokens(config));
    let mut by_key: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, source) in &config.sources {
        by_key.entry(source.sign_key.expose()).or_default().push(name.clone());
    }
    let shared: Vec<String> = by_key.values().filter(|names| names.len() > 1).map(|names| some_of(names)).collect();
    if !shared.is_empty() {
        warnings.push(format!(
            "these sources share a key, so an md5 signature for one can be valid for another: {}; give each source its own",
            shared.iter().take(LISTED).cloned().collect::<Vec<_>>().join("; ")
        ));
    }
    let is_trusted = |unix: bool| config.trusted_proxies.iter().any(|network| (*network == Network::Unix) == unix);
    let is_unix = |address: &Address| matches!(address, Address::Unix(_));
    if let Some(proxied) = config.listen.iter().find(|listen| listen.proxied && !is_trusted(is_unix(&listen.address))) {
        let missing = if is_unix(&proxied.address) { "\"unix\"" } else { "the address of the proxy" };
        warnings.push(format!(
            "the PROXY headers of all connections to {proxied} are ignored, because trusted_proxies lists no such proxy: add \
             {missing} to trusted_proxies"
        ));
    }
    warnings.extend(contradictions(config));
    warnings
}

/// Secrets of tokens that are weaker than HS256, or that are a key for something else. Those of the demo are public anyway.
fn tokens(config: &Config) -> Vec<String> {
    let (mut found, mut short, mut shared) = (Vec::new(), Vec::new(), Vec::new());
    let keys: BTreeSet<&str> = config.sources.values().map(|source| source.sign_key.expose()).collect();
    for (name, source) in config.sources.iter().filter(|(_, source)| !source.has_demo_key()) {
        let name = format!("sources.{name}.jwt.secret");
        if source.token_secrets().any(|secret| (SHORT..SHORTEST_HS256).contains(&secret.len())) {
            short.push(name.clone());
        }
        if source.token_secrets().any(|secret| keys.contains(secret)) {
            shared.push(name);
        }
    }
    if !short.is_empty() {
        found.push(format!(
            "{} {} fewer than {SHORTEST_HS256} bytes, as HS256 needs (RFC 7518 section 3.2): use a random one, for example of \
             'openssl rand -hex 32'",
            some_of(&short),
            if short.len() == 1 { "has" } else { "have" }
        ));
    }
    if !shared.is_empty() {
        found.push(format!("{} is also a sign_key: use another secret for tokens", some_of(&shared)));
    }
    found
}

/// Settings that work against each other, or have no effect because of another one.
fn contradictions(config: &Config) -> Vec<String> {
    let (limits, hooks) = (&config.limits, &config.hooks);
    let mut found = Vec::new();
    if limits.connections > 0 && limits.per_address > limits.connections {
        found.push(format!(
            "limits.per_address has no effect: it is above limits.connections ({} and {})",
            limits.per_address, limits.connections
        ));
    }
    if config.socketio.max_payload > limits.body.max(limits.message) {
        found.push(format!(
            "socketio.max_payload ({}) is announced to clients, but limits.body and limits.message allow less ({} and {})",
            config.socketio.max_payload, limits.body, limits.message
        ));
    }
    let needed = 4 * limits.body.max(limits.message);
    if limits.unfinished < needed {
        found.push(format!(
            "limits.unfinished ({}) is below four times limits.body and limits.message: {needed} bytes are used instead",
            limits.unfinished
        ));
    }
    if limits.memory > 0 && limits.memory / 4 < limits.unfinished.max(needed) {
        found.push(format!(
            "limits.unfinished, limits.body or limits.message is too large for limits.memory ({}): incomplete input may take a \
             quarter of it",
            limits.memory
        ));
    }
    if limits.message_rate > 0 && limits.message_burst < limits.message_rate {
        found.push(format!(
            "limits.message_burst ({}) is below limits.message_rate ({}): a client that sends its messages of a second at once is \
             refused",
            limits.message_burst, limits.message_rate
        ));
    }
    if hooks.url.is_some() && !config.uses_hooks() {
        found.push("hooks.url has no effect: no namespace has auth = \"hook\" or a rule with send = \"hook\"".into());
    }
    found.extend(shared_paths(config));
    found.extend(history(config));
    found
}

/// Settings of `[history]` that have no effect.
fn history(config: &Config) -> Vec<String> {
    let (history, memory) = (&config.history, config.limits.memory);
    if !history.is_on() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let largest = history.all_bounds().filter(|bounds| bounds.keep_any()).map(|bounds| bounds.bytes).max();
    if let Some(bytes) = largest.filter(|bytes| *bytes > history.memory) {
        found.push(format!(
            "history.memory ({}), for all rooms together, is below history.bytes ({bytes}), for one room: a room can never keep \
             that much",
            history.memory
        ));
    }
    if memory > 0 && history.memory > memory / 2 {
        found.push(format!(
            "history.memory ({}) is more than half of limits.memory ({memory}): clients may be refused because of kept messages",
            history.memory
        ));
    }
    let sources = config.source_names();
    for (index, rule) in history.rooms.iter().enumerate() {
        let name = |rule: &HistoryRule| match &rule.source {
            Some(source) => format!("the rule for room {:?} of source {source:?}", rule.room.to_string()),
            None => format!("the rule for room {:?}", rule.room.to_string()),
        };
        if rule.source.as_ref().is_some_and(|source| !sources.contains(source.as_str())) {
            found.push(format!("history.rooms: {} has no effect: there is no such source", name(rule)));
        } else if let Some(before) = history.rooms[..index].iter().find(|before| before.covers(rule)) {
            found.push(format!("history.rooms: {} has no effect: {} is before it", name(rule), name(before)));
        }
        if found.len() >= LISTED {
            break;
        }
    }
    found
}

/// Paths that hide another endpoint. The first of the list wins.
fn shared_paths(config: &Config) -> Vec<String> {
    let normal = |path: &str| path.trim_end_matches('/').to_ascii_lowercase();
    let mut taken = vec![("/api/notify".to_owned(), "the path of notifications".to_owned())];
    let mut found = Vec::new();
    let websocket = [("websocket.path", &config.websocket.path)].into_iter();
    for (key, path) in websocket.chain(config.socketio.paths.iter().map(|path| ("socketio.path", path))) {
        let short = normal(path);
        if let Some((_, other)) = taken.iter().find(|(known, _)| *known == short) {
            found.push(format!("{key} has no effect: {path:?} is also {other}"));
        } else if short.starts_with("/api/")
            || ["/healthz", "/readyz", "/metrics", "/online", "/demo", "/sse"].contains(&&*short)
        {
            found.push(format!("{key} = {path:?} hides relay's own endpoint of that path"));
        }
        taken.push((short, key.to_owned()));
    }
    found
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
    let tokens = config.sources.iter().flat_map(|(name, known)| {
        known.token_secrets().map(move |secret| (format!("sources.{name}.jwt.secret"), secret))
    });
    others.chain(config.sources.iter().map(move |(name, known)| (source(name), known.sign_key.expose()))).chain(tokens)
}

/// The first names of a list, and the number of the others.
pub fn some_of(names: &[String]) -> String {
    let (first, more) = names.split_at(names.len().min(LISTED));
    let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
    format!("{}{more}", first.join(", "))
}

/// Keys of fewer bytes are warned about: 16 random hexadecimal digits have 64 bits.
const SHORT: usize = 16;
/// A secret for HS256 has at least as many bytes as its hash (RFC 7518 section 3.2).
const SHORTEST_HS256: usize = 32;
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
        assert!(text.starts_with("these sources share a key") && text.contains(": a, b, c;"), "{text}");
    }

    #[test]
    fn secrets_of_tokens() {
        let of = |secret: &str| {
            warnings_of(&format!("[sources.a]\nsign_key = \"0123456789abcdef\"\njwt = {{ secret = \"{secret}\" }}"))
        };
        assert_eq!(of("0123456789abcdef0123456789abcdeg"), "");
        assert!(of("0123456789abcde").starts_with("sources.a.jwt.secret has fewer than 16 bytes"));
        let text = of("0123456789abcdeg");
        assert!(
            text.starts_with("sources.a.jwt.secret has fewer than 32 bytes, as HS256 needs") && !text.contains('\n')
        );
        assert!(
            of("0123456789abcdef").ends_with("sources.a.jwt.secret is also a sign_key: use another secret for tokens")
        );
    }

    #[test]
    fn proxies_that_are_not_trusted() {
        let warns = |listen: &str, trusted: &str| {
            let source = "[sources.a]\nsign_key = \"0123456789abcdef\"\n";
            warnings_of(&format!("listen = [\"{listen}\"]\ntrusted_proxies = [{trusted}]\n{source}"))
        };
        assert!(warns("proxy+tcp://127.0.0.1:1", "").contains("to proxy+tcp://127.0.0.1:1 are ignored"));
        assert!(warns("proxy+tcp://127.0.0.1:1", "\"unix\"").contains("add the address of the proxy"));
        assert!(warns("proxy+unix:/r", "\"10.0.0.1\"").contains("add \"unix\" to trusted_proxies"));
        assert_eq!(
            warns("proxy+unix:/r", "\"unix\"") + &warns("proxy+tcp://[::1]:1", "\"::1\"") + &warns("[::1]:1", ""),
            ""
        );
    }

    #[test]
    fn mistakes() {
        assert!(warnings_of("").starts_with("no [sources.NAME] is configured"));
        assert_eq!(warnings_of("[namespaces.\"/a\"]\nauth = \"open\"\n"), "");
        assert!(warnings_of("[limits]\nunsent = 4096").contains("raise limits.unsent"));
        let source = "[sources.a]\nsign_key = \"0123456789abcdef\"\n";
        for (text, why) in [
            ("[limits]\nconnections = 100\nper_address = 101", "limits.per_address has no effect"),
            ("[socketio]\nmax_payload = 2000000", "limits.body and limits.message allow less (1000000 and 1000000)"),
            ("[limits]\nunfinished = 1048576", "4000000 bytes are used instead"),
            ("[limits]\nmemory = 16777216", "is too large for limits.memory (16777216)"),
            ("[limits]\nmessage_burst = 10", "limits.message_burst (10) is below limits.message_rate (200)"),
            ("[hooks]\nurl = \"http://a\"", "hooks.url has no effect"),
            (
                "[websocket]\npath = \"/Socket.io\"",
                "socketio.path has no effect: \"/socket.io/\" is also websocket.path",
            ),
            ("[websocket]\npath = \"/api/notify/\"", "websocket.path has no effect"),
            ("[socketio]\npath = [\"/a\", \"/metrics\"]", "hides relay's own endpoint"),
            ("[history]\ncount = 1\nmemory = 100000", "history.memory (100000), for all rooms together, is below"),
            ("[history]\nlast = true\nmemory = 100000", "is below history.bytes (262144), for one room"),
            (
                "[history]\ncount = 1\nmemory = 100000000\n[limits]\nmemory = 150000000",
                "more than half of limits.memory",
            ),
            (
                "[history]\nrooms = [{ source = \"b\", last = true }]",
                "history.rooms: the rule for room \"*\" of source \"b\" has no effect: there is no such source",
            ),
            (
                "[history]\nrooms = [{ count = 1 }, { source = \"a\", room = \"x\", count = 2 }]",
                "the rule for room \"x\" of source \"a\" has no effect: the rule for room \"*\" is before it",
            ),
        ] {
            let said = warnings_of(&format!("{source}{text}"));
            assert!(said.contains(why) && said.lines().count() == 1, "{text}: {said}");
        }
        for fine in [
            "[history]\nmemory = 100000",
            "[history]\ncount = 1\nrooms = [{ room = \"a*\", count = 0 }, { room = \"a\", last = true }]",
        ] {
            assert_eq!(warnings_of(&format!("{source}{fine}")), "");
        }
        assert!(warnings_of("origins = [\"null\"]").contains("every sandboxed frame"));
        assert!(!warnings_of("origins = [\"null\", \"*\"]").contains("every sandboxed frame"));
        for origin in ["ws://a", "wss://*.a"] {
            assert!(
                warnings_of(&format!("origins = [\"{origin}\"]"))
                    .contains(&format!("origins lists {origin:?}: the origin of a page")),
                "{origin}"
            );
        }
        assert!(!warnings_of("origins = [\"https://ws.a\"]").contains("the origin of a page"));
    }
}
