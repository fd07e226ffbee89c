//! Why something has happened, in the languages of operators.

use std::borrow::Cow;

use crate::{language::Language, text::truncate};

/// Why something has happened. Empty: that is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason<'a> {
    english: Cow<'a, str>,
    chinese: Cow<'a, str>,
}

impl<'a> Reason<'a> {
    /// What `say` says in each language.
    pub fn new<T: Into<Cow<'a, str>>>(say: impl Fn(Language) -> T) -> Reason<'a> {
        Reason { english: say(Language::English).into(), chinese: say(Language::Chinese).into() }
    }

    /// A text that does not change.
    pub const fn fixed(english: &'static str, chinese: &'static str) -> Reason<'static> {
        Reason { english: Cow::Borrowed(english), chinese: Cow::Borrowed(chinese) }
    }

    /// A text that is not relay's own, such as the error of a backend. It is the same in each language.
    pub fn free(text: &'a str) -> Reason<'a> {
        Reason::new(|_| text)
    }

    /// Whether the text is not relay's own.
    pub fn is_free(&self) -> bool {
        self.english == self.chinese
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.english.is_empty()
    }

    /// The text in a language.
    pub fn text(&self, language: Language) -> &str {
        language.pick(&self.english, &self.chinese)
    }

    /// The reason with at most `max` bytes in each language.
    pub(super) fn cut(&self, max: usize) -> Reason<'_> {
        Reason::new(|language| truncate(self.text(language), max))
    }

    pub(super) fn into_owned(self) -> Reason<'static> {
        let [english, chinese] = [self.english, self.chinese].map(|text| Cow::Owned(text.into_owned()));
        Reason { english, chinese }
    }
}
