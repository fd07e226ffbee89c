//! Why a signature is not valid.

use core::{error, fmt};

use super::scheme::Scheme;
use crate::language::{Language, say};

/// Why a signature is not valid. `Display` is the `reason` that any client may read: it says nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// `sign_type` is no scheme.
    Scheme,
    /// The source does not accept this scheme for what is signed.
    NotAccepted(Scheme),
    /// There is no `ts`.
    TsMissing,
    /// `ts` is not a decimal number.
    TsFormat,
    /// `ts` would be right if it were a thousand or a million times smaller.
    TsUnit,
    /// `ts` is this many seconds after relay's clock (or before it, if negative), and at most `window` are accepted.
    TsOff {
        /// The difference in seconds.
        seconds: i64,
        /// The largest accepted difference in seconds.
        window: u64,
    },
    /// The signature does not have the number of hexadecimal digits that the scheme needs.
    Digits(Scheme),
    /// The fields or the key are not those that were signed.
    Mismatch,
    /// `exp` is not a decimal number of seconds.
    ExpFormat,
    /// `ro` is not `1`.
    RoFormat,
    /// `exp` was this many seconds ago.
    Expired {
        /// The difference in seconds.
        seconds: u64,
    },
}

impl SignError {
    /// The reason in a language.
    pub fn words(self, language: Language) -> String {
        match self {
            SignError::Scheme => {
                say!(language, "sign_type must be md5 or hmac-sha256", "sign_type 必须是 md5 或 hmac-sha256")
            }
            SignError::NotAccepted(scheme) => {
                let (refused, accepted) = (scheme.name(), scheme.other().name());
                say!(
                    language,
                    "the source does not accept {refused} for this: sign with {accepted}",
                    "该源在此不接受 {refused}：请用 {accepted} 签名"
                )
            }
            SignError::TsMissing => {
                say!(language, "ts is missing: hmac-sha256 covers the time", "缺少 ts：hmac-sha256 的签名包含时间")
            }
            SignError::TsFormat => say!(
                language,
                "ts must be decimal Unix seconds, such as 1700000000 or 1700000000.25",
                "ts 必须是十进制的 Unix 秒数，例如 1700000000 或 1700000000.25"
            ),
            SignError::TsUnit => say!(
                language,
                "ts must be in seconds, not in milliseconds or microseconds",
                "ts 必须以秒为单位，不能是毫秒或微秒"
            ),
            SignError::TsOff { seconds, window } => {
                let side = if seconds < 0 { language.pick("past", "慢") } else { language.pick("future", "快") };
                let off = seconds.unsigned_abs();
                say!(
                    language,
                    "ts is {off} s in the {side}: at most {window} s are accepted, check the clocks",
                    "ts 比 relay 的时钟{side} {off} 秒：最多允许相差 {window} 秒，请检查时钟"
                )
            }
            SignError::Digits(scheme) => {
                let (digits, scheme) = (2 * scheme.size(), scheme.name());
                say!(
                    language,
                    "sign must have {digits} hexadecimal digits with {scheme}",
                    "使用 {scheme} 时，sign 必须是 {digits} 位十六进制数"
                )
            }
            SignError::Mismatch => say!(
                language,
                "sign was not made from these fields with the key of the source",
                "sign 不是用该源的密钥对这些字段计算的"
            ),
            SignError::ExpFormat => say!(
                language,
                "exp must be decimal Unix seconds, such as 1700000000",
                "exp 必须是十进制的 Unix 秒数，例如 1700000000"
            ),
            SignError::RoFormat => say!(language, "ro must be 1 or empty", "ro 必须是 1 或为空"),
            SignError::Expired { seconds } => {
                say!(language, "the login has expired: exp was {seconds} s ago", "登录已过期：exp 在 {seconds} 秒前")
            }
        }
    }
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words(Language::English))
    }
}

impl error::Error for SignError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::testing::{assert_chinese, samples};

    #[test]
    fn texts() {
        let off = |seconds| SignError::TsOff { seconds, window: 300 }.to_string();
        assert_eq!(off(-900), "ts is 900 s in the past: at most 300 s are accepted, check the clocks");
        assert!(off(i64::MIN).starts_with("ts is 9223372036854775808 s in the past"));
        assert!(off(301).starts_with("ts is 301 s in the future"));
        for (error, text) in [
            (SignError::Scheme, "sign_type must be md5 or hmac-sha256"),
            (SignError::NotAccepted(Scheme::Md5), "the source does not accept md5 for this: sign with hmac-sha256"),
            (SignError::Digits(Scheme::HmacSha256), "sign must have 64 hexadecimal digits with hmac-sha256"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn operators_get_them_in_chinese() {
        let all = samples!(SignError:
            SignError::Scheme => SignError::Scheme,
            SignError::NotAccepted(_) => SignError::NotAccepted(Scheme::Md5),
            SignError::TsMissing => SignError::TsMissing,
            SignError::TsFormat => SignError::TsFormat,
            SignError::TsUnit => SignError::TsUnit,
            SignError::TsOff { .. } => SignError::TsOff { seconds: -900, window: 300 },
            SignError::Digits(_) => SignError::Digits(Scheme::Md5),
            SignError::Mismatch => SignError::Mismatch,
            SignError::ExpFormat => SignError::ExpFormat,
            SignError::RoFormat => SignError::RoFormat,
            SignError::Expired { .. } => SignError::Expired { seconds: 60 },
        );
        for error in all {
            let names = ["exp", "hmac-sha256", "md5", "ro", "sign", "sign_type", "ts"];
            assert_chinese(&error.words(Language::Chinese), &names);
        }
    }
}
