//! Layouts: the fields of a signature in the order in which a program may have joined them. The first layout is that of the
//! scheme, the others have one mistake.

use super::{scheme::Scheme, subject::Subject, variants::Variant};

/// Fields and how they are joined.
#[derive(Clone, Debug, Default)]
pub struct Layout<'a> {
    /// The mistake; empty if there is none.
    pub how: String,
    /// Whether this is the layout of the scheme that the signature does not name.
    pub other_scheme: bool,
    /// The fields with their names.
    pub lines: Vec<(&'static str, &'a [u8])>,
    separator: &'static str,
    end: &'static str,
}

impl Layout<'_> {
    /// The text to hash.
    pub fn input(&self) -> Vec<u8> {
        self.input_with(|_| None)
    }

    /// The text to hash, with other forms of some fields.
    pub fn input_with<'v>(&self, form: impl Fn(usize) -> Option<&'v Variant>) -> Vec<u8> {
        let mut input = Vec::new();
        for (index, (_, value)) in self.lines.iter().enumerate() {
            if index > 0 {
                input.extend_from_slice(self.separator.as_bytes());
            }
            input.extend_from_slice(form(index).map_or(*value, |form| &form.bytes));
        }
        input.extend_from_slice(self.end.as_bytes());
        input
    }

    /// The first `max` bytes of the text to hash, and its length.
    pub fn beginning(&self, max: usize) -> (Vec<u8>, usize) {
        let mut cut = self.clone();
        cut.lines.iter_mut().for_each(|(_, value)| *value = &value[..value.len().min(max)]);
        let mut input = cut.input();
        let length = input.len() + self.lines.iter().map(|(_, value)| value.len().saturating_sub(max)).sum::<usize>();
        input.truncate(max);
        (input, length)
    }

    fn names(&self) -> String {
        self.lines.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// All layouts; the first one is the right one.
pub fn layouts<'a>(subject: &Subject<'a>, scheme: Scheme, ts: &'a str) -> Vec<Layout<'a>> {
    let right = layout(subject, scheme, ts);
    let other = scheme.other();
    let mut all = vec![right.clone()];
    let how = format!("you joined the fields as {} does", other.name());
    all.push(Layout { how, other_scheme: true, ..layout(subject, other, ts) });
    for (what, subject) in related(subject) {
        for of in [scheme, other] {
            let how = format!("you signed {what}");
            all.push(Layout { how, other_scheme: of != scheme, ..layout(&subject, of, ts) });
        }
    }
    if let (Scheme::Md5, Subject::Connect { userid, .. }) = (scheme, subject) {
        for at in [1, 2] {
            let mut lines = right.lines.clone();
            lines.insert(at, ("userid", userid.as_bytes()));
            all.push(Layout { how: "you signed the userid, which md5 does not cover".into(), lines, ..right.clone() });
        }
    }
    for (separator, name) in SEPARATORS {
        if separator != right.separator {
            let how = format!("you joined the fields with {name}");
            all.push(Layout { how: how.clone(), separator, ..right.clone() });
            all.push(Layout { how: how + ", also at the end", separator, end: separator, ..right.clone() });
        }
    }
    for (end, name) in [("\n", "a line feed"), ("\r\n", "CR LF"), (" ", "a space")] {
        all.push(Layout { how: format!("you signed {name} at the end of the text"), end, ..right.clone() });
    }
    for index in 0..right.lines.len() {
        let mut without = right.clone();
        let (name, _) = without.lines.remove(index);
        all.push(Layout { how: format!("you did not sign the {name}"), ..without });
    }
    for lines in orders(&right.lines) {
        let wrong = Layout { lines, ..right.clone() };
        let how = format!("you signed the fields in the order {}; the order is {}", wrong.names(), right.names());
        all.push(Layout { how, ..wrong });
    }
    all
}

/// What may have been signed in place of `subject`.
fn related<'a>(subject: &Subject<'a>) -> Vec<(&'static str, Subject<'a>)> {
    let login = |source, room_ids| ("a login instead", Subject::Connect { source, userid: "", room_ids });
    let notify = |source, room_id, data| ("a notification instead", Subject::Notify { source, room_id, data });
    match *subject {
        Subject::Connect { source, room_ids, .. } => vec![
            ("the login without its userid", Subject::Connect { source, userid: "", room_ids }),
            notify(source, room_ids, b""),
        ],
        Subject::Notify { source, room_id, data } => vec![
            login(source, room_id),
            (
                "an event instead",
                Subject::Emit { source, nsp: "/", kind: "room_id", to: room_id, event: "newMsg", data },
            ),
        ],
        Subject::Emit { source, nsp, kind, to, event, data } => vec![
            notify(source, to, data),
            login(source, to),
            ("the event with an empty nsp", Subject::Emit { source, nsp: "", kind, to, event, data }),
            ("the event for the namespace /", Subject::Emit { source, nsp: "/", kind, to, event, data }),
            ("the event for a whole namespace", Subject::Emit { source, nsp, kind: "nsp", to: "", event, data }),
        ],
    }
}

/// The layout of a scheme (docs/protocol.md, Signatures).
fn layout<'a>(subject: &Subject<'a>, scheme: Scheme, ts: &'a str) -> Layout<'a> {
    fn line<'a>(name: &'static str, value: &'a str) -> (&'static str, &'a [u8]) {
        (name, value.as_bytes())
    }
    let md5 = scheme == Scheme::Md5;
    let (mut lines, separator) = match *subject {
        Subject::Connect { source, room_ids, .. } if md5 => {
            (vec![line("source", source), line("room_ids", room_ids)], "")
        }
        Subject::Connect { source, userid, room_ids } => (
            vec![
                line("purpose", "connect"),
                line("source", source),
                line("userid", userid),
                line("room_ids", room_ids),
            ],
            "\n",
        ),
        Subject::Notify { source, room_id, .. } if md5 => (vec![line("source", source), line("room_id", room_id)], ""),
        Subject::Notify { source, room_id, .. } => {
            (vec![line("purpose", "notify"), line("source", source), line("room_id", room_id)], "\n")
        }
        Subject::Emit { source, nsp, kind, to, event, .. } => {
            let lines = [("purpose", "emit"), ("source", source), ("nsp", nsp), ("kind", kind), ("to", to)];
            let lines = lines.into_iter().chain([("event", event)]).map(|(name, value)| line(name, value));
            (lines.collect(), "\n")
        }
    };
    if !md5 {
        lines.push(line("ts", ts));
    }
    if let Subject::Notify { data, .. } | Subject::Emit { data, .. } = *subject {
        lines.push(("data", data));
    }
    Layout { lines, separator, ..Layout::default() }
}

/// Other orders of the lines: all of three or fewer, otherwise those with two lines exchanged or one moved to an end.
fn orders<T: Clone>(lines: &[T]) -> Vec<Vec<T>> {
    let mut all = Vec::new();
    for one in 0..lines.len() {
        for other in one + 1..lines.len() {
            let mut swapped = lines.to_vec();
            swapped.swap(one, other);
            all.push(swapped);
        }
        for place in [0, lines.len() - 1] {
            let mut moved = lines.to_vec();
            let line = moved.remove(one);
            moved.insert(place, line);
            if place.abs_diff(one) > 1 {
                all.push(moved);
            }
        }
    }
    all
}

const SEPARATORS: [(&str, &str); 10] = [
    ("", "nothing between them"),
    ("\n", "line feeds"),
    ("\\n", "a backslash and an n in place of line feeds"),
    ("\r\n", "CR LF"),
    (",", "commas"),
    ("&", "ampersands"),
    ("|", "bars"),
    (":", "colons"),
    (".", "points"),
    (" ", "spaces"),
];
