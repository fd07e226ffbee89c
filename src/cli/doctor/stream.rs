//! Whether streams (`/sse`) come at once.

use super::{advice::Advice, finding::Finding, stranger, target::Target};
use crate::cli::client::Answer;

const CHECK: &str = "stream";

/// Judges what came of a stream in a few seconds; `None` if not even its head did.
pub fn judge(answer: Option<&Answer>, target: &Target) -> Finding {
    let Some(answer) = answer else {
        let text = "nothing of a stream arrives: the proxy collects answers until they are complete";
        return Finding::failure(CHECK, text).advise(Advice::Buffering);
    };
    if answer.status == 401 && answer.is_of_relay() {
        return Finding::skipped(CHECK, format!("relay refuses the login with {}", answer.describe()));
    }
    if answer.status != 200 || !answer.header("content-type").starts_with("text/event-stream") {
        return stranger::judge(CHECK, "/sse", answer, target);
    }
    let coding = answer.header("content-encoding");
    if has_begun(answer) {
        return Finding::ok(CHECK, "the first bytes of a stream arrive at once");
    }
    let why = match coding {
        "" => "the head of a stream arrives, but not what follows: the proxy collects it".to_owned(),
        coding => format!("the proxy compresses streams ({coding:?}) and so holds messages back"),
    };
    Finding::failure(CHECK, why).advise(Advice::Buffering)
}

/// Whether the first block of a stream has come, or compressed bytes of it.
pub fn has_begun(answer: &Answer) -> bool {
    let is_coded = !answer.header("content-encoding").is_empty();
    // The head of gzip has 10 bytes and says nothing.
    let begins = |text: &[u8]| answer.body.windows(text.len()).any(|part| part == text);
    begins(b"retry:") || begins(b"id:") || is_coded && answer.body.len() > 32
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn streams() {
        let target = Target::parse("https://shop.example.org").unwrap();
        let stream = |body: &str, more: &[(&str, &str)]| {
            let kind = [("content-type", "text/event-stream")];
            let headers =
                kind.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Answer { status: 200, headers, body: body.into() }
        };
        assert_eq!(judge(Some(&stream("1a\r\nretry: 2734\n", &[])), &target).level, Level::Ok);
        for (answer, text) in [
            (None, "nothing of a stream arrives"),
            (Some(stream("", &[])), "what follows"),
            (Some(stream("\u{1f}\u{8b}", &[("content-encoding", "gzip")])), "compresses streams (\"gzip\")"),
            (Some(Answer { status: 404, ..Answer::default() }), "does not forward /sse"),
            (Some(Answer { status: 200, ..Answer::default() }), "something else than relay"),
        ] {
            let found = judge(answer.as_ref(), &target);
            assert!(found.level == Level::Failure && found.text.contains(text), "{found:?}");
        }
    }
}
