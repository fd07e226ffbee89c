//! The question for the master at one Sentinel (redis.io, "Guidelines for Redis clients with support for Redis Sentinel").

use super::resp::{self, Reader, Reply};
use crate::config::Sentinels;

/// One question, on a connection of its own.
pub struct SentinelQuery {
    reader: Reader,
    output: Vec<u8>,
    /// Whether the reply to AUTH is still to come.
    authenticating: bool,
    master: String,
}

impl SentinelQuery {
    /// Queues the question, after AUTH if there is a password.
    pub fn new(sentinels: &Sentinels) -> SentinelQuery {
        let mut output = Vec::new();
        if let Some(password) = &sentinels.password {
            let password = password.expose().as_bytes();
            match sentinels.user.as_str() {
                "" => resp::command(&mut output, &[b"AUTH", password]),
                user => resp::command(&mut output, &[b"AUTH", user.as_bytes(), password]),
            }
        }
        resp::command(&mut output, &[b"SENTINEL", b"get-master-addr-by-name", sentinels.master.as_bytes()]);
        SentinelQuery {
            reader: Reader::new(MAX_STRING),
            output,
            authenticating: sentinels.password.is_some(),
            master: sentinels.master.clone(),
        }
    }

    /// The bytes to write.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Reports that `count` bytes of the output were written.
    pub fn advance_output(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// Handles input. Returns the host and port of the master once they are known. Fails with the reason.
    pub fn handle_input(&mut self, mut input: &[u8]) -> Result<Option<(String, u16)>, String> {
        while let Some(reply) = self.reader.poll(&mut input).map_err(|malformed| malformed.to_string())? {
            match reply {
                Reply::Error(why) => return Err(refusal(&why)),
                _ if core::mem::take(&mut self.authenticating) => {}
                Reply::Null => {
                    return Err(format!(
                        "it does not know the master {}: compare 'sentinel monitor' in its configuration",
                        self.master
                    ));
                }
                reply => {
                    let parts = reply.array().unwrap_or_default();
                    let host = parts.first().and_then(Reply::text).filter(|host| is_host(host));
                    let port = parts.get(1).and_then(Reply::integer).and_then(|port| u16::try_from(port).ok());
                    let found = host.map(str::to_owned).zip(port.filter(|port| *port != 0));
                    return found.map(Some).ok_or_else(|| "its answer is not the address of a master".into());
                }
            }
        }
        Ok(None)
    }
}

/// The text of an error reply. An unknown command repeats its arguments, which for AUTH are the password.
fn refusal(why: &str) -> String {
    match why.split(", with args").next().unwrap_or_default() {
        unknown if unknown.contains("unknown command") => {
            "it is not a Sentinel: name the ports of Sentinels in redis+sentinel://, or use redis://".into()
        }
        why => format!("refused: {}: check redis.sentinel_password", why.split(' ').next().unwrap_or_default()),
    }
}

/// Whether a text can be a host name or an IP address.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte))
}

/// The longest string of an answer: a host name has at most 255 bytes.
const MAX_STRING: u64 = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RedisUrl, Secret, Servers};

    fn query(user: &str, password: &str) -> SentinelQuery {
        let Servers::Sentinels(mut sentinels) = RedisUrl::parse("redis+sentinel://a/main").unwrap().servers else {
            panic!("Sentinels");
        };
        sentinels.user = user.into();
        sentinels.password = Some(password).filter(|password| !password.is_empty()).map(|text| Secret(text.into()));
        SentinelQuery::new(&sentinels)
    }

    #[test]
    fn questions() {
        let question = "*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n$4\r\nmain\r\n";
        let sent = |query: SentinelQuery| String::from_utf8(query.output().to_vec()).unwrap();
        assert_eq!(sent(query("", "")), question);
        assert_eq!(sent(query("", "pw")), format!("*2\r\n$4\r\nAUTH\r\n$2\r\npw\r\n{question}"));
        assert!(sent(query("me", "pw")).starts_with("*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n"));
        let mut part = query("", "");
        part.advance_output(4);
        assert_eq!(part.output(), &question.as_bytes()[4..]);
    }

    /// Answers that are cut at every byte.
    #[test]
    fn answers() {
        let address = "*2\r\n$9\r\n192.0.2.7\r\n$4\r\n6379\r\n";
        for (password, text, expected) in [
            ("", address.to_owned(), Ok("192.0.2.7")),
            ("pw", format!("+OK\r\n{address}"), Ok("192.0.2.7")),
            ("", "*-1\r\n".into(), Err("does not know the master main")),
            ("", "$-1\r\n".into(), Err("does not know the master main")),
            ("pw", "-WRONGPASS invalid pw\r\n".into(), Err("refused: WRONGPASS: check redis.sentinel_password")),
            ("", "-NOAUTH x\r\n".into(), Err("refused: NOAUTH")),
            ("", "-ERR unknown command 'SENTINEL', with args beginning with: 'x'\r\n".into(), Err("not a Sentinel")),
            ("", "HTTP/1.1 400\r\n".into(), Err("not a Redis server")),
            ("", "+OK\r\n".into(), Err("not the address")),
            ("", "*2\r\n$1\r\na\r\n$1\r\n0\r\n".into(), Err("not the address")),
            ("", "*2\r\n$1\r\n/\r\n$1\r\n1\r\n".into(), Err("not the address")),
            ("", "*2\r\n$0\r\n\r\n$1\r\n1\r\n".into(), Err("not the address")),
        ] {
            for cut in 0..=text.len() {
                let mut query = query("", password);
                let first = query.handle_input(&text.as_bytes()[..cut]);
                let found = match first {
                    Ok(None) => query.handle_input(&text.as_bytes()[cut..]),
                    done => done,
                };
                match expected {
                    Ok(host) => assert_eq!(found, Ok(Some((host.into(), 6379))), "{text} cut at {cut}"),
                    Err(why) => assert!(found.as_ref().unwrap_err().contains(why), "{text} cut at {cut}: {found:?}"),
                }
            }
        }
    }
}
