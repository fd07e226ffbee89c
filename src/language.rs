//! The languages of texts for operators. A text stands in the code once, in all of them: with [`Language::pick`], or with `say!` if
//! something is filled in.

/// A language of texts for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English, which logs and commands use too.
    #[default]
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

impl Language {
    /// The language that a request names. Without a name it is English.
    pub fn parse(name: &str) -> Option<Language> {
        match name {
            "" | "en" => Some(Language::English),
            "zh" => Some(Language::Chinese),
            _ => None,
        }
    }

    /// The text of this language.
    pub fn pick<T>(self, english: T, chinese: T) -> T {
        match self {
            Language::English => english,
            Language::Chinese => chinese,
        }
    }
}

/// A sentence in a language: `say!(language, "room {name}", "房间“{name}”")`.
macro_rules! say {
    ($language:expr, $english:literal, $chinese:literal) => {
        match $language {
            $crate::language::Language::English => format!($english),
            $crate::language::Language::Chinese => format!($chinese),
        }
    };
}
pub(crate) use say;

#[cfg(test)]
pub mod testing {
    //! What tests of texts in both languages share.

    /// A value of each variant of an enum, with its pattern. It does not compile while one is missing.
    macro_rules! samples {
        ($type:ty: $($pattern:pat => $sample:expr,)+) => {{
            fn _are_all(value: &$type) {
                match value {
                    $($pattern => {})+
                }
            }
            vec![$($sample),+]
        }};
    }
    pub(crate) use samples;

    /// Panics if a text is not Chinese, or has other words than Chinese ones, [`FIXED`] ones and these names.
    pub fn assert_chinese(text: &str, names: &[&str]) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        for word in text.split(|c: char| !is_part(c)).map(|word| word.trim_matches(['.', '-', '/'])) {
            let is_latin = word.contains(|c: char| c.is_ascii_alphabetic());
            assert!(!is_latin || FIXED.contains(&word) || names.contains(&word), "{word:?} is not Chinese: {text}");
        }
        assert!(text.contains(is_chinese), "not Chinese: {text}");
        let odd = [",", ";", ": ", "(", ")", "  ", " ，", " ；", " ：", "： ", "， ", "； ", " （", "） "];
        assert!(!odd.iter().any(|odd| text.contains(odd)), "punctuation: {text}");
    }

    /// Whether this is a Chinese character.
    pub fn is_chinese(c: char) -> bool {
        ('\u{4e00}'..='\u{9fff}').contains(&c)
    }

    /// Words that are the same in each language.
    const FIXED: &[&str] = &["relay", "id", "Redis", "WebSocket", "JSON", "HTTP", "UTF-8", "Unix", "KiB"];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_in_each_language() {
        let name = "a";
        let said = ["", "en", "zh"].map(|given| say!(Language::parse(given).unwrap(), "room {name}", "房间“{name}”"));
        assert_eq!(said, ["room a", "room a", "房间“a”"]);
        assert!(["EN", "zh-CN", "de", " "].iter().all(|given| Language::parse(given).is_none()));
    }
}
