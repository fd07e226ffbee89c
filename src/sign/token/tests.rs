use super::*;

const SECRET: &str = "a secret of 32 bytes or more, yes";
const NOW: u64 = 1_700_000_000;

fn policy() -> TokenPolicy {
    TokenPolicy { keys: vec![TokenKey::secret(None, SECRET.into())], ..TokenPolicy::default() }
}

/// A token with this header and these claims, signed with `secret`.
fn token(head: &str, claims: &str, secret: &str) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(head), BASE64URL.encode(claims));
    let signature = BASE64URL.encode(hs256(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

const HEAD: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn verify(claims: &str) -> Result<Claims, TokenError> {
    policy().verify(&token(HEAD, claims, SECRET), NOW)
}

/// The claims with one more; later ones come first so that they can be left out.
fn with(claim: &str) -> Result<Claims, TokenError> {
    let others = [("exp", "\"exp\":1700000060"), ("rooms", "\"rooms\":[\"a\"]")];
    let others = others.iter().filter(|(name, _)| !claim.starts_with(&format!("\"{name}\""))).map(|(_, text)| *text);
    let all: Vec<&str> = others.chain((!claim.is_empty()).then_some(claim)).collect();
    verify(&format!("{{{}}}", all.join(",")))
}

#[test]
fn claims() {
    let all =
        r#"{"sub":"7","name":"张三","rooms":["a","news-*"],"post":false,"exp":1700000060,"iat":1,"other":{"x":[]}}"#;
    let expected = Claims {
        userid: "7".into(),
        username: Some("张三".into()),
        rooms: vec!["a".into(), "news-*".into()],
        may_post: false,
        expires: 1_700_000_060,
    };
    assert_eq!(verify(all), Ok(expected.clone()));
    assert_eq!(policy().verify(&expected.to_token(SECRET, None, &policy(), NOW), NOW), Ok(expected));
    let least = with("").unwrap();
    assert_eq!((&*least.userid, least.username, least.may_post), ("", None, true));
    // Names may be written with escapes.
    assert_eq!(with(r#""\u0073ub":"\u0037""#).unwrap().userid, "7");
}

/// The vector of RFC 7515, appendix A.1: its key is not text, so only the parts are compared.
#[test]
fn the_secret_is_used_as_it_is_written() {
    // jwt.io's example.
    let example = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
                   SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
    let policy =
        TokenPolicy { keys: vec![TokenKey::secret(None, "your-256-bit-secret".into())], ..TokenPolicy::default() };
    assert_eq!(policy.verify(example, NOW), Err(TokenError::Missing("exp")), "the signature is right");
    assert_eq!(self::policy().verify(example, NOW), Err(TokenError::Signature));
}

#[test]
fn times() {
    let expired = |seconds| Err(TokenError::Expired { seconds });
    assert_eq!(with("\"exp\":1699999996").map(|claims| claims.expires), Ok(1_699_999_996), "within the leeway");
    assert_eq!(with("\"exp\":1699999995"), expired(5));
    assert_eq!(with("\"exp\":0"), expired(NOW));
    assert_eq!(with("\"exp\":1700000060.75").map(|claims| claims.expires), Ok(1_700_000_060));
    assert_eq!(with("\"exp\":253402300799").map(|claims| claims.expires), Ok(253_402_300_799));
    for exp in [
        "-1",
        "1.7e9",
        "1E10",
        "\"1700000060\"",
        "null",
        "true",
        "[1700000060]",
        "253402300800",
        "1700000060000",
        "99999999999999999999999999",
        "0.5e1",
        "-0",
    ] {
        assert_eq!(with(&format!("\"exp\":{exp}")), Err(TokenError::Time("exp")), "{exp}");
    }
    assert_eq!(verify(r#"{"rooms":["a"]}"#), Err(TokenError::Missing("exp")));
    assert!(with("\"nbf\":1700000005").is_ok(), "within the leeway");
    assert_eq!(with("\"nbf\":1700000006"), Err(TokenError::NotYet { seconds: 6 }));
    assert_eq!(with("\"nbf\":\"x\""), Err(TokenError::Time("nbf")));
}

#[test]
fn wrong_types() {
    for claim in ["\"sub\":7", "\"sub\":null", "\"sub\":[\"7\"]", "\"sub\":{}"] {
        assert_eq!(with(claim), Err(TokenError::Text("sub")), "{claim}");
    }
    assert_eq!(with("\"name\":7"), Err(TokenError::Text("name")));
    assert_eq!(with(&format!("\"sub\":\"{}\"", "x".repeat(513))), Err(TokenError::Name("sub")));
    assert_eq!(with("\"sub\":\"7\\n\""), Err(TokenError::Name("sub")));
    for post in ["0", "\"false\"", "null", "[]"] {
        assert_eq!(with(&format!("\"post\":{post}")), Err(TokenError::Post), "{post}");
    }
    for rooms in ["\"a\"", "[1]", "[\"a\",null]", "{}", "[\"\"]", "[\"a,b\"]", "[\"a\\n\"]", "null", "[[\"a\"]]"] {
        assert_eq!(with(&format!("\"rooms\":{rooms}")), Err(TokenError::Rooms), "{rooms}");
    }
    let many = |count| format!("\"rooms\":[{}]", vec!["\"a\""; count].join(","));
    assert!(with(&many(MAX_ROOMS)).is_ok());
    assert_eq!(with(&many(MAX_ROOMS + 1)), Err(TokenError::Rooms));
    assert_eq!(verify(r#"{"exp":1700000060}"#), Err(TokenError::Missing("rooms")));
    for body in ["[]", "", "null", "{", "{\"exp\":1}x", "\"x\""] {
        assert_eq!(verify(body), Err(TokenError::Claims), "{body}");
    }
    // Which one counts differs between parsers.
    for twice in ["\"exp\":1,\"exp\":1700000060", "\"exp\":1700000060,\"e\\u0078p\":1", "\"x\":1,\"x\":1"] {
        assert_eq!(with(twice), Err(TokenError::Claims), "{twice}");
    }
}

/// The key decides about the algorithm.
#[test]
fn algorithms() {
    let claims = r#"{"exp":1700000060,"rooms":["a"]}"#;
    let of = |head: &str| policy().verify(&token(head, claims, SECRET), NOW);
    for head in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"hs256"}"#,
        r#"{"alg":"HS384"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":null}"#,
        "{}",
    ] {
        assert_eq!(of(head), Err(TokenError::Algorithm("HS256")), "{head}");
    }
    for head in [r#"{"alg":"none","alg":"HS256"}"#, "[]", "", "{", r#"{"alg":"HS256","kid":7}"#] {
        assert_eq!(of(head), Err(TokenError::Header), "{head}");
    }
    assert_eq!(of(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#), Err(TokenError::Critical));
    assert!(of(r#"{"alg":"HS256","kid":"any","jku":"http://evil/","jwk":{}}"#).is_ok(), "the key is the source's");
    let bare = format!("{}.{}.", BASE64URL.encode(r#"{"alg":"none"}"#), BASE64URL.encode(claims));
    assert_eq!(policy().verify(&bare, NOW), Err(TokenError::Algorithm("HS256")));
    let bare = format!("{}.{}.", BASE64URL.encode(HEAD), BASE64URL.encode(claims));
    assert_eq!(policy().verify(&bare, NOW), Err(TokenError::Signature));
}

/// A public key that is known to everybody is never the secret of an HMAC.
#[cfg(feature = "tls")]
#[test]
fn a_public_key_is_no_secret() {
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let key = TokenKey::public(None, PublicKey::from_pem(PEM).unwrap());
    let policy = TokenPolicy { keys: vec![key], ..TokenPolicy::default() };
    let claims = r#"{"exp":1700000060,"rooms":["a"]}"#;
    for secret in [PEM, PEM.trim_end()] {
        assert_eq!(policy.verify(&token(HEAD, claims, secret), NOW), Err(TokenError::Algorithm("EdDSA")));
        let head = r#"{"alg":"EdDSA"}"#;
        assert_eq!(policy.verify(&token(head, claims, secret), NOW), Err(TokenError::Signature));
    }
}

#[test]
fn several_keys() {
    let key = |kid: &str, secret: &str| TokenKey::secret(Some(kid.into()), secret.into());
    let policy = TokenPolicy { keys: vec![key("old", "o"), key("new", "n")], ..TokenPolicy::default() };
    let of = |head: &str, secret: &str| policy.verify(&token(head, r#"{"exp":1700000060,"rooms":[]}"#, secret), NOW);
    for (kid, secret) in [("old", "o"), ("new", "n")] {
        assert!(of(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), secret).is_ok());
    }
    assert_eq!(of(r#"{"alg":"HS256","kid":"new"}"#, "o"), Err(TokenError::Signature));
    assert_eq!(of(r#"{"alg":"HS256","kid":"newer"}"#, "n"), Err(TokenError::KidUnknown));
    assert_eq!(of(HEAD, "n"), Err(TokenError::KidMissing));
    assert_eq!(TokenPolicy::default().verify(&token(HEAD, "{}", ""), NOW), Err(TokenError::NotAccepted));
}

#[test]
fn audience_and_issuer() {
    assert_eq!(with("\"aud\":\"relay\""), Err(TokenError::Audience), "it is for somebody, and nobody said for whom");
    assert!(with("\"aud\":[]").is_ok() && with("\"iss\":\"x\"").is_ok());
    let strict = TokenPolicy { audience: Some("relay".into()), issuer: Some("shop".into()), ..policy() };
    let of =
        |more: &str| strict.verify(&token(HEAD, &format!(r#"{{"exp":1700000060,"rooms":["a"]{more}}}"#), SECRET), NOW);
    assert!(of(r#","aud":"relay","iss":"shop""#).is_ok() && of(r#","aud":["x","relay"],"iss":"shop""#).is_ok());
    for more in ["", r#","aud":"other","iss":"shop""#, r#","aud":"Relay","iss":"shop""#, r#","aud":[],"iss":"shop""#] {
        assert_eq!(of(more), Err(TokenError::Audience), "{more}");
    }
    assert_eq!(of(r#","aud":[1],"iss":"shop""#), Err(TokenError::Text("aud")));
    for more in [r#","aud":"relay""#, r#","aud":"relay","iss":"shop2""#] {
        assert_eq!(of(more), Err(TokenError::Issuer), "{more}");
    }
}

/// No part of a valid token is one, and neither is a token with another byte at any place.
#[test]
fn cut_and_changed() {
    let valid = token(HEAD, r#"{"exp":1700000060,"rooms":["a"]}"#, SECRET);
    assert!(policy().verify(&valid, NOW).is_ok());
    for end in 0..valid.len() {
        assert!(policy().verify(&valid[..end], NOW).is_err(), "{end}");
        assert!(policy().verify(&valid[end + 1..], NOW).is_err(), "{end}");
        for other in ["A", "B", ".", "=", "+", " ", "\u{e4}"] {
            let changed = [&valid[..end], other, &valid[end + 1..]].concat();
            assert!(changed == valid || policy().verify(&changed, NOW).is_err(), "{changed}");
        }
    }
    for other in
        [format!("{valid}="), format!("{valid}."), format!(" {valid}"), format!("{valid}\n"), valid.replace('.', "")]
    {
        assert_eq!(policy().verify(&other, NOW), Err(TokenError::Parts), "{other}");
    }
    let long = token(HEAD, &format!(r#"{{"exp":1700000060,"rooms":["a"],"x":"{}"}}"#, "x".repeat(6100)), SECRET);
    assert!(long.len() > MAX_TOKEN && policy().verify(&long, NOW) == Err(TokenError::TooLong));
    // What is not read may be nested as deeply as it fits.
    let deep = format!("{}{}", "[".repeat(2900), "]".repeat(2900));
    assert!(with(&format!("\"x\":{deep}")).is_ok());
    assert_eq!(with(&format!("\"rooms\":{deep}")), Err(TokenError::Rooms));
}

#[test]
fn what_is_like_a_token() {
    assert!(is_like_token(&token(HEAD, "{}", SECRET)));
    for other in ["", "demo", "eyJ", "eyJ.a", "a.b.c", "eyJ.a.b.c", "eyJ.a.b&c=d", "eyJ.a=.b", "0123456789abcdef"] {
        assert!(!is_like_token(other), "{other}");
    }
}

#[test]
fn others_do_not_see_it() {
    for (json, shown) in [
        (r#"{"jwt":"secret"}"#, "{}"),
        (r#"{"a":1.0, "\u006awt" : "secret","b":[ 1 ]}"#, r#"{"a":1.0,"b":[ 1 ]}"#),
        (r#"{"jwt":"a","jwt":"b"}"#, "{}"),
        (r#"{ "a" : 1 }"#, r#"{ "a" : 1 }"#),
        (r#"["jwt"]"#, r#"["jwt"]"#),
        ("", ""),
    ] {
        assert_eq!(without_token(json), shown, "{json}");
    }
}

/// It would be in every core dump and log of a configuration.
#[test]
fn secrets_are_not_shown() {
    assert!(!format!("{:?}", policy()).contains("secret of 32"));
}
