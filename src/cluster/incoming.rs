//! Decoding of received publications: their origin, and the command in them.

use super::{
    channel::Channel, command::Command, context::Context, incoming_command::decode_command,
    incoming_message::decode_message, refused::Refused, seal::Opened,
};
use crate::{
    json::{MAX_PUBLICATION_DEPTH, Object, is_deeper},
    text::without_bom,
};

/// Decodes a publication of another relay, an old server or a backend. Returns its command for the clients of this
/// relay, if it has one. Refused publications are counted and logged.
pub fn decode<'a>(cx: &mut Context<'_>, channel: &Channel, payload: &'a [u8]) -> Option<Command<'a>> {
    let (text, authentic) = match cx.shared.publisher.open(channel, without_bom(payload), cx.state.now.unix)? {
        Opened::Own => return None,
        Opened::Foreign(text, authentic) => (text, authentic),
        Opened::NotText => {
            cx.refuse(&Refused::NotText, "");
            return None;
        }
    };
    if is_deeper(text, MAX_PUBLICATION_DEPTH) {
        cx.refuse(&Refused::TooDeep, text);
        return None;
    }
    let Ok(fields) = serde_json::from_str::<Object<'a>>(text) else {
        cx.refuse(&Refused::NotObject, text);
        return None;
    };
    cx.shared.answers += u64::from(matches!(channel, Channel::Relay(_)));
    let result = match channel {
        Channel::Messages => decode_message(cx, &fields, authentic),
        Channel::Commands | Channel::Relay(_) => decode_command(cx, &fields, authentic),
    };
    result.unwrap_or_else(|why| {
        cx.refuse(&why, text);
        None
    })
}

#[cfg(test)]
mod tests;
