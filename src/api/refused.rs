//! Answers to refused logins and messages (docs/protocol.md, Why a signature is refused).

use crate::{http::Reply, json::quote, sign::Explanation, state::Refusal};

/// The answer to a refused request: `{"code":0,"msg":…,"data":""}`, with `reason` and `explanation` if there are any.
pub fn refused(status: u16, refusal: Refusal, explanation: Option<&Explanation>) -> Reply {
    Reply::json(status, refused_json(refusal, explanation).into_bytes())
}

/// The body of [`refused`].
pub fn refused_json(refusal: Refusal, explanation: Option<&Explanation>) -> String {
    format!("{{\"code\":0,\"msg\":{},\"data\":\"\"{}}}", quote(&refusal.text()), refusal.details(explanation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::{Scheme, SignError};

    #[test]
    fn the_text_that_programs_compare_comes_first() {
        assert_eq!(refused_json(Refusal::DataMissing, None), r#"{"code":0,"msg":"data can not be null!","data":""}"#);
        let wrong = Refusal::ConnectSignWrong(SignError::TsMissing);
        let explanation = Explanation {
            scheme: Scheme::Md5,
            hashed: "a\n<sign_key>".into(),
            is_hash: true,
            found: vec!["x".into(), "\"y\"".into()],
        };
        assert_eq!(
            refused_json(wrong, Some(&explanation)),
            r#"{"code":0,"msg":"sign verify failed!","data":"","reason":"ts is missing: hmac-sha256 covers the time","explanation":{"scheme":"md5","hashed":"a\n<sign_key>","found":["x","\"y\""]}}"#
        );
    }
}
