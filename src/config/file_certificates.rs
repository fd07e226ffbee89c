//! Section `[tls]` of the configuration file.

use toml_span::{Span, Value};

use super::{
    reader::Reader,
    section::Section,
    settings::{Config, MAX_CERTIFICATES},
};
use crate::tls::{CertificateError, Identity, Oldest, SUPPORTED, certificates};

/// Reads section `[tls]` into `config`. `place` is that of `listen`.
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, place: Span, config: &mut Config) {
    let mut section = root.section(reader, "tls");
    if let Some(oldest) = section.choice(reader, "min_version", &Oldest::NAMES) {
        config.tls.oldest = oldest;
    }
    let values = section.array(reader, "certificates", "certificates, each [[tls.certificates]]");
    let (before, mut unread) = (reader.problems.len(), false);
    if let Some(value) = values.get(MAX_CERTIFICATES) {
        let text = format!("there are {} certificates: at most {MAX_CERTIFICATES} are possible", values.len());
        reader.problem(value.span, text);
    }
    for value in values.into_iter().take(MAX_CERTIFICATES) {
        config.tls.identities.extend(identity(reader, value, &mut unread));
    }
    section.finish(reader);
    let is_known = reader.problems.len() == before && !unread;
    if let Some(listen) = config.listen.iter().find(|listen| listen.tls).filter(|_| is_known && !config.tls.is_used()) {
        let cure = match SUPPORTED {
            true => " needs a certificate: add [[tls.certificates]] with cert_file and key_file".into(),
            false => format!(": {}", CertificateError::NoTls),
        };
        reader.problem(place, format!("listen: {listen}{cure}"));
    }
}

/// Reads a certificate and its key. `None` if there is a problem, which is reported, or if a file was `unread`.
fn identity<'t>(reader: &mut Reader<'t, '_>, value: Value<'t>, unread: &mut bool) -> Option<Identity> {
    let span = value.span;
    let mut section = Section::new(reader, "tls.certificates.".into(), value);
    let spans = KEYS.map(|key| section.span(key).unwrap_or(span));
    let paths = KEYS.map(|key| section.text(key).unwrap_or_default().to_owned());
    let before = reader.problems.len();
    let [chain, key] = KEYS.map(|key| {
        let mut content = String::new();
        section.content(reader, key, &mut content).then_some(content)
    });
    if reader.problems.len() == before && !section.is_broken {
        for ((key, content), span) in KEYS.iter().zip([&chain, &key]).zip(spans) {
            if content.is_none() {
                reader.problem(span, format!("tls.certificates.{key} is missing: the name of a PEM file"));
            }
        }
    }
    section.finish(reader);
    let (chain, key) = (chain?, key?);
    // A client command may not be allowed to read them, and does not need them (see `Origin::load_for_client`).
    if [&chain, &key].iter().any(|content| content.starts_with('\0')) {
        *unread = true;
        return None;
    }
    Identity::new(&paths[0], &chain, &key).map_err(|error| report(reader, &error, &chain, spans, &paths)).ok()
}

/// Reports why a certificate cannot be used, at the file that is to blame.
fn report(reader: &mut Reader<'_, '_>, error: &CertificateError, chain: &str, spans: [Span; 2], paths: &[String; 2]) {
    let at = match error {
        CertificateError::Pair(_) => {
            let text = format!("tls.certificates: {} and {}: {error}", paths[0], paths[1]);
            return reader.problem(spans[0], text);
        }
        CertificateError::NoKey | CertificateError::EncryptedKey | CertificateError::UnknownKey => 1,
        CertificateError::Pem if certificates(chain).is_ok() => 1,
        _ => 0,
    };
    reader.problem(spans[at], format!("tls.certificates.{}: {}: {error}", KEYS[at], paths[at]));
}

const KEYS: [&str; 2] = ["cert_file", "key_file"];
