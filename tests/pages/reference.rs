//! docs/protocol.md, docs/configuration.md and docs/troubleshooting.md are held to the program: keys, ranges, limits,
//! paths, signatures, and every text that a refusal, a close or an error has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use relay::{
    http,
    sign::{Subject, to_hex},
};

use crate::support::{KEY, Relay, TOKEN, temp_file};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The part of a page below a heading, up to the next heading of that or a higher level.
fn section<'p>(page: &'p str, heading: &str) -> &'p str {
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let begin = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rest = &page[begin + heading.len() + 2..];
    let ends = |line: &str| {
        let depth = line.bytes().take_while(|byte| *byte == b'#').count();
        (1..=level).contains(&depth) && line[depth..].starts_with(' ')
    };
    let mut length = 0;
    for line in rest.split_inclusive('\n') {
        if ends(line) {
            break;
        }
        length += line.len();
    }
    &rest[..length]
}

/// The rows of all tables in a text, as trimmed cells, without heads and rules.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with("| ") && !is_head {
            let inside = line.trim_start_matches('|').trim_end_matches('|');
            found.push(inside.split('|').map(str::trim).collect());
        }
    }
    found
}

/// What stands in backticks in a cell.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// All sources, as one text in which string literals stand as they are printed.
fn sources() -> String {
    fn collect(folder: &Path, into: &mut String) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                *into += &fs::read_to_string(&path).unwrap();
            }
        }
    }
    let mut all = String::new();
    collect(&root().join("src"), &mut all);
    // A backslash at the end of a line swallows the next line's indentation.
    let mut parts = all.split("\\\n");
    let mut joined = parts.next().unwrap_or_default().to_owned();
    parts.for_each(|part| joined += part.trim_start());
    joined.replace("\\\"", "\"").replace("{{", "{").replace("}}", "}")
}

fn check(configuration: &str) -> String {
    let file = temp_file("reference.toml");
    fs::write(&file, configuration).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_relay")).args(["check", "--config"]).arg(&file).output().unwrap();
    fs::remove_file(file).unwrap();
    String::from_utf8(run.stderr).unwrap()
}

/// Rows of docs/configuration.md that are about keys: key, type, unit, default, range, SIGHUP, effect.
fn keys(page: &str) -> Vec<Vec<&str>> {
    let found: Vec<_> = rows(page).into_iter().filter(|row| row.len() == 7).collect();
    assert!(found.len() > 60, "{} rows", found.len());
    found
}

/// The program lists the keys of a section when it meets one it does not know: the page has these and no others.
#[test]
fn every_key_has_a_row() {
    let page = read("docs/configuration.md");
    let documented: BTreeSet<String> = keys(&page).iter().map(|row| codes(row[0])[0].to_owned()).collect();
    let unknown = "a_key_that_is_far_from_all";
    let sections = [
        ("", "", unknown.to_owned()),
        ("sources.NAME.", "[sources.a]\nsign_key = \"k\"", "sources.a.".to_owned() + unknown),
        ("websocket.", "[websocket]", "websocket.".to_owned() + unknown),
        ("socketio.", "[socketio]", "socketio.".to_owned() + unknown),
        ("limits.", "[limits]", "limits.".to_owned() + unknown),
        ("log.", "[log]", "log.".to_owned() + unknown),
        ("message_log.", "[message_log]", "message_log.".to_owned() + unknown),
        ("history.", "[history]", "history.".to_owned() + unknown),
        ("rooms.", "[[history.rooms]]", "history.rooms.".to_owned() + unknown),
        ("recovery.", "[recovery]", "recovery.".to_owned() + unknown),
        ("presence.", "[presence]", "presence.".to_owned() + unknown),
        ("admin.", "[admin]", "admin.".to_owned() + unknown),
        ("namespaces.NAME.", "[namespaces.\"/a\"]", "namespaces./a.".to_owned() + unknown),
        ("rules.", "[[namespaces.\"/a\".rules]]\nevent = \"e\"", "namespaces./a.rules.".to_owned() + unknown),
        ("hooks.", "[hooks]", "hooks.".to_owned() + unknown),
        ("redis.", "[redis]", "redis.".to_owned() + unknown),
        ("tls.", "[tls]", "tls.".to_owned() + unknown),
        ("certificates.", "[[tls.certificates]]", "tls.certificates.".to_owned() + unknown),
    ];
    let tables = sections[1..].iter().map(|(prefix, ..)| prefix.split('.').next().unwrap()).collect::<BTreeSet<_>>();
    let mut known = BTreeSet::new();
    for (prefix, text, key) in &sections {
        let said = check(&format!("{text}\n{unknown} = 1\n"));
        let line = said.lines().find(|line| line.contains(&format!("unknown key {key}: known keys are ")));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        let names = line.split("known keys are ").nth(1).unwrap().split(", ");
        known.extend(
            names.filter(|name| !prefix.is_empty() || !tables.contains(name)).map(|name| format!("{prefix}{name}")),
        );
    }
    assert_eq!(documented, known);
    // relay.toml(5) is made from the page: it describes each key, too.
    let run = Command::new(env!("CARGO_BIN_EXE_relay")).args(["man", "relay.toml"]).output().unwrap();
    let manual = String::from_utf8(run.stdout).unwrap();
    let items = manual.split("\n.TP\n\\fB").skip(1).map(|item| item.split("\\fR").next().unwrap().to_owned());
    let items: BTreeSet<String> = items.collect();
    let missing: Vec<_> = known.difference(&items).collect();
    assert!(missing.is_empty(), "relay.toml(5) does not describe {missing:?}");
}

/// Each key that etc/relay.toml has commented out stands here with the same default, and the other way round.
#[test]
fn defaults_are_those_of_the_shipped_file() {
    let (page, shipped) = (read("docs/configuration.md"), read("etc/relay.toml"));
    let (mut prefix, mut in_file) = (String::new(), BTreeSet::new());
    for line in shipped.lines() {
        if let Some(name) = line.strip_prefix('[') {
            prefix = format!("{}.", name.trim_end_matches(']')).replace("\"/\"", "NAME");
        } else if let Some((key, default)) = line.strip_prefix('#').and_then(|line| line.split_once(" = "))
            && key.starts_with(|c: char| c.is_ascii_lowercase())
        {
            in_file.insert((format!("{prefix}{key}"), default.to_owned()));
        }
    }
    let mut on_page = BTreeSet::new();
    for row in keys(&page) {
        let (key, default) = (codes(row[0])[0], codes(row[3]));
        let name = key.rsplit('.').next().unwrap();
        match (default.as_slice(), key.split('.').next().unwrap()) {
            // Of tables that have no defaults the file has an example of each key.
            (_, "sources" | "rules" | "certificates" | "rooms") | ([], _) => {
                let shown = [format!("#   {name} = "), format!("#   {name}_file = "), format!("#   {key} = ")];
                let shown = shown.iter().any(|example| shipped.contains(example));
                assert!(
                    shown || name == "source" || shipped.contains(&format!(".{name}]]")),
                    "etc/relay.toml has no {key}"
                );
            }
            ([default], "namespaces") if name != "auth" => {
                assert!(shipped.contains(&format!("#   {name} = ")) || *default == "[]", "etc/relay.toml has no {key}");
            }
            // A secret has an example of its file.
            ([default], _) if *default == "\"\"" && shipped.contains(&format!("#   {name}_file = ")) => {
                on_page.extend(in_file.get(&(key.to_owned(), "\"\"".to_owned())).cloned());
            }
            ([default], _) => drop(on_page.insert((key.to_owned(), (*default).to_owned()))),
            _ => panic!("two defaults of {key}"),
        }
    }
    assert_eq!(on_page, in_file);
}

/// A wrong value makes the program say the unit and the range.
#[test]
fn ranges_and_units_are_those_of_the_program() {
    let page = read("docs/configuration.md");
    let numbers: Vec<_> = keys(&page).into_iter().filter(|row| ["integer", "number"].contains(&row[1])).collect();
    assert!(numbers.len() > 25);
    for row in numbers {
        let key = codes(row[0])[0];
        let (table, name) =
            key.rsplit_once('.').map_or((String::new(), key), |(table, name)| (format!("[{table}]"), name));
        let table = if table == "[rooms]" { "[[history.rooms]]".into() } else { table };
        let said = check(&format!("{table}\n{name} = \"x\"\n"));
        let unit =
            if row[1] == "integer" { format!("a whole number of {}", row[2]) } else { "a number of seconds".into() };
        let (range, zero) = row[4]
            .split_once(", 0: ")
            .map_or((row[4], String::new()), |(range, zero)| (range, format!(", or 0 for {zero}")));
        let (low, high) = range.split_once(" to ").unwrap();
        let wanted = format!("{key} must be {unit} from {low} to {high}{zero}, not \"x\"");
        assert!(said.contains(&wanted), "{wanted:?} is not in {said:?}");
        let unit_of_seconds = row[1] != "number" || row[2] == "seconds";
        assert!(unit_of_seconds, "{key}");
    }
}

/// Keys marked "restart" are those that a reload complains about; it complains about no other.
#[test]
fn what_a_reload_applies() {
    let page = read("docs/configuration.md");
    let waiting: BTreeSet<&str> =
        keys(&page).iter().filter(|row| row[5] == "restart").map(|row| codes(row[0])[0]).collect();
    assert_eq!(waiting, BTreeSet::from(["admin.listen", "listen"]));
    assert!(keys(&page).iter().all(|row| ["yes", "restart"].contains(&row[5])));

    let relay = Relay::start("");
    let script = temp_file("client.js");
    fs::write(&script, "//").unwrap();
    let mut text = format!(
        "listen = [\"127.0.0.1:1\"]\norigins = [\"https://a\"]\ntrusted_proxies = [\"unix\"]\nsign_window = 9\n\
         shutdown_timeout = 1\n[sources.new]\nsign_key = \"k\"\n[admin]\ntoken = \"another\"\n[message_log]\ndir = \"{}\"\n\
         [log]\nlevel = \"debug\"\n[websocket]\npath = \"/other\"\n[socketio]\npath = \"/io\"\nclient_js = \"{}\"\n",
        temp_file("log").display(),
        script.display()
    );
    // One number of each section at another value.
    text +=
        "max_payload = 5000\n[limits]\nbody = 5000\nkeep_alive = 5\n[hooks]\ntimeout = 1\n[redis]\nbuffer_age = 1\n";
    fs::write(&relay.config, text).unwrap();
    relay.signal(1);
    relay.wait_log("configuration re-read");
    let log = relay.log();
    let said: BTreeSet<&str> = log
        .iter()
        .filter_map(|line| line.split_once(" changed: it takes effect after a restart"))
        .map(|(before, _)| before.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(said, BTreeSet::from(["listen"]));
    fs::remove_file(script).unwrap();
}

#[test]
fn limits() {
    let page = read("docs/protocol.md");
    let section = section(&page, "## 15 Limits");
    let table: Vec<_> = rows(section).into_iter().filter(|row| row.len() == 5).collect();
    assert_eq!(table.len(), relay::limits::TABLE.len());
    for (limit, row) in relay::limits::TABLE.iter().zip(table) {
        let scale = if limit.is_duration() { 1000.0 } else { 1.0 };
        let shown = |number: u64| (number as f64 / scale).to_string();
        let zero = limit.zero.map_or_else(String::new, |meaning| format!(", 0: {meaning}"));
        let range = format!("{} to {}{zero}", shown(limit.range.0), shown(limit.range.1));
        assert_eq!(row, [&format!("`{}`", limit.key), &shown(limit.default), limit.unit, limit.effect, &range]);
    }
}

/// Each documented path is there and takes the documented methods only, and each path in the code is documented.
#[test]
fn paths() {
    let (script, folder) = (temp_file("bundle.js"), temp_file("log"));
    fs::write(&script, "//").unwrap();
    let relay = Relay::start(&format!(
        "[socketio]\nclient_js = \"{}\"\n[message_log]\ndir = \"{}\"\n",
        script.display(),
        folder.display()
    ));
    let authorization = format!("Bearer {TOKEN}");
    let page = read("docs/protocol.md");
    let mut documented = BTreeSet::new();
    for row in rows(section(&page, "### 2.2 Paths")) {
        for path in codes(row[0]) {
            documented.insert(path.trim_end_matches('/').to_owned());
            let engine = path == "/socket.io/";
            for method in ["GET", "POST", "PUT"] {
                let headers = [("Authorization", authorization.as_str())];
                let status = relay.request(method, path, &headers, b"").status;
                let taken = row[1].split(", ").any(|documented| documented == method);
                match taken || engine {
                    true => assert!(![404, 405].contains(&status), "{method} {path}: {status}"),
                    // A WebSocket is asked for before its method is looked at.
                    false => assert!([405, 426].contains(&status), "{method} {path}: {status}"),
                }
            }
            let allow = relay.request("OPTIONS", path, &[], b"").header("allow").to_owned();
            let wanted = row[1].split(", ").all(|method| allow.contains(method)) || path == "/ws";
            assert!(wanted, "OPTIONS {path}: {allow:?}");
        }
    }
    let mut seen = 0;
    for file in fs::read_dir(root().join("src/api")).unwrap().map(Result::unwrap) {
        let text = fs::read_to_string(file.path()).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for literal in code.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/') && text.len() > 1) {
            let is_path = literal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
            if is_path
                && !literal.starts_with("/demo/")
                && !literal.starts_with("/console/")
                && literal != "/socket.io.js"
            {
                seen += 1;
                assert!(documented.contains(literal), "docs/protocol.md has no path {literal}");
            }
        }
    }
    assert!(seen > 25, "the paths are not found any more");
    drop(relay);
    fs::remove_file(script).unwrap();
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn signatures() {
    let page = read("docs/protocol.md");
    let table: Vec<_> = rows(section(&page, "## 9 Signatures")).into_iter().filter(|row| row.len() == 4).collect();
    let signature = |what: &str, scheme: &str| {
        let row = table.iter().find(|row| row[0] == what && row[1] == scheme);
        codes(row.unwrap_or_else(|| panic!("no vector of {what} with {scheme}"))[3])[0]
    };
    let (source, ts) = ("demo", "1700000000");
    let subjects = [
        ("login", Subject::Connect { source, userid: "7", room_ids: "chat_room" }),
        ("notification", Subject::Notify { source, room_id: "chat_room", data: b"hello" }),
        ("emit", Subject::Emit { source, nsp: "/", kind: "room_id", to: "chat_room", event: "news", data: b"hello" }),
    ];
    assert!(section(&page, "## 9 Signatures").contains(KEY));
    for (what, subject) in subjects {
        assert_eq!(signature(what, "md5"), to_hex(&subject.md5(KEY.as_bytes())));
        assert_eq!(signature(what, "hmac-sha256"), to_hex(&subject.hmac(KEY.as_bytes(), ts)));
    }
}

/// A text with the parts that are filled in as `…`.
fn blanked(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        out += before;
        out.push('…');
        rest = behind.split_once('}').map_or("", |(_, rest)| rest);
    }
    out + rest
}

/// Every text that a refusal can have is in the troubleshooting page, with a cause and a cure.
#[test]
fn refusals() {
    let (source, page) = (read("src/state/refusal.rs"), read("docs/troubleshooting.md"));
    let known: BTreeSet<&str> =
        rows(&page).iter().flat_map(|row| row.iter().take(2)).flat_map(|cell| codes(cell)).collect();
    let mut seen = 0;
    let body =
        source.split("pub fn words(self, language: Language) -> Cow<'static, str> {").nth(1).expect("Refusal::words");
    let body = body.split("language.pick(").next().unwrap();
    for (_, arm) in body.match_indices("Refusal::").filter_map(|(at, _)| body[at..].split_once("=>")) {
        let text = arm.split('"').nth(1).unwrap();
        seen += 1;
        assert!(known.contains(blanked(text).as_str()), "docs/troubleshooting.md has no row for {text:?}");
    }
    assert!(seen >= 24, "the refusals are not found any more");
}

/// What the troubleshooting page quotes is what the program prints.
#[test]
fn quoted_texts_are_in_the_code() {
    // Some texts are put together from two.
    let sources = sources() + &check("[log]\nlevel = \"loud\"\n");
    let page = read("docs/troubleshooting.md");
    let mut seen = 0;
    for heading in [
        "## Refusals",
        "## HTTP answers",
        "## Close codes",
        "## Configuration errors",
        "## Log lines",
        "## Protocol errors",
        "## Command line",
    ] {
        for row in rows(section(&page, heading)) {
            let cell = if row[0].starts_with('`') { row[0] } else { row[1] };
            for text in codes(cell) {
                for part in text.split('…').map(str::trim).filter(|part| !part.is_empty()) {
                    seen += 1;
                    assert!(sources.contains(part), "nothing prints {part:?}, which docs/troubleshooting.md quotes");
                }
            }
            assert!(row.iter().filter(|cell| !cell.is_empty()).count() + 1 >= row.len(), "{row:?}");
        }
    }
    assert!(seen > 120, "{seen}");
}

/// Every reason for the refusal of a signature is in the reference.
#[test]
fn reasons() {
    use relay::sign::{Scheme as Kind, SignError::*};
    let page = read("docs/protocol.md");
    let table = rows(section(&page, "### 9.4 Why a signature is refused"));
    let errors = [
        Scheme,
        NotAccepted(Kind::Md5),
        TsMissing,
        TsFormat,
        TsUnit,
        TsOff { seconds: -900, window: 300 },
        Digits(Kind::Md5),
        Mismatch,
        ExpFormat,
        RoFormat,
        Expired { seconds: 60 },
    ];
    let texts = errors.iter().map(ToString::to_string).chain(relay::state::Refusal::Replayed.reason());
    let texts: Vec<_> = texts.collect();
    assert_eq!(table.iter().map(|row| codes(row[0])[0]).collect::<Vec<_>>(), texts);
}

/// Every reason for the refusal of a token is in the reference, and so is the signature of a login that expires.
#[test]
fn tokens() {
    use relay::sign::{Terms, TokenError::*};
    let page = read("docs/protocol.md");
    let table = rows(section(&page, "### 20.5 Why a token is refused"));
    let errors = [
        NotAccepted,
        TooLong,
        Parts,
        Header,
        Algorithm("HS256"),
        Critical,
        KidMissing,
        KidUnknown,
        Signature,
        Claims,
        Missing("exp"),
        Time("exp"),
        Text("sub"),
        Name("sub"),
        Post,
        Rooms,
        Expired { seconds: 60 },
        NotYet { seconds: 60 },
        Audience,
        Issuer,
    ];
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(table.iter().map(|row| codes(row[0])[0]).collect::<Vec<_>>(), texts);
    let subject = Subject::Connect { source: "demo", userid: "7", room_ids: "chat_room" };
    let tail = Terms { exp: "1700003600", ro: "1" }.tail("1700000000").into_owned();
    let sign = to_hex(&subject.hmac(KEY.as_bytes(), &tail));
    assert!(section(&page, "### 20.3 exp and ro of a signature").contains(&format!("`{sign}`")));
}

/// The code and the reason in each row of a table of close codes. A reason is in backticks, or `empty`.
fn closes<'p>(rows: &[Vec<&'p str>]) -> BTreeSet<(&'p str, &'p str)> {
    assert!(rows.iter().all(|row| row.iter().all(|cell| !cell.is_empty())), "{rows:?}");
    rows.iter().map(|row| (row[0], codes(row[1]).first().copied().unwrap_or_default())).collect()
}

/// The tables of close codes have the codes and reasons of the program, and no others.
#[test]
fn close_codes() {
    let (source, protocol, page) =
        (read("src/websocket/close.rs"), read("docs/protocol.md"), read("docs/troubleshooting.md"));
    let table = rows(section(&protocol, "### 5.5 Close codes"));
    let trouble = rows(section(&page, "## Close codes"));
    let page = read("docs/clients.md");
    let clients = rows(section(&page, "### Close codes"));
    let mut known = BTreeSet::new();
    // Lines such as `SLOW = 1013, "slow consumer", "…";`.
    let (_, list) = source.split_once("\ncloses! {\n").unwrap();
    for line in list.lines().take_while(|line| *line != "}").filter(|line| !line.trim_start().starts_with("///")) {
        let (_, close) = line.split_once(" = ").unwrap();
        let (code, reason) = close.split_once(", \"").unwrap();
        known.insert((code, reason.split('"').next().unwrap()));
    }
    assert!(known.len() >= 10, "{known:?}");
    assert_eq!(closes(&table), known);
    // Browsers report 1006 without a close frame.
    assert_eq!(closes(&clients), &known | &BTreeSet::from([("1006", "")]));
    // Nobody looks for an empty reason.
    known.retain(|(_, reason)| !reason.is_empty());
    assert_eq!(closes(&trouble), known);
}

#[test]
fn http_errors() {
    use http::Error::*;
    let page = read("docs/protocol.md");
    let table = rows(section(&page, "### 2.3 Status codes"));
    let errors = [
        BodyTooLarge,
        TooManyFromAddress,
        ExpectationFailed,
        HeadTooLarge,
        LengthRequired,
        NotImplemented,
        Timeout,
        Unavailable,
        VersionNotSupported,
    ];
    for error in errors {
        let status = error.status().to_string();
        let there = table.iter().any(|row| row[0] == status && codes(row[1]).contains(&error.to_string().as_str()));
        assert!(there, "{status} {:?}", error.to_string().as_str());
    }
}

/// Links between these pages lead to headings that exist, and what is shown as JSON is JSON.
#[test]
fn links_and_examples() {
    let pages = ["protocol.md", "configuration.md", "troubleshooting.md", "migration.md"];
    let anchors = |page: &str| -> BTreeSet<String> {
        let mut fenced = false;
        let text = read(&format!("docs/{page}"));
        let mut found = BTreeSet::new();
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            if let Some(title) = line.strip_prefix('#').filter(|_| !fenced) {
                let title = title.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
                found.insert(title.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect());
            }
        }
        found
    };
    for page in pages {
        let text = read(&format!("docs/{page}"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page } else { file };
            if pages.contains(&file) && !anchor.is_empty() {
                assert!(anchors(file).contains(anchor), "docs/{page} links to {target}");
            }
        }
        for json in text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            assert!(serde_json::from_str::<serde_json::Value>(json).is_ok(), "docs/{page}: {json}");
        }
        assert!(
            text.lines().nth(2).is_some_and(|line| line.starts_with("After reading this page you can")),
            "docs/{page}"
        );
    }
}
