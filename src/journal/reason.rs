//! Why something has happened, in the languages of operators.

use std::borrow::Cow;

use crate::{language::Language, text::truncate};

/// Why something has happened. Empty: that is not said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason<'a> {
    english: Cow<'a, str>,
    chinese: Cow<'a, str>,
    /// Whether a text is in it that is not relay's own.
    is_foreign: bool,
}

impl<'a> Reason<'a> {
    /// What `say` says in each language.
    pub fn new<T: Into<Cow<'a, str>>>(say: impl Fn(Language) -> T) -> Reason<'a> {
        Reason { english: say(Language::English).into(), chinese: say(Language::Chinese).into(), is_foreign: false }
    }

    /// A text that does not change.
    pub const fn fixed(english: &'static str, chinese: &'static str) -> Reason<'static> {
        Reason { english: Cow::Borrowed(english), chinese: Cow::Borrowed(chinese), is_foreign: false }
    }

    /// A text that is not relay's own, such as the error of a backend. It is the same in each language.
    pub fn free(text: &'a str) -> Reason<'a> {
        Reason { is_foreign: true, ..Reason::new(|_| text) }
    }

    /// A sentence with this reason in it.
    pub fn within(&self, say: impl Fn(Language, &str) -> String) -> Reason<'static> {
        Reason { is_foreign: self.is_foreign, ..Reason::new(|language| say(language, self.text(language))) }
    }

    /// Whether a text is in it that is not relay's own.
    pub fn is_foreign(&self) -> bool {
        self.is_foreign
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
        Reason { is_foreign: self.is_foreign, ..Reason::new(|language| truncate(self.text(language), max)) }
    }

    pub(super) fn into_owned(self) -> Reason<'static> {
        let is_foreign = self.is_foreign;
        let [english, chinese] = [self.english, self.chinese].map(|text| Cow::Owned(text.into_owned()));
        Reason { english, chinese, is_foreign }
    }
}
