//! `relay sign --explain`: what is wrong with a signature that another program made.

use super::{
    credentials::Credentials,
    error::Error,
    terminal::{say, visible},
};
use crate::{
    config::Secret,
    server::clock::unix_micros,
    sign::{Policy, Scheme, SignError, Signature, Subject, explain, to_hex},
};

/// Checks `sign` as relay would, prints what is wrong with it, and the right one. Fails if it is wrong. `others` are sources
/// whose keys may have been used.
pub fn run(
    credentials: &Credentials,
    subject: &Subject<'_>,
    sign: &str,
    others: &[(String, Secret)],
) -> Result<(), Error> {
    let (key, (scheme, ts)) = (credentials.key(), credentials.scheme(subject));
    let signature = Signature::new(sign, scheme.name(), ts);
    let (schemes, window) = credentials.rules();
    let policy = Policy { key, schemes: schemes.accepted(subject), window, unix: unix_micros() / 1_000_000 };
    let Err(error) = subject.verify(&signature, &policy) else {
        say("the signature is right\n");
        return Ok(());
    };
    let others = others.iter().filter(|(name, _)| *name != credentials.source);
    let others = others.map(|(name, key)| (name.as_str(), key.expose().as_bytes()));
    let explanation = explain(subject, &signature, key, others);
    let right = match scheme {
        Scheme::Md5 => to_hex(&subject.md5(key)),
        Scheme::HmacSha256 => to_hex(&subject.hmac(key, ts)),
    };
    let lines = |heading: &str, list: Vec<&str>| {
        list.iter().fold(format!("{heading}\n"), |text, line| text + &format!("  {}\n", visible(line)))
    };
    let mut text =
        lines(&format!("relay computes the {} of this text:", scheme.name()), explanation.hashed.split('\n').collect());
    let error_text = error.to_string();
    let named = match error {
        SignError::Mismatch => None,
        SignError::Digits(_) if !explanation.is_hash => None,
        _ => Some(&*error_text),
    };
    text += &lines("mistakes:", named.into_iter().chain(explanation.found.iter().map(String::as_str)).collect());
    if !matches!(error, SignError::TsMissing | SignError::TsFormat) {
        text += &format!("the right signature is {right}\n");
    }
    say(&text);
    Err(Error::SignatureWrong)
}
