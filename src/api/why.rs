//! `GET /api/why`: why somebody did not get a message (docs/protocol.md, Why).

use super::{context::Context, source::find_source};
use crate::{
    clock::{Now, Time},
    http::{Fields, Head, Reply},
    hub::why::{Explanation, Line, Question},
    json::quote,
    language::Language,
    message::MessageId,
};

/// `GET /api/why?id=&userid=&room_id=&socket_id=&source=&language=`: what the journal has about a message, a user, a session or a room.
pub fn why(head: &Head<'_>, cx: &Context<'_>) -> Reply {
    answer(head, cx).unwrap_or_else(|refusal| refusal).with("Cache-Control", "no-store")
}

fn answer(head: &Head<'_>, cx: &Context<'_>) -> Result<Reply, Reply> {
    let fields = head.fields();
    let wrong = |why: &str| Reply::refusal(400, why);
    let state = &cx.hub.state;
    let tenant = find_source(&fields, cx)?;
    let language = language(&fields)?;
    let id = match fields.get("id") {
        "" => None,
        text => Some(MessageId::parse(text).ok_or_else(|| wrong(WRONG_ID))?),
    };
    let question = Question {
        tenant,
        id,
        userid: fields.get("userid"),
        room: fields.get("room_id"),
        socket_id: fields.get("socket_id"),
    };
    if id.is_none() && question.room.is_empty() && !question.is_personal() {
        return Err(wrong(NO_QUESTION));
    }
    if !question.socket_id.is_empty() && state.find_name(question.socket_id).is_none() {
        return Err(wrong(WRONG_SESSION));
    }
    let explanation = cx.hub.explain(&question, language);
    Ok(Reply::json(200, json(&explanation, language, cx.now).into_bytes()))
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
