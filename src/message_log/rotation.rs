//! When a file is full, and what it is renamed to.

/// The next step in appending lines to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Whether the file is full: rename it first, and write to a new one.
    pub rotate: bool,
    /// How many bytes of the lines to write now: whole lines, at least one.
    pub length: usize,
}

/// Plans the next write to a file of `size` bytes. A file stays within `limit` bytes. A single line that is longer gets
/// a file of its own.
pub fn plan(lines: &[u8], size: u64, limit: u64) -> Step {
    let mut length = whole_lines(lines, limit.saturating_sub(size));
    let rotate = size > 0 && length == 0;
    if rotate {
        length = whole_lines(lines, limit);
    }
    if length == 0 {
        length = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |end| end + 1);
    }
    Step { rotate, length }
}

/// The length of the whole lines that fit into `room` bytes.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    lines[..room].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

/// The number of a rotated file such as `msg.log.12`, if `candidate` is a rotated file of `name`. Numbers with more
/// than nine digits or a leading zero are not relay's: a message may have named its file
/// `msg.log.99999999999999999999`.
pub fn number(name: &str, candidate: &str) -> Option<u64> {
    let digits = candidate.strip_prefix(name)?.strip_prefix('.')?;
    let own = (1..=9).contains(&digits.len()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| own)
}

/// The name to give a full file: its number is one more than the highest among the `files` in its folder, even if older
/// files were deleted.
pub fn next_name(name: &str, files: impl Iterator<Item = String>) -> String {
    let last = files.filter_map(|file| number(name, &file)).max().unwrap_or(0);
    format!("{name}.{}", last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans() {
        let step = |rotate, length| Step { rotate, length };
        for (lines, size, limit, expected) in [
            ("a\nb\n", 0, 100, step(false, 4)),
            ("a\nb\n", 96, 100, step(false, 4)),
            ("a\nb\n", 97, 100, step(false, 2)),
            ("a\nb\n", 99, 100, step(true, 4)),
            ("a\nb\n", 100, 3, step(true, 2)),
            ("abc\nd\n", 0, 3, step(false, 4)),
            ("abc\nd\n", 1, 3, step(true, 4)),
            ("abc", 0, 2, step(false, 3)),
            ("a\n", u64::MAX, u64::MAX, step(true, 2)),
        ] {
            assert_eq!(plan(lines.as_bytes(), size, limit), expected, "{lines:?} behind {size} of {limit}");
        }
    }

    #[test]
    fn names_of_full_files() {
        let next = |files: &[&str]| next_name("x.log", files.iter().map(|file| (*file).to_owned()));
        assert_eq!(next(&[]), "x.log.1");
        assert_eq!(next(&["x.log", "x.log.2", "x.log.10", "y.log.50", "x.log.a"]), "x.log.11");
        assert_eq!(next(&["x.log.007", "x.log.1234567890", "x.log.", "x.log.3.4"]), "x.log.1");
    }
}
