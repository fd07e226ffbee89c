//! A source, its key, and signatures made with it.

use std::{fs, io};

use form_urlencoded::Serializer;

use super::error::Error;
use crate::{
    server::{clock::unix_micros, config_file::Origin},
    sign::{Subject, to_hex},
};

/// Fields of a query or a form.
pub type Fields = Vec<(&'static str, String)>;

/// What `sign`, `notify` and `listen` sign with.
#[derive(Debug)]
pub struct Credentials {
    /// `--source`.
    pub source: String,
    /// `--key`.
    pub key: Option<String>,
    /// `--key-file`.
    pub key_file: Option<String>,
    /// `--hmac`: hmac-sha256 in place of md5.
    pub hmac: bool,
    /// `--ts`: the time that is signed with hmac-sha256, in unix seconds; now if it is not given.
    pub ts: Option<String>,
}

impl Default for Credentials {
    fn default() -> Credentials {
        Credentials { source: "demo".into(), key: None, key_file: None, hmac: false, ts: None }
    }
}

impl Credentials {
    /// The key that was given, otherwise the one that this machine's configuration has for the source.
    pub fn find_key(&self) -> Result<String, Error> {
        if let Some(key) = &self.key {
            return Ok(key.clone());
        }
        if let Some(file) = &self.key_file {
            let key = fs::read_to_string(file).map_err(|error| Error::Read(file.clone(), error))?;
            return Ok(key.trim_end().into());
        }
        let config = Origin::find(None).load().map_err(Error::Config)?.config;
        match config.sources.get(&self.source) {
            Some(source) => Ok(source.sign_key.expose().into()),
            None => Err(Error::UnknownSource(self.source.clone())),
        }
    }

    /// The fields of a login's signature.
    pub fn sign_connect(&self, key: &str, userid: &str, rooms: &str) -> Fields {
        self.sign(&Subject::Connect { source: &self.source, userid, room_ids: rooms }, key)
    }

    /// The fields of a notification's signature.
    pub fn sign_notify(&self, key: &str, rooms: &str, data: &str) -> Fields {
        self.sign(&Subject::Notify { source: &self.source, room_id: rooms, data: data.as_bytes() }, key)
    }

    /// `sign`, which comes last, and the two fields that hmac-sha256 needs.
    fn sign(&self, subject: &Subject<'_>, key: &str) -> Fields {
        if !self.hmac {
            return vec![("sign", to_hex(&subject.md5(key.as_bytes())))];
        }
        let micros = unix_micros();
        let now = match subject {
            Subject::Connect { .. } => (micros / 1_000_000).to_string(),
            // A signature of a message is good for one: the fraction makes that of an equal message another one.
            Subject::Notify { .. } | Subject::Emit { .. } => {
                format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
            }
        };
        let ts = self.ts.clone().unwrap_or(now);
        let sign = to_hex(&subject.hmac(key.as_bytes(), &ts));
        vec![("sign_type", "hmac-sha256".into()), ("ts", ts), ("sign", sign)]
    }
}

/// DATA as it is signed: `-` stands for standard input.
pub fn read_data(data: String) -> Result<String, Error> {
    if data == "-" {
        return io::read_to_string(io::stdin()).map_err(|error| Error::Read("standard input".into(), error));
    }
    Ok(data)
}

/// Fields in the encoding of a query or a form.
pub fn encode(fields: &Fields) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}
