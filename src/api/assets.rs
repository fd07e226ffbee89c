//! Pages in the binary: the front page and the demo.

use std::borrow::Cow;

use crate::{http::Reply, sign::to_hex};

/// Every page, with its entity tag.
pub struct Assets {
    pages: Vec<Asset>,
}

/// A page.
pub struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    etag: String,
}

impl Assets {
    /// Computes the entity tags: 20 µs once.
    pub fn new() -> Assets {
        let page = |(path, body): (&'static str, &'static str)| Asset::new(path, HTML, body.as_bytes().into());
        Assets { pages: PAGES.into_iter().map(page).collect() }
    }

    /// The page at that path.
    pub fn find(&self, path: &str) -> Option<&Asset> {
        self.pages.iter().find(|page| page.path.eq_ignore_ascii_case(path))
    }

    /// The front page: what this is, and where to go.
    pub fn index(&self) -> Reply {
        self.pages[0].reply("")
    }
}

impl Default for Assets {
    fn default() -> Self {
        Assets::new()
    }
}

impl Asset {
    fn new(path: &'static str, content_type: &'static str, body: Cow<'static, [u8]>) -> Asset {
        let etag = format!("\"{}\"", to_hex(&<md5::Md5 as md5::Digest>::digest(&body)));
        Asset { path, content_type, body, etag }
    }

    /// A script that the configuration names.
    pub fn script(body: Vec<u8>) -> Asset {
        Asset::new("", "text/javascript; charset=utf-8", body.into())
    }

    /// The page, or that the browser has it already.
    pub fn reply(&self, if_none_match: &str) -> Reply {
        let known = if_none_match.split(',').any(|tag| tag.trim().trim_start_matches("W/") == self.etag);
        let reply = match known {
            true => Reply::new(304, "", &b""[..]),
            false => Reply::new(200, self.content_type, self.body.clone()),
        };
        reply
            .with("ETag", self.etag.clone())
            .with("Cache-Control", "no-cache")
            .with("X-Content-Type-Options", "nosniff")
    }
}

const HTML: &str = "text/html; charset=utf-8";
const PAGES: [(&str, &str); 2] =
    [("/", include_str!("../www/index.html")), ("/demo", include_str!("../www/chat.html"))];
