//! `relay sign`: makes a signature, or explains a wrong one.

use core::num::NonZeroU64;

use lexopt::Parser;

use super::{
    arguments::Stop,
    commands,
    credentials::{Account, Fields, Purpose, encode, read_data},
    emit::Event,
    error::{Error, UsageError},
    explain,
    options::Options,
    terminal::say,
};
use crate::{
    server::clock::unix_micros,
    sign::{Claims, Subject, Terms},
};

/// A signature to make.
#[derive(Debug)]
pub struct Sign {
    account: Account,
    what: What,
    hex: bool,
    /// `--explain`: a signature of another program.
    explain: Option<String>,
}

#[derive(Debug)]
enum What {
    Login {
        userid: String,
        rooms: String,
        expires: Option<NonZeroU64>,
        read_only: bool,
    },
    /// A token.
    Token {
        userid: String,
        username: String,
        rooms: String,
        expires: NonZeroU64,
        read_only: bool,
    },
    Notification {
        rooms: String,
        data: String,
    },
    Emit(Event),
}

impl Sign {
    /// Parses what follows `sign`.
    pub fn parse(parser: &mut Parser) -> Result<Sign, Stop> {
        let mut options = Options::parse(parser, &commands::SIGN)?;
        let account = Account::new(&mut options)?;
        let (hex, explain) = (options.has("hex"), options.take("explain"));
        let what = match options.next_word().as_deref() {
            Some("connect") => {
                let (userid, rooms) = (options.text("userid"), options.rooms()?);
                let what =
                    What::Login { userid, rooms, expires: expires(&mut options)?, read_only: options.has("read-only") };
                options.no_more_words()?;
                what
            }
            Some("jwt") => {
                let (userid, username, rooms) = (options.text("userid"), options.text("username"), options.rooms()?);
                let what = What::Token {
                    userid,
                    username,
                    rooms,
                    expires: expires(&mut options)?.unwrap_or(AN_HOUR),
                    read_only: options.has("read-only"),
                };
                options.no_more_words()?;
                what
            }
            Some("notify") => What::Notification { rooms: options.rooms()?, data: options.data()? },
            Some("emit") => What::Emit(Event::take(&mut options)?),
            _ => return Err(UsageError::MissingSubject.into()),
        };
        Ok(Sign { account, what, hex, explain })
    }

    /// Prints the signature, or explains the one that was given.
    pub fn run(mut self) -> Result<(), Error> {
        if let What::Token { userid, username, rooms, expires, read_only } = &self.what {
            let (mut account, now) = (self.account, unix_micros() / 1_000_000);
            let (policy, kid) = account.token_policy();
            let credentials = account.credentials(Purpose::Token)?;
            let claims = Claims {
                userid: userid.clone(),
                username: Some(username.clone()).filter(|name| !name.is_empty()),
                rooms: rooms.split(',').filter(|room| !room.is_empty()).map(String::from).collect(),
                may_post: !*read_only,
                expires: now.saturating_add(expires.get()),
            };
            let secret = String::from_utf8_lossy(credentials.key());
            say(&format!("{}\n", claims.to_token(&secret, kid.as_deref(), &policy, now)));
            return Ok(());
        }
        let others = if self.explain.is_some() { self.account.other_keys() } else { Vec::new() };
        let credentials = self.account.credentials(Purpose::Print)?;
        let (source, explain) = (&credentials.source, self.explain.as_deref());
        let print = |subject: &Subject<'_>| match explain {
            Some(sign) => explain::run(&credentials, subject, sign, &others),
            None => {
                print(&credentials.sign(subject), self.hex);
                Ok(())
            }
        };
        match self.what {
            What::Login { userid, rooms, expires, read_only } => {
                let subject = Subject::Connect { source, userid: &userid, room_ids: &rooms };
                if expires.is_none() && !read_only {
                    return print(&subject);
                }
                let now = unix_micros() / 1_000_000;
                let exp = expires.map(|seconds| now.saturating_add(seconds.get()).to_string()).unwrap_or_default();
                let terms = Terms { exp: &exp, ro: if read_only { "1" } else { "" } };
                self::print(&credentials.sign_with(&subject, terms), self.hex);
                Ok(())
            }
            What::Token { .. } => Ok(()),
            What::Notification { rooms, data } => {
                let data = read_data(data)?;
                print(&Subject::Notify { source, room_id: &rooms, data: data.as_bytes() })
            }
            What::Emit(mut event) => {
                let args = event.arguments()?;
                print(&event.subject(source, &args))
            }
        }
    }
}

/// The seconds of `--expires`.
fn expires(options: &mut Options) -> Result<Option<NonZeroU64>, Stop> {
    let Some(given) = options.take("expires") else { return Ok(None) };
    let (digits, unit) = match given.char_indices().last() {
        Some((at, unit @ ('s' | 'm' | 'h' | 'd'))) => (&given[..at], unit),
        _ => (&*given, 's'),
    };
    let factor = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => 1,
    };
    let seconds = digits.parse::<u32>().ok().and_then(|number| NonZeroU64::new(u64::from(number) * factor));
    seconds.map(Some).ok_or(UsageError::Expires(given.clone()).into())
}

/// How long a token is valid, unless `--expires` says otherwise.
const AN_HOUR: NonZeroU64 = NonZeroU64::new(3600).expect("it is not zero");

/// Prints the fields of a signature, or only its digits.
fn print(fields: &Fields, hex: bool) {
    match fields.last() {
        Some((_, digits)) if hex => say(&format!("{digits}\n")),
        _ => say(&format!("{}\n", encode(fields))),
    }
}
