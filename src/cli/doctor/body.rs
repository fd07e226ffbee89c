//! Whether bodies as large as relay takes reach it.

use super::{advice::Advice, finding::Finding};
use crate::cli::client::{Answer, NoAnswer};

const CHECK: &str = "body";

/// Judges the answer to a notification of `size` bytes whose signature is wrong: relay refuses it once it has all of it.
pub fn judge(answer: &Result<Answer, NoAnswer>, size: u64) -> Finding {
    let too_large = |why: &str| {
        Finding::failure(CHECK, format!("a body of {size} bytes, which relay takes, does not reach it: {why}"))
            .advise(Advice::Body(size))
    };
    match answer {
        Ok(answer) if answer.status == 413 && answer.describe().contains("which this request may not have") => {
            Finding::skipped(CHECK, "relay does not know the path that it gets for /api/notify")
        }
        Ok(answer) if answer.status == 413 && answer.is_of_relay() => Finding::warning(
            CHECK,
            format!("relay's limits.body is less than {size} bytes, which this machine's configuration has"),
        ),
        Ok(answer) if answer.status == 413 => too_large(&answer.describe()),
        Ok(answer) if answer.is_of_relay() => Finding::ok(CHECK, format!("a body of {size} bytes reaches relay")),
        Ok(answer) if matches!(answer.status, 401 | 403 | 404) => Finding::skipped(
            CHECK,
            format!(
                "the proxy keeps /api/notify to itself ({}): backends must reach relay without it",
                answer.describe()
            ),
        ),
        Ok(answer) => too_large(&answer.describe()),
        Err(error) => too_large(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Level, *};

    #[test]
    fn bodies() {
        let level = |status: u16, body: &str| {
            judge(&Ok(Answer { status, headers: Vec::new(), body: body.into() }), 1_000_000).level
        };
        let own = r#"{"code":0,"msg":"sign can not be null!","data":""}"#;
        assert_eq!(level(200, own), Level::Ok);
        assert_eq!(level(413, own), Level::Warning);
        let elsewhere = r#"{"code":0,"msg":"the body is larger than 65536 bytes, which this request may not have"}"#;
        assert_eq!(level(413, elsewhere), Level::Skipped);
        assert_eq!(level(413, "<title>413 Request Entity Too Large</title>"), Level::Failure);
        assert_eq!(level(403, "Forbidden"), Level::Skipped);
        assert_eq!(level(500, ""), Level::Failure);
        let lost = judge(&Err(NoAnswer::Stuck), 7);
        assert!(lost.text.contains("7 bytes") && lost.advice == Some(Advice::Body(7)), "{lost:?}");
    }
}
