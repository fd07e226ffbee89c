//! Section `[redis]` of the configuration file.

use toml_span::Span;

use super::{
    file_tls,
    reader::Reader,
    redis::{RedisUrl, Servers},
    section::{Section, TIMEOUT},
    settings::Config,
};
/// Reads section `[redis]` into `config`.
pub fn read<'t>(reader: &mut Reader<'t, '_>, root: &mut Section<'t>, config: &mut Config) {
    let mut section = root.section(reader, "redis");
    let redis = &mut config.redis;
    let place = section.span("url");
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
    let asked = place.filter(|_| redis.url.as_ref().is_some_and(|url| url.tls));
    redis.tls = file_tls::read(reader, &mut section, asked, "a redis.url of rediss://");
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
