//! Explanations of refused signatures (docs/protocol.md, Why a signature is refused): the text that relay hashed, and the
//! usual mistake that leads to the signature that was sent. They are for operators and for users of public keys: an
//! explanation does not contain the key or a valid signature, but says more than a stranger should know.

use core::fmt;

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::Sha256;

use super::{
    layouts::{Layout, layouts},
    scheme::Scheme,
    subject::{Signature, Subject},
    variants::{Variant, of_data, of_key, of_rooms, of_text, of_time},
};
use crate::{json::quote, text::truncate};

/// Why a signature is not the expected one. `Display` is the text for logs and terminals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The scheme by which relay checked it.
    pub scheme: Scheme,
    /// The text that relay hashed; [`MASK`] stands for the key.
    pub hashed: String,
    /// What was found, in sentences.
    pub found: Vec<String>,
    /// Whether the signature has the length of a hash. If not, `found` has one sentence, which says all that matters.
    pub is_hash: bool,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "relay computed the {} of {:?}; {}", self.scheme.name(), self.hashed, self.found.join("; "))
    }
}

impl Explanation {
    /// The explanation as a JSON object.
    pub fn json(&self) -> String {
        let found: Vec<_> = self.found.iter().map(|text| quote(text)).collect();
        let (scheme, hashed) = (self.scheme.name(), quote(&self.hashed));
        format!("{{\"scheme\":\"{scheme}\",\"hashed\":{hashed},\"found\":[{}]}}", found.join(","))
    }
}

/// Explains what is wrong with a signature. `others` are the names and keys of other sources that may have been used;
/// the reader of the explanation learns their names. The work is bounded, whatever the fields are.
pub fn explain<'k>(
    subject: &Subject<'_>,
    signature: &Signature<'_>,
    key: &[u8],
    others: impl Iterator<Item = (&'k str, &'k [u8])>,
) -> Explanation {
    let scheme = signature.scheme.unwrap_or(Scheme::HmacSha256);
    let ts = signature.terms.tail(signature.ts);
    let layouts = layouts(subject, scheme, &ts);
    let mut explanation =
        Explanation { scheme, hashed: shown_input(&layouts[0], scheme), found: Vec::new(), is_hash: false };
    let found = &mut explanation.found;
    let Some(given) = Given::parse(signature.hex) else {
        found.push("sign is neither hexadecimal digits nor base64".into());
        return explanation;
    };
    let mut search = Search { given: &given.bytes, budget: BUDGET };
    if search.hashes().is_empty() {
        let length = signature.hex.chars().count();
        found.push(format!("sign has {length} characters: md5 has 32 hexadecimal digits, hmac-sha256 has 64"));
        return explanation;
    }
    explanation.is_hash = true;
    found.extend(given.note.map(String::from));
    match search.run(&layouts, scheme, key, others) {
        Some(mistakes) if mistakes.is_empty() && given.note.is_none() => {
            found.push("the signature itself is right".into());
        }
        Some(mistakes) => found.extend(mistakes),
        None => found.push(
            "no known mistake produces this signature: check the key and the source, and compare the text byte by byte"
                .into(),
        ),
    }
    explanation
}

/// A signature as it was sent, decoded.
struct Given {
    bytes: Vec<u8>,
    note: Option<&'static str>,
}

impl Given {
    fn parse(sign: &str) -> Option<Given> {
        let trimmed = sign.trim().trim_matches(['"', '\'']);
        let trimmed = trimmed.strip_prefix("0x").unwrap_or(trimmed);
        if trimmed.is_empty() || trimmed.len() > MAX_SIGN {
            return None;
        }
        // .NET's BitConverter writes a hyphen between two bytes.
        let digits: String = trimmed.chars().filter(|c| *c != '-').collect();
        if let Ok(bytes) = base16ct::mixed::decode_vec(&digits) {
            let note = (digits != sign).then_some("sign has other characters around or between its hexadecimal digits");
            return Some(Given { bytes, note });
        }
        let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let decoded = [&STANDARD, &URL_SAFE].map(|alphabet| GeneralPurpose::new(alphabet, config).decode(trimmed));
        let bytes = decoded.into_iter().find_map(Result::ok)?;
        Some(Given { bytes, note: Some("sign is base64: relay expects hexadecimal digits") })
    }
}

/// A way to make a hash of a text and a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Md5,
    Md5KeyFirst,
    Md5WithoutKey,
    HmacMd5,
    Sha1,
    HmacSha1,
    HmacSha256,
    Sha256,
    Sha256KeyFirst,
}

impl Hash {
    /// What is wrong with it if `scheme` is expected.
    fn mistake(self, scheme: Scheme) -> Option<String> {
        let expected = match scheme {
            Scheme::Md5 if self == Hash::Md5 => return None,
            Scheme::HmacSha256 if self == Hash::HmacSha256 => return None,
            Scheme::Md5 => "the md5 of the fields and the key",
            Scheme::HmacSha256 => "the HMAC-SHA256 of the fields with the key",
        };
        let made = match self {
            Hash::Md5 => "an md5",
            Hash::Md5KeyFirst => "an md5 with the key before the fields",
            Hash::Md5WithoutKey => "an md5 without the key",
            Hash::HmacMd5 => "an HMAC-MD5",
            Hash::Sha1 => "a SHA-1",
            Hash::HmacSha1 => "an HMAC-SHA1",
            Hash::HmacSha256 => "an HMAC-SHA256, which needs sign_type=hmac-sha256 and ts,",
            Hash::Sha256 => "a SHA-256 without HMAC",
            Hash::Sha256KeyFirst => "a SHA-256 of the key and the fields",
        };
        Some(format!("you made {made} in place of {expected}"))
    }

    fn is_hash(self, key: &[u8], input: &[u8], given: &[u8]) -> bool {
        fn plain<D: Digest>(parts: [&[u8]; 2]) -> Vec<u8> {
            let mut hash = D::new();
            parts.into_iter().for_each(|part| hash.update(part));
            hash.finalize().to_vec()
        }
        macro_rules! hmac {
            ($hash:ty) => {{
                let mut mac = Hmac::<$hash>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)");
                mac.update(input);
                mac.finalize().into_bytes().to_vec()
            }};
        }
        let made = match self {
            Hash::Md5 => plain::<Md5>([input, key]),
            Hash::Md5KeyFirst => plain::<Md5>([key, input]),
            Hash::Md5WithoutKey => plain::<Md5>([input, b""]),
            Hash::HmacMd5 => hmac!(Md5),
            Hash::Sha1 => plain::<Sha1>([input, key]),
            Hash::HmacSha1 => hmac!(Sha1),
            Hash::HmacSha256 => hmac!(Sha256),
            Hash::Sha256 => plain::<Sha256>([input, key]),
            Hash::Sha256KeyFirst => plain::<Sha256>([key, input]),
        };
        made == given
    }
}

struct Search<'a> {
    given: &'a [u8],
    /// Bytes that may still be hashed.
    budget: usize,
}

impl Search<'_> {
    /// The hashes that have as many bytes as the signature. The first one is that of a scheme, if one fits.
    fn hashes(&self) -> &'static [Hash] {
        match self.given.len() {
            16 => &[Hash::Md5, Hash::HmacMd5, Hash::Md5KeyFirst, Hash::Md5WithoutKey],
            20 => &[Hash::Sha1, Hash::HmacSha1],
            32 => &[Hash::HmacSha256, Hash::Sha256, Hash::Sha256KeyFirst],
            _ => &[],
        }
    }

    /// Whether the signature is a hash of the fields of `layout`, some in another form; which hash.
    fn find<'v>(
        &mut self,
        hashes: &[Hash],
        key: &[u8],
        layout: &Layout<'_>,
        form: impl Fn(usize) -> Option<&'v Variant>,
    ) -> Option<Hash> {
        if self.budget == 0 {
            return None;
        }
        let input = &layout.input_with(form);
        hashes.iter().copied().find(|hash| {
            let cost = input.len() + key.len() + TRIAL;
            let affordable = cost <= self.budget;
            self.budget = self.budget.saturating_sub(cost);
            affordable && hash.is_hash(key, input, self.given)
        })
    }

    /// The mistakes that lead from the expected signature to the given one; empty if it is the expected one, `None` if
    /// nothing was found. Single mistakes are tried first, then those that often come together.
    fn run<'k>(
        &mut self,
        layouts: &[Layout<'_>],
        scheme: Scheme,
        key: &[u8],
        others: impl Iterator<Item = (&'k str, &'k [u8])>,
    ) -> Option<Vec<String>> {
        let hashes = self.hashes();
        let told = |hash: Hash, layout: &Layout<'_>, more: Vec<String>| {
            let how = Some(layout.how.clone()).filter(|how| !how.is_empty());
            // The texts of the two schemes differ in more than the hash.
            let hash = hash.mistake(scheme).filter(|_| !layout.other_scheme || more.is_empty());
            hash.into_iter().chain(how).chain(more).collect::<Vec<_>>()
        };
        for layout in layouts {
            if let Some(hash) = self.find(hashes, key, layout, |_| None) {
                return Some(told(hash, layout, Vec::new()));
            }
        }
        let forms: Vec<Vec<(usize, Variant)>> = layouts.iter().take(DEEP).map(forms).collect();
        let changed = |layout: &Layout<'_>, index: usize, variant: &Variant| {
            let (name, sent) = &layout.lines[index];
            format!(
                "you signed `{}` ({}), you sent `{}` as {name}",
                near(&variant.bytes, sent),
                variant.how,
                near(sent, &variant.bytes)
            )
        };
        for (layout, forms) in layouts.iter().zip(&forms) {
            for (index, variant) in forms {
                if let Some(hash) = self.find(hashes, key, layout, |at| (at == *index).then_some(variant)) {
                    return Some(told(hash, layout, vec![changed(layout, *index, variant)]));
                }
            }
            // One form for all values, such as a form that was encoded before it was signed.
            for how in forms.iter().map(|(_, variant)| &variant.how) {
                let all =
                    |at: usize| forms.iter().find(|(index, form)| *index == at && form.how == *how).map(|form| &form.1);
                let changes: Vec<usize> = (0..layout.lines.len()).filter(|at| all(*at).is_some()).collect();
                if changes.len() > 1
                    && let Some(hash) = self.find(&hashes[..1], key, layout, all)
                {
                    let texts = changes.iter().filter_map(|at| Some(changed(layout, *at, all(*at)?)));
                    return Some(told(hash, layout, texts.collect()));
                }
            }
        }
        let keys = of_key(key);
        for other in &keys {
            for layout in layouts.iter().take(DEEP) {
                if let Some(hash) = self.find(hashes, &other.bytes, layout, |_| None) {
                    return Some(told(hash, layout, vec![format!("you signed with the key {}", other.how)]));
                }
            }
        }
        for (name, other) in others {
            if self.budget == 0 {
                return None;
            }
            for layout in layouts.iter().take(2) {
                if let Some(hash) = self.find(&hashes[..1], other, layout, |_| None) {
                    return Some(told(hash, layout, vec![format!("you signed with the key of the source {name:?}")]));
                }
            }
        }
        let first = layouts.first().zip(forms.first());
        for other in &keys {
            for (index, variant) in first.iter().flat_map(|(_, forms)| forms.iter()) {
                let form = |at: usize| (at == *index).then_some(variant);
                if let Some(hash) = self.find(&hashes[..1], &other.bytes, &layouts[0], form) {
                    let texts =
                        vec![changed(&layouts[0], *index, variant), format!("you signed with the key {}", other.how)];
                    return Some(told(hash, &layouts[0], texts));
                }
            }
        }
        None
    }
}

/// The other forms of each line of a layout.
fn forms(layout: &Layout<'_>) -> Vec<(usize, Variant)> {
    let mut forms = Vec::new();
    for (index, (name, value)) in layout.lines.iter().enumerate() {
        let Some(text) = core::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_VARIED) else { continue };
        let list = match *name {
            "data" => [of_text(text), of_data(text)].concat(),
            "room_id" | "room_ids" => [of_text(text), of_rooms(text)].concat(),
            "userid" | "source" | "to" | "event" => of_text(text),
            "ts" => of_time(text),
            _ => Vec::new(),
        };
        forms.extend(list.into_iter().map(|variant| (index, variant)));
    }
    forms
}

/// The text that relay hashes, with a mask in place of the key.
fn shown_input(layout: &Layout<'_>, scheme: Scheme) -> String {
    let (input, length) = layout.beginning(MAX_SHOWN);
    let text = String::from_utf8_lossy(&input);
    let more = length - input.len();
    let more = if more > 0 { format!("… ({more} more bytes)") } else { String::new() };
    let key = if scheme == Scheme::Md5 { MASK } else { "" };
    format!("{text}{more}{key}")
}

/// The part of `bytes` around the first difference from `other`, with control characters escaped.
fn near(bytes: &[u8], other: &[u8]) -> String {
    let same = bytes.iter().zip(other).take_while(|(one, other)| one == other).count();
    let begin =
        if bytes.len().max(other.len()) <= MAX_NEAR { 0 } else { same.saturating_sub(MAX_NEAR / 3).min(bytes.len()) };
    let end = bytes.len().min(begin + MAX_NEAR);
    let text = String::from_utf8_lossy(&bytes[begin..end]);
    let [before, after] = [begin > 0, end < bytes.len()].map(|cut| if cut { "…" } else { "" });
    let escaped: String = text
        .chars()
        .flat_map(|c| {
            let keeps = !c.is_control();
            let plain = keeps.then_some(c);
            plain.into_iter().chain((!keeps).then(|| c.escape_default()).into_iter().flatten())
        })
        .collect();
    format!("{before}{}{after}", truncate(&escaped, 4 * MAX_NEAR))
}

/// Stands for the key.
pub const MASK: &str = "<sign_key>";
/// Bytes that one explanation may hash: a few milliseconds.
const BUDGET: usize = 2 << 20;
/// What a trial costs besides its bytes: setting up a hash.
const TRIAL: usize = 192;
/// The longest value of which other forms are tried.
const MAX_VARIED: usize = 8192;
/// Layouts that are combined with other mistakes.
const DEEP: usize = 4;
/// The longest signature that is looked at.
const MAX_SIGN: usize = 256;
/// The most bytes of the hashed text that are shown.
const MAX_SHOWN: usize = 2048;
/// The most bytes of a value that are shown.
const MAX_NEAR: usize = 90;

#[cfg(test)]
mod tests;
