//! `relay sign`: makes a signature.

use lexopt::{
    Arg::{Long, Value},
    Parser, ValueExt,
};

use super::{
    arguments::{self, Stop, value},
    credentials::{Credentials, encode, read_data},
    error::{Error, UsageError},
    terminal::say,
};

/// A signature to make.
#[derive(Debug)]
pub struct Sign {
    credentials: Credentials,
    userid: String,
    rooms: String,
    /// DATA of a notification; none for a login.
    data: Option<String>,
    hex: bool,
}

impl Sign {
    /// Parses what follows `sign`.
    pub fn parse(parser: &mut Parser) -> Result<Sign, Stop> {
        let (mut credentials, mut hex, mut userid) = (Credentials::default(), false, String::new());
        let (mut words, mut rooms, mut data) = (Vec::new(), Vec::new(), None);
        while let Some(argument) = arguments::next(parser)? {
            match argument {
                Long("source") => credentials.source = value(parser)?,
                Long("key") => credentials.key = Some(value(parser)?),
                Long("key-file") => credentials.key_file = Some(value(parser)?),
                Long("hmac") => credentials.hmac = true,
                Long("ts") => credentials.ts = Some(value(parser)?),
                Long("hex") => hex = true,
                Long("userid") => userid = value(parser)?,
                Long("room-id" | "room-ids") => rooms.push(value(parser)?),
                Long("data") => data = Some(value(parser)?),
                Value(word) => words.push(word.string()?),
                other => return Err(other.unexpected().into()),
            }
        }
        let mut words = words.into_iter();
        let is_login = match words.next().as_deref() {
            Some("connect") => true,
            Some("notify") => false,
            _ => return Err(UsageError::MissingSubject.into()),
        };
        if rooms.is_empty() {
            rooms.extend(words.next());
        }
        let rooms = rooms.join(",");
        if rooms.is_empty() {
            return Err(UsageError::MissingRooms.into());
        }
        let data = match is_login {
            true => None,
            false => Some(data.or_else(|| words.next()).ok_or(UsageError::MissingData)?),
        };
        arguments::no_more(words)?;
        Ok(Sign { credentials, userid, rooms, data, hex })
    }

    /// Prints the signature.
    pub fn run(self) -> Result<(), Error> {
        let key = self.credentials.find_key()?;
        let fields = match self.data {
            None => self.credentials.sign_connect(&key, &self.userid, &self.rooms),
            Some(data) => self.credentials.sign_notify(&key, &self.rooms, &read_data(data)?),
        };
        match fields.last() {
            Some((_, hex)) if self.hex => say(&format!("{hex}\n")),
            _ => say(&format!("{}\n", encode(&fields))),
        }
        Ok(())
    }
}

/// `relay sign --help`.
pub const HELP: &str = "\
relay sign connect ROOMS [--userid ID]
relay sign notify ROOMS DATA

Makes the signature of a login or a notification and prints it as fields of a query or a form. ROOMS is
one room or several, separated by commas. If DATA is '-', it is read from standard input.

  --source NAME           the source (default: demo)
  --key KEY, --key-file FILE
                          its key (default: the key in this machine's configuration)
  --hmac                  use hmac-sha256 in place of md5: it also signs the user and the time
  --ts SECONDS            with --hmac: the time in unix seconds (default: now)
  --hex                   print only the hexadecimal digits
";
