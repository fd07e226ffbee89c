//! Section `[redis]` of the configuration file.

use toml_span::Span;

use super::{
    reader::Reader,
    redis::{RedisUrl, Servers},
    section::{Section, TIMEOUT},
    settings::Config,
};
use crate::tls::{
    ClientTls,
    certificates::{authorities, certificates, private_key},
};

/// Reads section `[redis]` into `config`.
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, config: &mut Config) {
    let mut section = root.section(reader, "redis");
    let redis = &mut config.redis;
    if let Some(value) = section.take("url") {
        match value.as_str().map(RedisUrl::parse) {
            _ if value.as_str() == Some("") => {}
            Some(Ok(url)) => {
                reader.has_secrets |= url.password.is_some();
                redis.url = Some(url);
            }
            Some(Err(error)) => reader.problem(value.span, format!("redis.url: {error}")),
            None => reader.wrong_value(&value, "redis.url", "a string in quotes"),
        }
    }
    section.string(reader, "channel", &mut redis.channel);
    section.string(reader, "key_prefix", &mut redis.key_prefix);
    section.boolean(reader, "trust_from_sys", &mut redis.trust_from_sys);
    if let Some((password, span)) = section.secret(reader, "password", "password_file") {
        match &mut redis.url {
            Some(url) => url.password = Some(password),
            None => reader.problem(span, "redis.password needs redis.url".into()),
        }
    }
    read_sentinels(reader, &mut section, redis.url.as_mut());
    let tls = redis.url.as_ref().is_some_and(|url| url.tls);
    redis.tls = read_tls(reader, &mut section, tls);
    if redis.channel.is_empty() {
        reader.problem(Span::default(), "redis.channel is empty: it must name the channel of the cluster".into());
    }
    redis.secret = section.secret(reader, "secret", "secret_file").map(|(secret, _)| secret);
    section.whole(reader, "buffer", &mut redis.buffer, 4096..=1 << 40, "bytes");
    section.seconds(reader, "buffer_age", &mut redis.buffer_age, TIMEOUT);
    section.seconds(reader, "heartbeat", &mut redis.heartbeat, 0.1..=3600.0);
    section.finish(reader);
}

/// Reads the user and password at the Sentinels.
fn read_sentinels<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>, url: Option<&mut RedisUrl>) {
    let span = section.span("sentinel_user");
    let password_key =
        ["sentinel_password", "sentinel_password_file"].into_iter().find(|key| section.span(key).is_some());
    let user = section.optional(reader, "sentinel_user");
    let password = section.secret(reader, "sentinel_password", "sentinel_password_file");
    let Some(span) = password.as_ref().map(|(_, span)| *span).or(span.filter(|_| user.is_some())) else { return };
    match url.map(|url| &mut url.servers) {
        Some(Servers::Sentinels(_)) if user.is_some() && password.is_none() => {
            reader.problem(span, "redis.sentinel_user needs redis.sentinel_password".into());
        }
        Some(Servers::Sentinels(sentinels)) => {
            sentinels.user = user.unwrap_or_default();
            sentinels.password = password.map(|(password, _)| password);
        }
        _ => {
            let mut set: Vec<_> = user.map(|_| "redis.sentinel_user".to_owned()).into_iter().collect();
            set.extend(password.and(password_key).map(|key| format!("redis.{key}")));
            let need = if set.len() == 1 { "needs" } else { "need" };
            let text = format!("{} {need} a redis.url of redis+sentinel://", set.join(" and "));
            reader.problem(span, text);
        }
    }
}

/// Reads the files of TLS. `wanted`: the URL asks for TLS.
fn read_tls<'t>(reader: &mut Reader<'t, '_>, section: &mut Section<'t>, wanted: bool) -> Option<ClientTls> {
    let keys = ["ca_file", "cert_file", "key_file"];
    let spans = keys.map(|key| section.span(key));
    let paths = keys.map(|key| section.text(key).unwrap_or_default().to_owned());
    let before = reader.problems.len();
    let [ca, certificate, key] = keys.map(|key| {
        let mut content = String::new();
        section.content(reader, key, &mut content).then_some(content)
    });
    let named =
        [&ca, &certificate, &key].into_iter().zip(spans).find_map(|(content, span)| span.filter(|_| content.is_some()));
    if !wanted {
        if let Some(span) = named {
            let set: Vec<_> = keys.iter().zip(&paths).filter(|(_, path)| !path.is_empty()).collect();
            let names: Vec<_> = set.iter().map(|(key, _)| format!("redis.{key}")).collect();
            let need = if names.len() == 1 { "needs" } else { "need" };
            let text = format!("{} {need} a redis.url of rediss://", names.join(" and "));
            reader.problem(span, text);
        }
        return None;
    }
    if reader.problems.len() > before {
        return None;
    }
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let why = "redis.cert_file and redis.key_file belong together: set both, or none";
            reader.problem(named.unwrap_or_default(), why.into());
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
            let text = format!("redis.{}: {}: {error}", keys[index], paths[index]);
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
            let text = format!("redis.cert_file and redis.key_file: {} and {}: {error}", paths[1], paths[2]);
            reader.problem(spans[1].unwrap_or_default(), text);
            None
        }
    }
}
