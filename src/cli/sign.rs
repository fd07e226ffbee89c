//! `relay sign`: makes a signature.

use lexopt::Parser;

use super::{
    arguments::Stop,
    credentials::{Account, Purpose, encode, read_data},
    emit::Event,
    error::{Error, UsageError},
    options::Options,
    terminal::say,
};
use crate::sign::Subject;

/// A signature to make.
#[derive(Debug)]
pub struct Sign {
    account: Account,
    what: What,
    hex: bool,
}

#[derive(Debug)]
enum What {
    Login { userid: String, rooms: String },
    Notification { rooms: String, data: String },
    Emit(Event),
}

impl Sign {
    /// Parses what follows `sign`.
    pub fn parse(parser: &mut Parser) -> Result<Sign, Stop> {
        let mut options = Options::parse(
            parser,
            &[
                "config",
                "source",
                "key",
                "key-file",
                "hmac",
                "ts",
                "hex",
                "userid",
                "room",
                "data",
                "json",
                "nsp",
                "socket-id",
                "all",
            ],
        )?;
        let account = Account::new(&mut options)?;
        let hex = options.has("hex");
        let what = match options.next_word().as_deref() {
            Some("connect") => {
                let what = What::Login { userid: options.text("userid"), rooms: options.rooms()? };
                options.no_more_words()?;
                what
            }
            Some("notify") => What::Notification { rooms: options.rooms()?, data: options.data()? },
            Some("emit") => What::Emit(Event::take(&mut options)?),
            _ => return Err(UsageError::MissingSubject.into()),
        };
        Ok(Sign { account, what, hex })
    }

    /// Prints the signature.
    pub fn run(self) -> Result<(), Error> {
        let credentials = self.account.credentials(Purpose::Print)?;
        let source = &credentials.source;
        let fields = match self.what {
            What::Login { userid, rooms } => {
                credentials.sign(&Subject::Connect { source, userid: &userid, room_ids: &rooms })
            }
            What::Notification { rooms, data } => {
                let data = read_data(data)?;
                credentials.sign(&Subject::Notify { source, room_id: &rooms, data: data.as_bytes() })
            }
            What::Emit(mut event) => {
                let args = event.arguments()?;
                credentials.sign(&event.subject(source, &args))
            }
        };
        match fields.last() {
            Some((_, hex)) if self.hex => say(&format!("{hex}\n")),
            _ => say(&format!("{}\n", encode(&fields))),
        }
        Ok(())
    }
}
