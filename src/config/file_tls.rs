//! The files of a TLS client in a section of the configuration file: `ca_file`, `cert_file` and `key_file`.

use toml_span::Span;

use super::{reader::Reader, section::Section};
use crate::tls::{CertificateError, ClientTls, SUPPORTED, authorities, certificates, private_key};

/// Reads the files of a section with the key `url`. `asked`: the place of the URL, if it asks for TLS, as it does if it is `needed`.
pub fn read<'t>(
    reader: &mut Reader<'t, '_>,
    section: &mut Section<'t>,
    asked: Option<Span>,
    needed: &str,
) -> Option<ClientTls> {
    let spans = KEYS.map(|key| section.span(key));
    let paths = KEYS.map(|key| section.text(key).unwrap_or_default().to_owned());
    let before = reader.problems.len();
    let [ca, certificate, key] = KEYS.map(|key| {
        let mut content = String::new();
        section.content(reader, key, &mut content).then_some(content)
    });
    let named =
        [&ca, &certificate, &key].into_iter().zip(spans).find_map(|(content, span)| span.filter(|_| content.is_some()));
    let Some(url) = asked else {
        if let Some(span) = named {
            let set = KEYS.iter().zip(&paths).filter(|(_, path)| !path.is_empty());
            let names: Vec<_> = set.map(|(key, _)| section.key(key)).collect();
            let need = if names.len() == 1 { "needs" } else { "need" };
            let text = format!("{} {need} {needed}", names.join(" and "));
            reader.problem(span, text);
        }
        return None;
    };
    if !SUPPORTED {
        reader.problem(url, format!("{}: {}", section.key("url"), CertificateError::NoTls));
        return None;
    }
    // A client command may not be allowed to read a file, and does not need it (see `Origin::load_for_client`).
    let is_unread = |content: &String| content.starts_with('\0');
    if reader.problems.len() > before || [&ca, &certificate, &key].into_iter().flatten().any(is_unread) {
        return None;
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let (certificate, key) = (section.key("cert_file"), section.key("key_file"));
            let why = format!("{certificate} and {key} belong together: set both, or none");
            reader.problem(named.unwrap_or_default(), why);
            return None;
        }
    };
    let found = [
        ca.as_deref().and_then(|ca| authorities(ca).err()),
        identity.as_ref().and_then(|(certificate, _)| certificates(certificate).err()),
        identity.as_ref().and_then(|(_, key)| private_key(key).err()),
    ];
    let is_bad = found.iter().any(Option::is_some);
    for (index, error) in found.into_iter().enumerate() {
        if let Some(error) = error {
            let text = format!("{}: {}: {error}", section.key(KEYS[index]), paths[index]);
            reader.problem(spans[index].unwrap_or_default(), text);
        }
    }
    if is_bad {
        return None;
    }
    match ClientTls::new(ca, identity) {
        Ok(tls) => Some(tls),
        // Each file is good, but they do not fit together.
        Err(error) => {
            let (certificate, key) = (section.key("cert_file"), section.key("key_file"));
            let text = format!("{certificate} and {key}: {} and {}: {error}", paths[1], paths[2]);
            reader.problem(spans[1].unwrap_or_default(), text);
            None
        }
    }
}

/// The authorities that are trusted, the certificate of the client, and its key.
const KEYS: [&str; 3] = ["ca_file", "cert_file", "key_file"];
