//! Bodies of real clients, cut at every byte, and bodies that are refused.

use super::*;

fn read(boundary: &str, body: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
    let fields = parse(boundary, body)?;
    Ok(fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, Malformed> {
    Ok(expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// A boundary, a body, and its fields.
type Example = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// As PHP (libcurl), Chromium and .NET write it, and with all that is allowed.
const CLIENTS: [Example; 4] = [
    (
        "------------------------d74496d66958873e",
        "--------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"source\"\r\n\r\ndemo\r\n\
         --------------------------d74496d66958873e\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nhi\r\n-- 中\r\n\r\n\
         --------------------------d74496d66958873e--\r\n",
        &[("source", "demo"), ("data", "hi\r\n-- 中\r\n")],
    ),
    (
        "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        "------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name=\"a%22%0D%0A\\\"\r\n\r\n\r\n\
         ------WebKitFormBoundary7MA4YWxkTrZu0gW\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n\r\n------WebKitFormBoundary7MA4YWxkTrZu0gW--\r\n",
        &[],
    ),
    (
        "1b2b9a1c-8f0d-4e53",
        "--1b2b9a1c-8f0d-4e53\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=source\r\n\r\n\
         demo\r\n--1b2b9a1c-8f0d-4e53\r\nContent-Disposition: form-data; name=data\r\nContent-Length: 2\r\n\
         content-transfer-encoding: 8BIT\r\n\r\nhi\r\n--1b2b9a1c-8f0d-4e53--\r\n",
        &[("source", "demo"), ("data", "hi")],
    ),
    (
        "b",
        "\r\n--b \t\r\nCONTENT-DISPOSITION: Form-Data; NAME=\"a\\\"b\\\\c\"; x=y;\r\n\r\n--c\r\n--b\r\n\
         Content-Disposition:form-data;name=\"\"\r\n\r\n\r\n--b--",
        &[("a\"b\\c", "--c"), ("", "")],
    ),
];

#[test]
fn bodies_of_real_clients() {
    for (boundary, body, expected) in CLIENTS {
        if boundary.contains("WebKit") {
            // A backslash before the last quotation mark is ambiguous.
            assert_eq!(read(boundary, body.as_bytes()), Err(Malformed::Disposition));
            let fine = body.replace("\\\"\r\n", "\\x\"\r\n");
            assert_eq!(read(boundary, fine.as_bytes()), pairs(&[("a\"\r\n\\x", "")]));
            continue;
        }
        assert_eq!(read(boundary, body.as_bytes()), pairs(expected), "{boundary}");
    }
    assert_eq!(read("b", b"--b--\r\n"), pairs(&[]));
    assert_eq!(
        read("b", b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\xff\r\n--b--"),
        pairs(&[("a", "\u{fffd}")])
    );
}

#[test]
fn a_body_that_is_cut_is_refused() {
    for (boundary, body, _) in CLIENTS {
        for cut in 0..body.trim_end().len() {
            assert!(parse(boundary, &body.as_bytes()[..cut]).is_err(), "{boundary} at {cut}");
        }
    }
    let (boundary, body, _) = CLIENTS[0];
    for cut in 1..body.trim_end().len() {
        let error = read(boundary, &body.as_bytes()[..cut]).unwrap_err();
        assert!(matches!(error, Malformed::Incomplete), "{error} at {cut}");
    }
}

#[test]
fn malformed_bodies_are_refused() {
    let part = |headers: &str| read("b", format!("--b\r\n{headers}\r\n\r\nx\r\n--b--\r\n").as_bytes()).err();
    let form = "Content-Disposition: form-data; name=\"a\"";
    assert_eq!(part(form), None);
    for (headers, error) in [
        ("", Malformed::Disposition),
        ("X: y", Malformed::Disposition),
        ("Content-Disposition: form-data", Malformed::Disposition),
        ("Content-Disposition: attachment; name=\"a\"", Malformed::Disposition),
        ("Content-Disposition: form-data; name=\"a\"; name=\"b\"", Malformed::Disposition),
        ("Content-Disposition: form-data; name=\"a\"b", Malformed::Disposition),
        ("Content-Disposition: form-data; name=\"a", Malformed::Disposition),
        ("Content-Disposition: form-data; name=a b", Malformed::Disposition),
        ("Content-Disposition: form-data; name", Malformed::Disposition),
        ("Content-Disposition: form-data; name*=utf-8''a; name=a", Malformed::Disposition),
        (&format!("{form}\r\n{form}"), Malformed::Disposition),
        (&format!("{form}; filename=\"x.txt\""), Malformed::File),
        (&format!("{form}; filename=\"\""), Malformed::File),
        (&format!("{form}; filename*=utf-8''x"), Malformed::File),
        (&format!("{form}\r\nContent-Transfer-Encoding: base64"), Malformed::TransferEncoding),
        (&format!("{form}\r\nContent-Transfer-Encoding: quoted-printable"), Malformed::TransferEncoding),
        (&format!("{form}\r\nContent-Type: text/plain; charset=gbk"), Malformed::Charset),
        (&format!("{form}\r\nContent-Type: text/plain; charset"), Malformed::Header),
        (&format!("{form}\r\n folded"), Malformed::Header),
        (&format!("{form}\r\nno colon"), Malformed::Header),
        (&format!("{form}\r\nX : y"), Malformed::Header),
        (&format!("{form}\r\n: y"), Malformed::Header),
        (&format!("{form}\nX: y"), Malformed::Header),
        (&format!("{form}\r\nX: a\rb"), Malformed::Header),
        (&format!("{form}\r\nX: a\0b"), Malformed::Header),
        (&format!("{form}\r\nX: {}", "y".repeat(MAX_HEADERS)), Malformed::HeadersTooLarge),
    ] {
        assert_eq!(part(headers), Some(error), "{headers:.200}");
    }
    let body = format!("--b\r\n{form}\r\n\r\nx\r\n--b--\r\n");
    for (body, error) in [
        ("preamble\r\n--b--", Malformed::Begin),
        // The delimiter takes the line end of the empty line (RFC 2046 section 5.1.1): other readers see an empty part.
        (&format!("--b\r\n{form}\r\n\r\n--b\r\n{form}\r\n\r\nx\r\n--b--"), Malformed::Delimiter),
        ("--a--aaaaa", Malformed::Begin),
        ("--bx\r\n", Malformed::Delimiter),
        ("--b\n", Malformed::Delimiter),
        ("--b-\r\n", Malformed::Delimiter),
        (&body.replace("\r\n--b--", "\r\n--bb\r\n--b--"), Malformed::Delimiter),
        (&format!("{body}epilogue"), Malformed::Surplus),
        (&format!("{body}--b--"), Malformed::Surplus),
        (&format!("--b\r\n{form}\r\n\r\n--b--"), Malformed::Delimiter),
    ] {
        assert_eq!(read("b", body.as_bytes()), Err(error), "{body:?}");
    }
    for boundary in ["", "b ", "b\"", "ä", "b\r\nX: y", &"b".repeat(71)] {
        assert_eq!(read(boundary, b"--b--"), Err(Malformed::Boundary), "{boundary:?}");
    }
}

#[test]
fn parts_are_bounded() {
    let body = |parts: usize| "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n".repeat(parts) + "--b--";
    assert_eq!(read("b", body(MAX_PARTS).as_bytes()).unwrap().len(), MAX_PARTS);
    assert_eq!(read("b", body(MAX_PARTS + 1).as_bytes()), Err(Malformed::TooManyParts));
}

/// Each refusal says what is expected.
#[test]
fn texts() {
    assert_eq!(Malformed::TooManyParts.to_string(), "a multipart body has at most 1000 parts");
    assert_eq!(Malformed::HeadersTooLarge.to_string(), "the headers of a part have at most 4096 bytes");
    assert!(Malformed::File.to_string().contains("send its text as a field"));
}
