//! relay.toml(5): docs/configuration.md as a man page. That page is held to the code (every key, default, range and unit:
//! tests/pages/reference.rs), so that the man page is, too, and nothing is written twice. It is converted when it is printed: a
//! package needs no converter, and `relay man relay.toml` shows the keys of this very program.

use super::{
    markdown,
    roff::{Page, Text},
};

/// The man page. `date` is `YYYY-MM-DD`.
pub fn render(version: &str, date: &str) -> String {
    let mut page = Page::new("relay.toml", 5, date, &format!("relay {version}"), "File Formats Manual");
    page.section("NAME");
    page.paragraph(&Text::plain("relay.toml - configuration of relay"));
    page.section("DESCRIPTION");
    markdown::append(&mut page, body());
    page.section("SEE ALSO");
    let mut others = Text::bold("relay");
    others.push(&Text::plain(
        "(8). Pages that this one mentions, such as protocol.md, are in /usr/share/doc/relay/docs, or in docs/ of the source.",
    ));
    page.paragraph(&others);
    page.finish()
}

/// The page without its title and its first paragraph, which says what a reader of the documentation learns from it.
fn body() -> &'static str {
    let mut parts = REFERENCE.splitn(3, "\n\n");
    parts.nth(2).unwrap_or_default()
}

const REFERENCE: &str = include_str!("../../docs/configuration.md");

#[cfg(test)]
mod tests {
    use super::*;

    /// No Markdown is left, and nothing got lost.
    #[test]
    fn the_reference_is_converted() {
        let page = render("1", "2026-01-02");
        for markup in ["\\(ga", "**", "](", "|\\-", "\n|"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert!(page.contains("\nThe file is TOML.") && !page.contains("After reading"));
        let rows = body().lines().filter(|line| line.starts_with("| `")).count();
        assert!(rows > 60 && page.matches("\n.TP\n").count() == rows, "{rows}");
    }
}
