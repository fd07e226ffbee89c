//! The files that are built into the binary: client scripts, demo pages and the operators' console (docs/protocol.md,
//! Scripts and demo pages).

use std::borrow::Cow;

use crate::{http::Reply, sign::to_hex};

/// A static file.
pub struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    /// A hash of the body, for the entity tag.
    tag: u64,
}

impl Asset {
    const fn new(path: &'static str, content_type: &'static str, body: &'static [u8]) -> Asset {
        Asset { path, content_type, body: Cow::Borrowed(body), tag: hash(body) }
    }

    /// A script of the configuration: `socketio.client_js`. `None` if it is empty.
    pub fn script(text: &str) -> Option<Asset> {
        let (body, tag) = (text.as_bytes().to_vec().into(), hash(text.as_bytes()));
        (!text.is_empty()).then_some(Asset { path: "", content_type: JAVASCRIPT, body, tag })
    }

    /// The file, or 304 if `If-None-Match` lists its entity tag. Browsers must revalidate each time (RFC 9111 section
    /// 5.2.2.4), because a script must match the version of relay that it talks to.
    pub fn reply(&self, if_none_match: &str) -> Reply {
        let etag = format!("\"{}\"", to_hex(&self.tag.to_be_bytes()));
        let listed = |tag: &str| tag == "*" || tag.trim_start_matches("W/") == etag;
        let reply = match if_none_match.split(',').map(str::trim).any(listed) {
            true => Reply::new(304, "", &b""[..]),
            false => Reply::new(200, self.content_type, self.body.clone()),
        };
        let reply =
            reply.with("ETag", etag).with("Cache-Control", "no-cache").with("X-Content-Type-Options", "nosniff");
        match self.content_type {
            _ if self.is_console() => {
                let reply =
                    reply.with("Referrer-Policy", "no-referrer").with("Cross-Origin-Resource-Policy", "same-origin");
                match self.content_type {
                    HTML => reply
                        .with("Content-Security-Policy", CONSOLE_POLICY)
                        .with("Cross-Origin-Opener-Policy", "same-origin"),
                    _ => reply,
                }
            }
            HTML => reply,
            // Pages of any origin load scripts, including pages that check integrity hashes or are cross-origin isolated
            // (Fetch standard).
            _ => reply.with("Access-Control-Allow-Origin", "*").with("Cross-Origin-Resource-Policy", "cross-origin"),
        }
    }

    /// Whether it is a part of the operators' console, which no page of another origin needs.
    fn is_console(&self) -> bool {
        self.path.starts_with("/console")
    }
}

/// The file at this path, in any case.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path.eq_ignore_ascii_case(path))
}

/// FNV-1a, at compile time: hashing at start would load all files into memory.
const fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0100_0000_01b3);
        index += 1;
    }
    hash
}

macro_rules! assets {
    ($($path:literal $content_type:ident $file:literal)*) => {
        /// All built-in files. Paths have no trailing slash.
        static ASSETS: &[Asset] = &[
            $({
                const BODY: &[u8] = include_bytes!(concat!("../www/", $file));
                const ASSET: Asset = Asset::new($path, $content_type, BODY);
                ASSET
            },)*
        ];
    };
}

assets! {
    "/console" HTML "console/index.html"
    "/console/console.css" CSS "console/console.css"
    "/console/actions.js" JAVASCRIPT "console/actions.js"
    "/console/api.js" JAVASCRIPT "console/api.js"
    "/console/console.js" JAVASCRIPT "console/console.js"
    "/console/graphs.js" JAVASCRIPT "console/graphs.js"
    "/console/live.js" JAVASCRIPT "console/live.js"
    "/console/overview.js" JAVASCRIPT "console/overview.js"
    "/console/parts.js" JAVASCRIPT "console/parts.js"
    "/console/session.js" JAVASCRIPT "console/session.js"
    "/console/streams.js" JAVASCRIPT "console/streams.js"
    "/console/tables.js" JAVASCRIPT "console/tables.js"
    "/console/text.js" JAVASCRIPT "console/text.js"
    "/console/why.js" JAVASCRIPT "console/why.js"
    "/demo" HTML "demo/index.html"
    "/demo/chat.html" HTML "demo/chat.html"
    "/demo/two.html" HTML "demo/two.html"
    "/demo/history.html" HTML "demo/history.html"
    "/demo/prices.html" HTML "demo/prices.html"
    "/demo/six.html" HTML "demo/six.html"
    "/demo/message.html" HTML "demo/message.html"
    "/demo/monitor.html" HTML "demo/monitor.html"
    "/demo/remote_debug.html" HTML "demo/remote_debug.html"
    "/demo/remote_debug_show.html" HTML "demo/remote_debug_show.html"
    "/demo/demo.css" CSS "demo/demo.css"
    "/demo/demo.js" JAVASCRIPT "demo/demo.js"
    "/js/md5.js" JAVASCRIPT "js/md5.js"
    "/js/node_im.js" JAVASCRIPT "js/node_im.js"
    "/js/node_im.min.js" JAVASCRIPT "js/node_im.min.js"
    "/js/node_im.d.ts" TYPESCRIPT "js/node_im.d.ts"
    "/js/remote_debug.js" JAVASCRIPT "js/remote_debug.js"
    "/js/node_im_remote_debug.js" JAVASCRIPT "js/node_im_remote_debug.js"
}

/// What the console may load and do: its own files, and requests to relay. Texts of clients cannot become markup or scripts.
const CONSOLE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                              base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                              require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const TYPESCRIPT: &str = "text/plain; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"foobar"), 0x8594_4171_f739_67e8);
        let asset = find("/JS/md5.js").unwrap();
        let etag = format!("\"{:016x}\"", asset.tag);
        for known in [etag.clone(), format!("W/{etag}"), format!("\"x\" , {etag}"), "*".into()] {
            assert_eq!(asset.reply(&known).status, 304, "{known}");
        }
        for other in ["", "\"x\"", &etag[1..]] {
            assert_eq!(asset.reply(other).status, 200, "{other}");
        }
    }

    #[test]
    fn console() {
        let header = |path: &str, name: &str| {
            let reply = find(path).unwrap().reply("");
            reply.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        assert!(
            header("/console", "Content-Security-Policy").unwrap().starts_with("default-src 'none'; script-src 'self'")
        );
        for path in ["/console", "/console/console.js", "/console/console.css"] {
            assert_eq!(header(path, "Access-Control-Allow-Origin"), None, "{path}");
            assert_eq!(header(path, "Referrer-Policy").as_deref(), Some("no-referrer"), "{path}");
        }
    }
}
