//! The HTML pages that node-socket-im had (docs/protocol.md, Old pages).

use std::borrow::Cow;

use crate::http::Reply;

/// A page with this body, which must be HTML: programs get just that, as node-socket-im sent it, and browsers get it in a
/// document with this title. Scripts, frames and caching are forbidden.
pub fn page(title: &'static str, body: String) -> Reply {
    let reply = Reply { title, ..Reply::new(200, "text/html; charset=utf-8", body.into_bytes()) };
    guarded(reply, "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
}

/// Forbids caching, other types and referrers for a page, and all that `policy` (Content-Security-Policy) does not allow.
pub fn guarded(reply: Reply, policy: impl Into<Cow<'static, str>>) -> Reply {
    reply
        .with("Cache-Control", "no-store")
        .with("Content-Security-Policy", policy)
        .with("Referrer-Policy", "no-referrer")
        .with("X-Content-Type-Options", "nosniff")
}

/// Escapes text for the content of an element. Not for attributes: quotes are kept, so that scripts that scrape the
/// pages can parse the JSON records in them.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>']) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            _ => escaped.push(c),
        }
    }
    escaped.into()
}

/// Escapes text for attributes and for the content of an element.
pub fn attribute(text: &str) -> String {
    escape(text).replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped() {
        assert_eq!(escape("a<b>&\"c'ü"), "a&lt;b&gt;&amp;\"c'ü");
        assert_eq!(attribute("/a\"<b>&"), "/a&quot;&lt;b&gt;&amp;");
        assert!(matches!(escape("plain 中"), Cow::Borrowed(_)));
    }
}
