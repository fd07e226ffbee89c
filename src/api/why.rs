//! `GET /api/why`: why somebody did not get a message (docs/protocol.md, Why).

use super::{context::Context, inquiry::Inquiry, outcome::Outcome, source::find_source};
use crate::{
    clock::{Now, Time},
    http::{Fields, Head, Reply},
    hub::{
        Hub,
        why::{Explanation, Line},
    },
    json::quote,
    key::ClientKey,
    language::Language,
    message::MessageId,
};

/// `GET /api/why?id=&userid=&room_id=&socket_id=&source=&language=`: what the journal has about a message, a user, a session or a room.
pub fn why(head: &Head<'_>, cx: &mut Context<'_>) -> Outcome {
    match inquire(head, cx) {
        Ok(inquiry) => Outcome::Explain(Box::new(inquiry)),
        Err(refusal) => refusal.with("Cache-Control", "no-store").into(),
    }
}

/// The answer to `GET /api/why`.
pub fn explain(inquiry: &Inquiry, confirmed: &[(ClientKey, u64)], hub: &Hub, now: Now) -> Reply {
    let explanation = hub.explain(&inquiry.question(confirmed), inquiry.language);
    Reply::json(200, json(&explanation, inquiry.language, now).into_bytes()).with("Cache-Control", "no-store")
}

fn inquire(head: &Head<'_>, cx: &Context<'_>) -> Result<Inquiry, Reply> {
    let fields = head.fields();
    let wrong = |why: &str| Reply::refusal(400, why);
    let state = &cx.hub.state;
    let tenant = find_source(&fields, cx)?;
    let language = language(&fields)?;
    let id = match fields.get("id") {
        "" => None,
        text => Some(MessageId::parse(text).ok_or_else(|| wrong(WRONG_ID))?),
    };
    let [userid, room, socket_id] = ["userid", "room_id", "socket_id"].map(|name| fields.get(name).into());
    let inquiry = Inquiry { tenant, id, userid, room, socket_id, language };
    let question = inquiry.question(&[]);
    if id.is_none() && question.room.is_empty() && !question.is_personal() {
        return Err(wrong(NO_QUESTION));
    }
    if !question.socket_id.is_empty() && state.find_name(question.socket_id).is_none() {
        return Err(wrong(WRONG_SESSION));
    }
    Ok(inquiry)
}

/// The language in which an operator wants the answer.
pub(super) fn language(fields: &Fields<'_>) -> Result<Language, Reply> {
    Language::parse(fields.get("language")).ok_or_else(|| Reply::refusal(400, WRONG_LANGUAGE))
}

fn json(explanation: &Explanation, language: Language, now: Now) -> String {
    let Explanation { since, refusals_since, lines, verdicts, advice } = explanation;
    let [since, refusals_since] =
        [since, refusals_since].map(|time| time.map_or("null".into(), |time| quote(&local(time, now))));
    let line = |line: &Line| {
        let id = line.id.map_or_else(String::new, |id| format!(",\"id\":\"{id}\""));
        format!("{{\"time\":{},\"text\":{}{id}}}", quote(&local(line.time, now)), quote(&line.text))
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    let verdicts: Vec<_> = verdicts.iter().map(|verdict| quote(verdict)).collect();
    let advice: Vec<_> = advice.iter().map(|advice| quote(advice.text(language))).collect();
    format!(
        "{{\"code\":1,\"msg\":\"\",\"data\":{{\"since\":{since},\"refusals_since\":{refusals_since},\"verdicts\":[{}],\
         \"advice\":[{}],\"lines\":[{}]}}}}",
        verdicts.join(","),
        advice.join(","),
        lines.join(",")
    )
}

/// The local time at which something happened.
pub(super) fn local(time: Time, now: Now) -> String {
    now.local_at(now.unix_at(time)).to_string()
}

const WRONG_LANGUAGE: &str = "language must be en or zh";
const WRONG_ID: &str = "id is not that of a message";
const WRONG_SESSION: &str = "socket_id is not that of a session here";
const NO_QUESTION: &str = "give id, userid, socket_id or room_id";
