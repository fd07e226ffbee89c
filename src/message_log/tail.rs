//! The end of a file: whole lines.

/// The last lines of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The lines.
    pub text: Vec<u8>,
    /// The number of bytes before them.
    pub omitted: u64,
}

/// The position and the length to read for the last `most` bytes of a file. It includes one byte more, which shows
/// whether a line begins there.
pub fn span(size: u64, most: u64) -> (u64, u64) {
    let begin = size.saturating_sub(most);
    (begin.saturating_sub(1), most.saturating_add(u64::from(begin > 0)))
}

impl Tail {
    /// Cuts the bytes that were read of a [`span`] down to whole lines.
    pub fn new(size: u64, most: u64, mut text: Vec<u8>) -> Tail {
        let mut omitted = size.saturating_sub(most);
        if omitted > 0 {
            let cut = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1);
            text.drain(..cut);
            omitted = (omitted + cut as u64).saturating_sub(1);
        }
        Tail { text, omitted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_begin_with_a_line() {
        let file = "one\ntwo\nthree\n";
        let size = file.len() as u64;
        for most in 1..20 {
            let (begin, length) = span(size, most);
            let end = (begin + length).min(size) as usize;
            let tail = Tail::new(size, most, file.as_bytes()[begin as usize..end].to_vec());
            let kept = [14, 10, 6].into_iter().find(|kept| *kept as u64 <= most).unwrap_or(0);
            assert_eq!(tail.text, &file.as_bytes()[file.len() - kept..], "{most}");
            assert_eq!(tail.omitted, size - kept as u64, "{most}");
        }
        assert_eq!(Tail::new(0, 10, Vec::new()), Tail::default());
        assert_eq!(Tail::new(30, 10, Vec::new()).omitted, 19, "the file was truncated in between");
    }
}
