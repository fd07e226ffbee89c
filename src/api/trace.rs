//! `GET /api/trace` and `POST /api/trace`: what is logged in detail for a while (docs/protocol.md, Traces).

use super::{context::Context, control::Params};
use crate::{
    config::Network,
    http::{Head, Reply, Request},
    hub::login::MAX_NAME_LEN,
    json::ObjectWriter,
    trace::{self, Subject, Trace, parse_time},
};

/// `GET /api/trace`: the traces that are on.
pub fn list(_: &Head<'_>, cx: &Context<'_>) -> Reply {
    let mut body = b"{\"code\":1,\"msg\":\"\",\"data\":{\"traces\":[".to_vec();
    for (index, trace) in cx.hub.state.traces.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        describe(&mut body, trace, cx);
    }
    body.extend_from_slice(b"]}}");
    Reply::json(200, body).with("Cache-Control", "no-store")
}

/// `POST /api/trace`: begins a trace (`source`, `userid`, `address`, `for`), or ends one or all (`stop`).
pub fn change(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
    let params = Params::read(request, cx, &["source", "userid", "address", "for", "stop"])?;
    let wrong = |why: &str| Reply::refusal(400, why);
    let subject = Subject {
        source: params.get("source").map(Into::into),
        userid: params.get("userid").map(Into::into),
        network: params.get("address").map(network).transpose()?,
    };
    if let Some(stop) = params.get("stop") {
        if !subject.is_empty() || params.get("for").is_some() {
            return Err(wrong(STOP_ALONE));
        }
        let number = match stop {
            "all" => None,
            number => Some(number.parse().map_err(|_| wrong(WRONG_STOP))?),
        };
        let stopped = cx.hub.state.traces.stop(number);
        if stopped == 0 && number.is_some() {
            return Err(Reply::refusal(404, UNKNOWN));
        }
        let body = format!("{{\"code\":1,\"msg\":\"\",\"data\":{{\"stopped\":{stopped}}}}}");
        return Ok(Reply::json(200, body.into_bytes()).with("Cache-Control", "no-store"));
    }
    if subject.is_empty() {
        return Err(wrong(NO_SUBJECT));
    }
    let is_long = |text: &Option<Box<str>>| text.as_ref().is_some_and(|text| text.len() > MAX_NAME_LEN);
    if is_long(&subject.source) || is_long(&subject.userid) {
        return Err(wrong(TOO_LONG));
    }
    if let Some(source) = &subject.source
        && cx.hub.state.known_tenant(source).is_none()
    {
        return Err(Reply::refusal(404, "this source can not be configured!"));
    }
    let time = params.get("for").map_or(Some(trace::USUAL), parse_time).ok_or_else(|| wrong(WRONG_TIME))?;
    let begun = cx.hub.state.traces.begin(subject, time, cx.now.time, cx.now.unix);
    let number = begun.map_err(|_| Reply::refusal(503, TOO_MANY))?;
    let mut body = b"{\"code\":1,\"msg\":\"\",\"data\":".to_vec();
    let begun = cx.hub.state.traces.iter().find(|trace| trace.number == number);
    begun.into_iter().for_each(|trace| describe(&mut body, trace, cx));
    body.push(b'}');
    Ok(Reply::json(200, body).with("Cache-Control", "no-store"))
}

/// The addresses of a field.
fn network(text: &str) -> Result<Network, Reply> {
    match Network::parse(text) {
        Ok(network @ Network::Ip(..)) => Ok(network),
        Ok(Network::Unix) | Err(_) => Err(Reply::refusal(400, WRONG_ADDRESS)),
    }
}

fn describe(out: &mut Vec<u8>, trace: &Trace, cx: &Context<'_>) {
    out.push(b'{');
    let mut object = ObjectWriter::within(out);
    object.display("trace", trace.number);
    object.nonempty("source", trace.subject.source.as_deref().unwrap_or_default());
    object.nonempty("userid", trace.subject.userid.as_deref().unwrap_or_default());
    if let Some(network) = &trace.subject.network {
        object.text("address", &network.to_string());
    }
    object.display("began", trace.began);
    // Rounded up, so that it is not 0 while the trace is on.
    object.display("seconds", trace.until.since(cx.now.time).as_micros().div_ceil(1_000_000));
    object.display("lines", trace.lines);
    object.display("left_out", trace.left_out);
    out.push(b'}');
}

const NO_SUBJECT: &str = "give source, userid or address";
const STOP_ALONE: &str = "give stop alone";
const WRONG_STOP: &str = "stop must be the number of a trace, or all";
const UNKNOWN: &str = "there is no such trace: it has ended";
const WRONG_TIME: &str = "for must be a time from 1s to 1h, such as 30s or 10m";
const WRONG_ADDRESS: &str = "address must be an IP address or a network such as 192.0.2.0/24";
const TOO_LONG: &str = "source and userid have at most 512 bytes";
const TOO_MANY: &str = "8 traces are on, which is the most: stop one";
