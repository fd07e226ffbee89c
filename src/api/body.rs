//! Bodies of requests of backends: forms and JSON, and their fields (docs/protocol.md, Notifications).

use core::{error, fmt};
use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::{
    http::{
        Error, Fields, Framing, Reply, Request, multipart,
        parameters::{Parameters, is_utf8},
    },
    json::{quote, string},
    text::without_bom,
};

/// A request body of one of the accepted media types.
pub enum Body<'a> {
    /// A form.
    Form(Form<'a>),
    /// `application/json`
    Json(&'a str),
}

/// A form in one of its two encodings. Fields are large, so those of usual forms are decoded where they are used.
pub enum Form<'a> {
    /// `application/x-www-form-urlencoded`
    UrlEncoded(&'a [u8]),
    /// `multipart/form-data`
    Multipart(Box<Fields<'a>>),
}

impl<'a> Form<'a> {
    /// The decoded fields.
    pub fn fields(self) -> Fields<'a> {
        match self {
            Form::UrlEncoded(bytes) => Fields::parse(bytes),
            Form::Multipart(fields) => *fields,
        }
    }
}

/// The body of a request. Errors: 411 without a length, 415 for another media type, charset or content coding.
pub fn body<'a>(request: &Request<'a>) -> Result<Body<'a>, Reply> {
    if request.head.framing == Framing::Absent {
        return Err(Error::LengthRequired.into());
    }
    let (media_type, parameters) = Parameters::split(request.head.content_type);
    let utf8 = parameters.get("charset").is_none_or(|charset| is_utf8(&charset));
    let plain = matches!(request.head.content_encoding, "" | "identity");
    if !utf8 || !plain {
        return Err(Reply::refusal(415, "the body must be UTF-8 without a content coding"));
    }
    let bytes = without_bom(request.body);
    // Compare exactly first: a case-insensitive comparison alone would cost 5 % of a notification.
    let is = |name: &str| media_type == name || media_type.eq_ignore_ascii_case(name);
    match () {
        () if is("application/x-www-form-urlencoded") => Ok(Body::Form(Form::UrlEncoded(bytes))),
        () if is("application/json") => match core::str::from_utf8(bytes) {
            Ok(text) => Ok(Body::Json(text)),
            Err(_) => Err(Reply::refusal(400, "JSON must be UTF-8")),
        },
        () if is("multipart/form-data") => {
            match multipart::parse(&parameters.get("boundary").unwrap_or_default(), bytes) {
                Ok(fields) => Ok(Body::Form(Form::Multipart(fields.into()))),
                Err(error) => Err(Reply::refusal(400, &error.to_string())),
            }
        }
        () => Err(Reply::refusal(415, WRONG_TYPE)),
    }
}

/// Why the fields of a request are refused. `Display` is the `msg` of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// A form repeats a field other than `room_id`.
    Repeated,
    /// A field is neither a string nor a number.
    NotText,
    /// The notification is not a JSON object.
    NotObject,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FieldError::Repeated => "a field is given twice",
            FieldError::NotText => "fields other than data and args must be strings or numbers",
            FieldError::NotObject => "a notification is a JSON object",
        })
    }
}

impl FieldError {
    /// The result of an item of a batch.
    pub fn json(self) -> String {
        format!("{{\"code\":0,\"msg\":{},\"data\":\"\"}}", quote(&self.to_string()))
    }
}

impl error::Error for FieldError {}

impl From<FieldError> for Reply {
    fn from(error: FieldError) -> Reply {
        Reply::refusal(400, &error.to_string())
    }
}

/// The value of a JSON string, the text of a number, or an empty string for null. Other values are an error.
pub fn text_or_number(raw: &RawValue) -> Result<Cow<'_, str>, FieldError> {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'"') => string(text).ok_or(FieldError::NotText),
        Some(b'-' | b'0'..=b'9') => Ok(text.into()),
        Some(b'n') => Ok("".into()),
        _ => Err(FieldError::NotText),
    }
}

const WRONG_TYPE: &str = "the body must be application/x-www-form-urlencoded, multipart/form-data or application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_see_these_texts() {
        for (error, text) in [
            (FieldError::Repeated, "a field is given twice"),
            (FieldError::NotText, "fields other than data and args must be strings or numbers"),
            (FieldError::NotObject, "a notification is a JSON object"),
        ] {
            let reply = Reply::from(error);
            let body = format!("{{\"code\":0,\"msg\":\"{text}\",\"data\":\"\"}}");
            assert_eq!((reply.status, &*reply.body), (400, body.as_bytes()));
        }
        let raw = |json: &'static str| serde_json::from_str::<&RawValue>(json).expect("valid JSON");
        assert_eq!(text_or_number(raw("[1]")), Err(FieldError::NotText));
        assert_eq!(text_or_number(raw("-1.5")), Ok("-1.5".into()));
    }
}
