//! Man pages in the format of man(7), as groff and mandoc read it. Nothing of a text can become a request: backslashes, dots
//! and quotes at the beginning of a line, and quotes in arguments are escaped. (The `roff` crate leaves quotes in arguments and
//! non-ASCII text to its caller, and would save 40 lines.)

use core::fmt::Write;

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Whether a heading is the last line. A paragraph begins there by itself.
    is_headed: bool,
}

impl Page {
    /// A page with its title line. `date` is `YYYY-MM-DD`, `version` the program with its version.
    pub fn new(name: &str, section: u8, date: &str, version: &str, manual: &str) -> Page {
        let mut page = Page { text: String::new(), is_headed: false };
        // The date is no text: mandoc parses it.
        let date: String = date.chars().filter(|c| c.is_ascii_digit() || *c == '-').collect();
        let (name, version, manual) = (Text::plain(&name.to_uppercase()), Text::plain(version), Text::plain(manual));
        let _ = writeln!(page.text, ".TH \"{}\" {section} {date} \"{}\" \"{}\"", name.0, version.0, manual.0);
        // A dash in an option is a minus, which can be searched for and copied. No hyphens, no wide gaps.
        page.text += ".nh\n.ad l\n";
        page
    }

    /// A section.
    pub fn section(&mut self, title: &str) {
        self.heading("SH", title);
    }

    /// A part of a section.
    pub fn part(&mut self, title: &str) {
        self.heading("SS", title);
    }

    /// A paragraph of marked text.
    pub fn paragraph(&mut self, text: &Text) {
        self.begin();
        self.fill(text);
    }

    /// Lines of marked text, one below the other.
    pub fn lines(&mut self, lines: impl IntoIterator<Item = Text>) {
        self.begin();
        for (number, line) in lines.into_iter().enumerate() {
            if number > 0 {
                self.text += ".br\n";
            }
            self.fill(&line);
        }
    }

    /// A name with a text beside or below it, indented.
    pub fn item(&mut self, name: &Text, text: &Text) {
        self.is_headed = false;
        self.text += ".TP\n";
        self.put(&name.0);
        self.fill(text);
    }

    /// One more paragraph of the item.
    pub fn item_paragraph(&mut self, text: &Text) {
        self.is_headed = false;
        self.text += ".IP\n";
        self.fill(text);
    }

    /// An element of a list.
    pub fn bullet(&mut self, text: &Text) {
        self.is_headed = false;
        self.text += ".IP \\(bu 2\n";
        self.fill(text);
    }

    /// Lines that keep their breaks, indented.
    pub fn code<'l>(&mut self, lines: impl IntoIterator<Item = &'l str>) {
        self.begin();
        self.text += ".RS 4\n.nf\n";
        for line in lines {
            // An empty line would be a request for white space in any amount.
            let line = if line.is_empty() { "\\&".to_owned() } else { Text::plain(line).0 };
            self.put(&line);
        }
        self.text += ".fi\n.RE\n";
    }

    /// The page.
    pub fn finish(self) -> String {
        self.text
    }

    /// Text that the reader's program breaks into lines. Here they are short, as mandoc asks.
    fn fill(&mut self, text: &Text) {
        let mut line = String::new();
        for word in text.0.split(' ').filter(|word| !word.is_empty()) {
            if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
                self.put(&core::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        self.put(&line);
    }

    /// A line of text, which cannot be a request.
    fn put(&mut self, line: &str) {
        if line.starts_with(['.', '\'']) {
            self.text += "\\&";
        }
        self.text += line;
        self.text.push('\n');
    }

    fn heading(&mut self, request: &str, title: &str) {
        let _ = writeln!(self.text, ".{request} \"{}\"", Text::plain(title).0);
        self.is_headed = true;
    }

    /// Begins a paragraph.
    fn begin(&mut self) {
        if !self.is_headed {
            self.text += ".PP\n";
        }
        self.is_headed = false;
    }
}

/// Bytes of a line of filled text, without what keeps it from being a request.
const WIDTH: usize = 76;

/// One line of text with fonts, escaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Text in the usual font.
    pub fn plain(text: &str) -> Text {
        let mut escaped = String::new();
        for c in text.chars() {
            match c {
                '\\' => escaped += "\\(rs",
                '-' => escaped += "\\-",
                '"' => escaped += "\\(dq",
                '\'' => escaped += "\\(aq",
                '`' => escaped += "\\(ga",
                '^' => escaped += "\\(ha",
                '~' => escaped += "\\(ti",
                // A control character is no text; a line break would begin a new line.
                c if c.is_control() => escaped.push(' '),
                c if c.is_ascii() => escaped.push(c),
                c => drop(write!(escaped, "\\[u{:04X}]", c as u32)),
            }
        }
        Text(escaped)
    }

    /// Bold text.
    pub fn bold(text: &str) -> Text {
        Text(format!("\\fB{}\\fR", Text::plain(text).0))
    }

    /// Italic text, for what the reader replaces.
    pub fn italic(text: &str) -> Text {
        Text(format!("\\fI{}\\fR", Text::plain(text).0))
    }

    /// Appends a text.
    pub fn push(&mut self, other: &Text) {
        self.0 += &other.0;
    }

    /// Whether it has no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_request() {
        let mut page = Page::new("a", 1, "2026-01-02", "a 1", "x \"y\"");
        page.section("S-\"T\"");
        page.paragraph(&Text::plain(".TH \\n[x] 'q'\n.sp"));
        page.item(&Text::bold("'--a"), &Text::plain("\u{2026}"));
        page.code([".so /etc/passwd", "", "a  b"]);
        assert_eq!(
            page.finish(),
            ".TH \"A\" 1 2026-01-02 \"a 1\" \"x \\(dqy\\(dq\"\n.nh\n.ad l\n.SH \"S\\-\\(dqT\\(dq\"\n\\&.TH \\(rsn[x] \
             \\(aqq\\(aq .sp\n.TP\n\\fB\\(aq\\-\\-a\\fR\n\\[u2026]\n.PP\n.RS 4\n.nf\n\\&.so /etc/passwd\n\\&\na  b\n.fi\n.RE\n"
        );
    }
}
