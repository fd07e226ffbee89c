//! What a relay says about a refusal (docs/protocol.md, Why a signature is refused).

use serde_json::Value as Json;

use super::terminal::visible;

/// `msg`, `reason` and the sentences of `explanation.found`, as far as the answer has them, in one line. `None` without `msg`.
pub fn reason(answer: &Json) -> Option<String> {
    let found = answer["explanation"]["found"].as_array();
    let found = found.into_iter().flatten().filter_map(Json::as_str);
    let more: Vec<_> = answer["reason"].as_str().into_iter().chain(found).collect();
    let msg = answer["msg"].as_str()?;
    Some(visible(&match more.as_slice() {
        [] => msg.to_owned(),
        more => format!("{msg}: {}", more.join("; ")),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_known_is_in_one_line() {
        let explanation = json!({"found": ["you signed\nx", 1, "and y"]});
        for (answer, line) in [
            (json!({"msg": "no"}), Some("no")),
            (json!({"msg": "no", "reason": "why"}), Some("no: why")),
            (json!({"msg": "no", "reason": "why", "explanation": explanation}), Some("no: why; you signed\\nx; and y")),
            (json!({"reason": "why"}), None),
            (json!([]), None),
            (json!(null), None),
        ] {
            assert_eq!(reason(&answer).as_deref(), line, "{answer}");
        }
    }
}
