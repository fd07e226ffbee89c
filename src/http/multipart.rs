//! Forms in the encoding `multipart/form-data` (RFC 7578, RFC 2046 section 5.1): an array in PHP's `CURLOPT_POSTFIELDS`,
//! `curl -F`, `FormData` in browsers, `MultipartFormDataContent` of .NET.
//!
//! The parser is strict: a body that two parsers could read differently is refused. Files are refused, because relay has no
//! use for them.

use core::{error, fmt};
use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::{
    fields::Fields,
    parameters::{Parameter, Parameters, is_utf8},
};

/// Why a body is refused. `Display` says what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The boundary is missing, longer than 70 characters, or has other characters than RFC 2046 allows.
    Boundary,
    /// The body does not begin with the boundary.
    Begin,
    /// The line of a boundary has something else.
    Delimiter,
    /// The body ends before the closing boundary.
    Incomplete,
    /// Something follows the closing boundary.
    Surplus,
    /// There are more than [`MAX_PARTS`] parts.
    TooManyParts,
    /// The headers of a part have more than [`MAX_HEADERS`] bytes.
    HeadersTooLarge,
    /// A line of a part's headers is not `name: value` and CR LF.
    Header,
    /// A part has no `Content-Disposition: form-data` with a name, or several.
    Disposition,
    /// A part is a file.
    File,
    /// A part has another `Content-Transfer-Encoding` than `7bit`, `8bit` or `binary` (RFC 7578 section 4.7).
    TransferEncoding,
    /// A part has another charset than UTF-8.
    Charset,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Boundary => "multipart/form-data needs a boundary of 1 to 70 characters",
            Malformed::Begin => "a multipart body must begin with its boundary",
            Malformed::Delimiter => "nothing may follow a boundary in its line",
            Malformed::Incomplete => "the multipart body ends before its closing boundary",
            Malformed::Surplus => "nothing may follow the closing boundary of a multipart body",
            Malformed::TooManyParts => return write!(f, "a multipart body has at most {MAX_PARTS} parts"),
            Malformed::HeadersTooLarge => return write!(f, "the headers of a part have at most {MAX_HEADERS} bytes"),
            Malformed::Header => "malformed header of a part",
            Malformed::Disposition => "a part needs one Content-Disposition: form-data with one name",
            Malformed::File => "a part is a file: send its text as a field, without a file name",
            Malformed::TransferEncoding => "the Content-Transfer-Encoding of a part must be 7bit, 8bit or binary",
            Malformed::Charset => "the charset of a part must be UTF-8",
        })
    }
}

impl error::Error for Malformed {}

/// Decodes a whole body. Values borrow from it. U+FFFD replaces bytes that are not UTF-8, as in other forms.
pub fn parse<'a>(boundary: &str, body: &'a [u8]) -> Result<Fields<'a>, Malformed> {
    if !is_boundary(boundary) {
        return Err(Malformed::Boundary);
    }
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    let first = &delimiter.as_bytes()[2..];
    let mut rest = body.strip_prefix(b"\r\n").unwrap_or(body).strip_prefix(first).ok_or(match body.len() {
        length if length < first.len() => Malformed::Incomplete,
        _ => Malformed::Begin,
    })?;
    let (mut pairs, mut parts) = (Vec::new(), 0);
    loop {
        if let Some(behind) = rest.strip_prefix(b"--") {
            return match behind.trim_ascii().is_empty() {
                true => Ok(pairs.into_iter().collect()),
                false => Err(Malformed::Surplus),
            };
        }
        rest = match skip_padding(rest) {
            [b'\r', b'\n', behind @ ..] => behind,
            [] | [b'\r'] | [b'-'] => return Err(Malformed::Incomplete),
            _ => return Err(Malformed::Delimiter),
        };
        parts += 1;
        if parts > MAX_PARTS {
            return Err(Malformed::TooManyParts);
        }
        let part = Part::parse(&mut rest)?;
        // The line end of a delimiter may be that of the empty line before it (RFC 2046 section 5.1.1): readers differ.
        if rest.starts_with(&delimiter.as_bytes()[2..]) {
            return Err(Malformed::Delimiter);
        }
        let end = finder.find(rest).ok_or(Malformed::Incomplete)?;
        let value = &rest[..end];
        rest = &rest[end + delimiter.len()..];
        match part.file {
            None => pairs.push((part.name, String::from_utf8_lossy(value))),
            // A file input of a page in which nothing was chosen.
            Some(file) if file.is_empty() && value.is_empty() => {}
            Some(_) => return Err(Malformed::File),
        }
    }
}

/// The headers of a part.
struct Part<'a> {
    name: Cow<'a, str>,
    file: Option<String>,
}

impl<'a> Part<'a> {
    /// Parses the headers at the start of `rest`, and advances it past the empty line that ends them.
    fn parse(rest: &mut &'a [u8]) -> Result<Part<'a>, Malformed> {
        let (mut disposition, mut size) = (None, 0);
        loop {
            let within = &rest[..rest.len().min(MAX_HEADERS - size)];
            let Some(end) = memchr(b'\n', within) else {
                return Err(if within.len() < rest.len() { Malformed::HeadersTooLarge } else { Malformed::Incomplete });
            };
            let line = rest[..end].strip_suffix(b"\r").ok_or(Malformed::Header)?;
            *rest = &rest[end + 1..];
            size += end + 1;
            if line.is_empty() {
                return disposition.ok_or(Malformed::Disposition);
            }
            let colon = memchr(b':', line).ok_or(Malformed::Header)?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            let is_name = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
            if !is_name || value.iter().any(|byte| matches!(byte, 0 | b'\r')) {
                return Err(Malformed::Header);
            }
            let value = String::from_utf8_lossy(value.trim_ascii());
            if name.eq_ignore_ascii_case(b"content-disposition") {
                if disposition.replace(Part::from_disposition(&value)?).is_some() {
                    return Err(Malformed::Disposition);
                }
            } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
                if !["7bit", "8bit", "binary"].iter().any(|known| value.eq_ignore_ascii_case(known)) {
                    return Err(Malformed::TransferEncoding);
                }
            } else if name.eq_ignore_ascii_case(b"content-type") {
                let charset = parameters(&value).ok_or(Malformed::Header)?.1;
                let charset = charset.iter().find(|(name, _)| name.eq_ignore_ascii_case("charset"));
                if charset.is_some_and(|(_, charset)| !is_utf8(charset)) {
                    return Err(Malformed::Charset);
                }
            }
        }
    }

    /// Reads the value of `Content-Disposition` (RFC 7578 section 4.2).
    fn from_disposition(value: &str) -> Result<Part<'a>, Malformed> {
        let (kind, parameters) = parameters(value).ok_or(Malformed::Disposition)?;
        let (mut name, mut file) = (None, None);
        for (parameter, value) in parameters {
            let again = match () {
                () if parameter.eq_ignore_ascii_case("name") => name.replace(value).is_some(),
                () if parameter.eq_ignore_ascii_case("filename") => file.replace(value).is_some(),
                // RFC 7578 section 4.2 forbids it, but some send it: a file all the same.
                () if parameter.eq_ignore_ascii_case("filename*") => return Err(Malformed::File),
                () => parameter.eq_ignore_ascii_case("name*"),
            };
            if again {
                return Err(Malformed::Disposition);
            }
        }
        let name = name.filter(|_| kind.eq_ignore_ascii_case("form-data")).ok_or(Malformed::Disposition)?;
        // The escapes of browsers and curl (HTML standard, multipart/form-data encoding algorithm).
        let name = name.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
        Ok(Part { name: name.into(), file: file.map(Cow::into_owned) })
    }
}

/// The value of a header and its parameters. `None` if one is malformed.
fn parameters(header: &str) -> Option<(&str, Vec<Parameter<'_>>)> {
    let (value, parameters) = Parameters::split(header);
    Some((value, parameters.collect::<Option<_>>()?))
}

/// Whether this can be a boundary (RFC 2046 section 5.1.1).
fn is_boundary(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    (1..=70).contains(&text.len()) && text.bytes().all(is_char) && !text.ends_with(' ')
}

/// What follows spaces and tabs after a boundary (RFC 2046: transport padding).
fn skip_padding(line: &[u8]) -> &[u8] {
    &line[line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()..]
}

/// The most parts.
pub const MAX_PARTS: usize = 1000;
/// Bytes of the headers of a part.
pub const MAX_HEADERS: usize = 4096;

#[cfg(test)]
mod tests;
