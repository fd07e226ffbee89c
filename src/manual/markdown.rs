//! Markdown as docs/configuration.md uses it, on its way into a man page: headings, paragraphs, lists with dashes, tables,
//! fenced code, and in a line code, bold text and links. Other syntax becomes text, which the tests find.

use super::roff::{Page, Text};

/// Appends a text. Headings of level 2 become sections, those of level 3 parts.
pub fn append(page: &mut Page, text: &str) {
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        if let Some(title) = line.strip_prefix("## ") {
            page.section(title);
        } else if let Some(title) = line.strip_prefix("### ") {
            page.part(title);
        } else if line.starts_with("```") {
            page.code(lines.by_ref().take_while(|line| *line != "```"));
        } else if let Some(first) = line.strip_prefix("- ") {
            let mut element = first.to_owned();
            while let Some(more) = lines.next_if(|next| next.starts_with("  ")) {
                element += " ";
                element += more.trim_start();
            }
            page.bullet(&inline(&element));
        } else if line.starts_with('|') {
            let heads = cells(line);
            // The line of dashes.
            lines.next();
            while let Some(row) = lines.next_if(|next| next.starts_with('|')) {
                table_row(page, &heads, &cells(row));
            }
        } else {
            let mut paragraph = line.to_owned();
            let begins_block = |next: &str| next.is_empty() || next.starts_with(['|', '#']) || next.starts_with("```");
            while let Some(more) = lines.next_if(|next| !begins_block(next) && !next.starts_with("- ")) {
                paragraph += " ";
                paragraph += more;
            }
            page.paragraph(&inline(&paragraph));
        }
    }
}

/// A row as an item: the first cell is its name and the last one its text. The cells between follow with their heads, because
/// a table of seven columns is not readable on a terminal.
fn table_row(page: &mut Page, heads: &[&str], row: &[&str]) {
    let [first, middle @ .., last] = row else { return };
    page.item(&inline(first), &inline(last));
    let named = heads.iter().skip(1).zip(middle).filter(|(_, cell)| !cell.is_empty());
    let facts: Vec<String> = named.map(|(head, cell)| format!("{head}: {cell}")).collect();
    if !facts.is_empty() {
        page.item_paragraph(&inline(&facts.join("; ")));
    }
}

fn cells(line: &str) -> Vec<&str> {
    let inside = line.strip_prefix('|').unwrap_or(line);
    inside.strip_suffix('|').unwrap_or(inside).split('|').map(str::trim).collect()
}

/// Formats a line: code and bold text become bold. A link becomes its text, followed by the name of the page.
fn inline(text: &str) -> Text {
    let mut line = Text::default();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        line.push(&Text::plain(&rest[..at]));
        let marked = &rest[at..];
        let (length, inside) = if let Some((inside, _)) = enclosed(marked, "`", "`") {
            (inside.len() + 2, Text::bold(inside))
        } else if let Some((inside, _)) = enclosed(marked, "**", "**") {
            (inside.len() + 4, Text::bold(inside))
        } else if let Some((inside, after)) = enclosed(marked, "[", "](")
            && let Some((target, _)) = enclosed(after, "](", ")")
        {
            let mut link = inline(inside);
            if let Some((page, _)) = target.split_once(".md") {
                link.push(&Text::plain(&format!(" of {page}.md")));
            }
            (inside.len() + target.len() + 4, link)
        } else {
            (1, Text::plain(&marked[..1]))
        };
        line.push(&inside);
        rest = &marked[length..];
    }
    line.push(&Text::plain(rest));
    line
}

/// Splits a text that begins with `open` at the next `close`: returns the inside, and the rest from `close` on.
fn enclosed<'t>(text: &'t str, open: &str, close: &str) -> Option<(&'t str, &'t str)> {
    let inside = text.strip_prefix(open)?;
    let end = inside.find(close)?;
    Some(inside.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roff(text: &str) -> String {
        let mut page = Page::new("x", 5, "2026-01-02", "x 1", "x");
        append(&mut page, text);
        page.finish().split_once(".ad l\n").unwrap().1.to_owned()
    }

    #[test]
    fn blocks() {
        assert_eq!(
            roff(
                "One\nparagraph.\n\n## [a.B]\n\nText\n- an\n  element\n- two\n\n### Part\n```toml\n# a = 1\n\n.b\n```\nend"
            ),
            ".PP\nOne paragraph.\n.SH \"[a.B]\"\nText\n.IP \\(bu 2\nan element\n.IP \\(bu 2\ntwo\n.SS \"Part\"\n.RS 4\n.nf\n# a = 1\n\
             \\&\n\\&.b\n.fi\n.RE\n.PP\nend\n"
        );
        assert_eq!(
            roff("| key | unit | range | effect |\n|---|---|---|---|\n| `a` | s | | One |\n| `b` | | | Two |\n\nend"),
            ".TP\n\\fBa\\fR\nOne\n.IP\nunit: s\n.TP\n\\fBb\\fR\nTwo\n.PP\nend\n"
        );
    }

    #[test]
    fn lines() {
        for (text, wanted) in [
            ("`*` and **b**", "\\fB*\\fR and \\fBb\\fR"),
            ("[`a` b](#c) d", "\\fBa\\fR b d"),
            ("([section 2](protocol.md#2-x))", "(section 2 of protocol.md)"),
            ("a [b] * c ` d [e](f", "a [b] * c \\(ga d [e](f"),
            ("`[a](b)`", "\\fB[a](b)\\fR"),
        ] {
            assert_eq!(roff(text), format!(".PP\n{wanted}\n"), "{text}");
        }
    }
}
