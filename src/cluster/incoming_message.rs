//! Messages of other relays, old servers and backends on the common channel.

use super::{
    command::{Command, IncomingMessage},
    fields::{flag, text},
    incoming::{Refused, is_new, unpack_if},
    shared::Context,
};
use crate::{
    json::{Object, comma_list, javascript::js_text},
    message::{MessageId, new_msg::MOST_SPREAD},
    names::{Rooms, is_file_safe},
    sign::{Signature, Subject},
    state::{Refusal, State, TenantId},
};

/// Checks a message of a relay, an old server or a backend.
pub fn decode_message<'a>(
    cx: &mut Context<'_>,
    fields: &Object<'a>,
    authentic: bool,
) -> Result<Option<Command<'a>>, Refused> {
    if fields.get("sys_info").is_some_and(|mark| ["true", "1", "\"1\""].contains(&mark.get())) {
        note_sys_info(cx, fields);
        return Ok(None);
    }
    // With a secret, relays are distinguished from others that set from_sys.
    let signs = cx.shared.publisher.signs();
    let from_sys = fields.contains_key("from_sys") && (cx.shared.trust || authentic);
    let id = MessageId::parse(&text(fields, "id"));
    let of_relay = authentic || (from_sys && !signs);
    let of_relay = of_relay && id.is_some_and(|id| id.node() == text(fields, "node"));
    if of_relay && !is_new(cx, fields) {
        return Ok(None);
    }
    let state = &mut *cx.state;
    let refused = |refusal: Refusal| refusal.text();
    let source = text(fields, "source");
    let room_ids = fields.get("room_id").map_or_else(String::new, |raw| comma_list(raw));
    if source.is_empty() {
        return Err(refused(Refusal::SourceMissing));
    }
    let rooms = Rooms::parse(&room_ids, state.config().limits.room_id as usize, 0)
        .map_err(|error| refused(Refusal::from_name(error, Refusal::RoomMissing)))?
        .iter()
        .len();
    let raw = fields.get("data").map(|raw| raw.get());
    let tenant = match from_sys {
        // Sessions that were admitted without a signature are in sources that need not be configured.
        true => state.known_tenant(&source).ok_or_else(|| refused(Refusal::SourceUnknown))?,
        false => {
            let tenant = state.tenant(&source).map_err(refused)?;
            check_signature(state, tenant, fields, (&source, &room_ids, raw))?;
            tenant
        }
    };
    let filename = text(fields, "filename");
    let filename = match is_file_safe(&filename) && state.may_name(tenant, &filename) {
        true => filename,
        false => "".into(),
    };
    let (json, attachments) = unpack_if(flag(fields, "binary"), raw.unwrap_or("null"))?;
    let message = IncomingMessage { tenant, room_ids, json, attachments, filename, id };
    // As JSON it may have six times the bytes that a relay counted before it published it.
    let most = if of_relay { 6 * MOST_SPREAD } else { MOST_SPREAD };
    if rooms > 1 && message.data().size() * rooms > most {
        return Err(refused(Refusal::TooWide));
    }
    state.stats.redis_received += 1;
    Ok(Some(Command::Message(message)))
}

/// Checks that the publisher of a message may publish for its source.
fn check_signature(
    state: &State,
    tenant: TenantId,
    fields: &Object<'_>,
    (source, room_id, raw): (&str, &str, Option<&str>),
) -> Result<(), Refused> {
    let verify = state.tenants[tenant.index()].source.as_ref().is_none_or(|source| source.publish_msg_verify);
    let from_sys = fields.contains_key("from_sys");
    if !verify && !from_sys {
        return Ok(());
    }
    let (sign, sign_type, ts) = (text(fields, "sign"), text(fields, "sign_type"), text(fields, "ts"));
    if sign.is_empty() && from_sys {
        return Err("from_sys does not replace a signature, because redis.trust_from_sys is false".into());
    }
    if sign.is_empty() {
        return Err(Refusal::NotifySignMissing.text());
    }
    let signature = Signature::new(&sign, &sign_type, &ts);
    // The data as node-socket-im converted it to text, or verbatim, as notifications sign it.
    let signed = js_text(raw);
    let right = [&*signed, raw.unwrap_or_default()].into_iter().any(|data| {
        let subject = Subject::Notify { source, room_id, data: data.as_bytes() };
        state.verify(tenant, &subject, &signature, state.now)
    });
    match right {
        true => Ok(()),
        false => Err(Refusal::NotifySignWrong.text()),
    }
}

/// Copies a line of an old server's log to the message log; the file that it names is ignored.
fn note_sys_info(cx: &mut Context<'_>, fields: &Object<'_>) {
    cx.state.stats.redis_received += 1;
    if cx.shared.trust && text(fields, "key") == "system_start" {
        // When an old server starts, it deletes all presence records.
        cx.shared.records.deleted_by_old_server = true;
    }
    cx.log.foreign(|line| {
        for (name, value) in fields.iter().filter(|(name, _)| !["sys_info", "log_file"].contains(&&***name)) {
            line.foreign(name, value.get());
        }
    });
}
