//! Cross-origin requests of pages (Fetch standard, CORS protocol; docs/protocol.md, Origins and CORS).

use super::access::origin_allowed;
use crate::{
    config::Config,
    http::{Head, Reply},
    names::is_token,
};

/// Lets pages of the configured origins read the answer to a POST without credentials.
pub fn without_credentials(reply: Reply, head: &Head<'_>, config: &Config) -> Reply {
    let (reply, allowed) = readable(reply, head.origin, config);
    match head.method {
        "OPTIONS" => preflight(reply, head, "POST", allowed),
        _ => reply,
    }
}

/// Lets a page of `origin`, which may be empty, read an answer if its origin is configured. Returns whether it is.
pub fn readable(reply: Reply, origin: &str, config: &Config) -> (Reply, bool) {
    let any = config.origins.allow_all();
    let allowed = any || (!origin.is_empty() && origin_allowed(origin, config));
    let reply = match (any, allowed) {
        (true, _) => reply.with(ALLOW_ORIGIN, "*"),
        (false, true) => reply.with(ALLOW_ORIGIN, origin.to_owned()).vary("Origin"),
        (false, false) => reply.vary("Origin"),
    };
    (reply, allowed)
}

/// Lets a page of `origin`, which may be empty, read the answer to a request with credentials: clients of Socket.IO
/// before 3.0 always send credentials.
pub fn with_credentials(reply: Reply, origin: &str) -> Reply {
    if origin.is_empty() {
        return reply;
    }
    reply.with(ALLOW_ORIGIN, origin.to_owned()).with(ALLOW_CREDENTIALS, "true").vary("Origin")
}

/// Lets pages read the answer to a request that was not parsed to its end. `origin` is its `Origin`, if that is known. It is
/// not known which endpoint was meant, so credentials are allowed if they can be.
pub fn refusal(reply: Reply, origin: Option<&str>, config: &Config) -> Reply {
    let reply = match origin {
        Some(origin) if origin_allowed(origin, config) => with_credentials(reply, origin),
        None if config.origins.allow_all() => reply.with(ALLOW_ORIGIN, "*"),
        _ => return reply,
    };
    match reply.headers.iter().any(|(name, _)| *name == "Retry-After") {
        true => reply.with("Access-Control-Expose-Headers", "Retry-After"),
        false => reply,
    }
}

/// Adds to the answer to OPTIONS what a page may send: the methods, the usual headers, and those that it asks for. The
/// browser ignores them without `Access-Control-Allow-Origin`.
pub fn preflight(reply: Reply, head: &Head<'_>, methods: &'static str, allowed: bool) -> Reply {
    let mut headers = String::from(USUAL_HEADERS);
    for name in head.request_headers.split(',').map(str::trim_ascii).filter(|name| is_header_name(name)) {
        if headers.len() + name.len() > MAX_ALLOWED_HEADERS {
            break;
        }
        if !USUAL_HEADERS.split(", ").any(|usual| usual.eq_ignore_ascii_case(name)) {
            headers.push_str(", ");
            headers.push_str(name);
        }
    }
    let reply = reply
        .with("Access-Control-Allow-Methods", methods)
        .with("Access-Control-Allow-Headers", headers)
        .with("Access-Control-Max-Age", "86400")
        .vary("Access-Control-Request-Headers");
    // Chromium 104 to 141 asks before a public page may call a private address; later versions ask the user instead.
    match head.request_private_network && allowed {
        true => reply.with("Access-Control-Allow-Private-Network", "true"),
        false => reply,
    }
}

/// Whether a text can be the name of a header (RFC 9110 section 5.1). `*` can, but in an answer it means all headers.
fn is_header_name(name: &str) -> bool {
    is_token(name) && name != "*"
}

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";
const ALLOW_CREDENTIALS: &str = "Access-Control-Allow-Credentials";
/// The headers that are always allowed.
const USUAL_HEADERS: &str = "Content-Type, Authorization";
/// Bytes of all names in `Access-Control-Allow-Headers`.
const MAX_ALLOWED_HEADERS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origins;

    fn allowed(requested: &str) -> String {
        let head = Head { request_headers: requested, ..Head::default() };
        let reply = preflight(Reply::new(204, "", &b""[..]), &head, "POST", true);
        let found = reply.headers.into_iter().find(|(name, _)| *name == "Access-Control-Allow-Headers");
        found.unwrap().1.into_owned()
    }

    #[test]
    fn only_names_of_headers_are_echoed() {
        for (requested, echoed) in [
            ("", ""),
            ("content-type,AUTHORIZATION", ""),
            ("content-type, x-clientid ,x_y", ", x-clientid, x_y"),
            ("a b,c:d,e\u{e4},\u{7f},\"f\",(g),,*,h", ", h"),
            ("x\r\nSet-Cookie: a", ""),
            ("!#$%&'*+-.^_`|~9", ", !#$%&'*+-.^_`|~9"),
        ] {
            assert_eq!(allowed(requested), format!("Content-Type, Authorization{echoed}"), "{requested:?}");
        }
        let many = allowed(&"x-header,".repeat(10_000));
        assert!(many.len() <= MAX_ALLOWED_HEADERS + 10 && many.len() > MAX_ALLOWED_HEADERS - 20, "{}", many.len());
        assert_eq!(allowed(&"x".repeat(5000)), "Content-Type, Authorization");
    }

    #[test]
    fn an_answer_to_a_request_that_was_not_parsed() {
        let headers = |origin: Option<&str>, origins: &[&str]| {
            let mut config = Config { origins: Origins::default(), ..Config::default() };
            origins.iter().for_each(|origin| config.origins.add(origin).unwrap());
            let reply = refusal(Reply::refusal(503, "").with("Retry-After", "1"), origin, &config);
            reply.headers.iter().skip(1).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        let exact = "Access-Control-Allow-Origin=https://a Access-Control-Allow-Credentials=true Vary=Origin \
                     Access-Control-Expose-Headers=Retry-After";
        assert_eq!(headers(Some("https://a"), &["*"]), exact);
        assert_eq!(headers(Some("https://a"), &["https://a"]), exact);
        assert_eq!(headers(Some("https://b"), &["https://a"]), "");
        assert_eq!(headers(None, &["https://a"]), "");
        let any = "Access-Control-Allow-Origin=* Access-Control-Expose-Headers=Retry-After";
        assert_eq!(headers(None, &["*"]), any);
    }
}
