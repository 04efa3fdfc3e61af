//! What kind of answer a prompt asks for, by the task words that PaliGemma was trained with.

/// How an answer is headed and set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `detect`, `segment`.
    Boxes,
    /// `cap`, `caption`, `describe`, and no prompt at all.
    Caption,
    /// `ocr`.
    Read,
    /// `question`: one is made up.
    Question,
    /// `answer`, and whatever else one asks.
    Answer,
}

impl Kind {
    /// The kind that a prompt asks for.
    pub(crate) fn of(prompt: &str) -> Self {
        match prompt.split_whitespace().next() {
            Some("detect" | "segment") => Self::Boxes,
            Some("cap" | "caption" | "describe") | None => Self::Caption,
            Some("ocr") => Self::Read,
            Some("question") => Self::Question,
            Some(_) => Self::Answer,
        }
    }

    /// The heading over an answer in words.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Self::Boxes | Self::Answer => "Answer",
            Self::Caption => "Caption",
            Self::Read => "Text in the picture",
            Self::Question => "Question",
        }
    }

    /// The class with which words are set; `length` in characters.
    pub(crate) fn class(self, length: usize) -> &'static str {
        match self {
            Self::Read => "said read",
            _ if length > 120 => "said long",
            _ => "said",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides() {
        for (prompt, kind) in [
            ("detect cat ; dog", Kind::Boxes),
            ("segment left person", Kind::Boxes),
            ("", Kind::Caption),
            ("caption en", Kind::Caption),
            ("cap de", Kind::Caption),
            ("describe en", Kind::Caption),
            ("  ocr ", Kind::Read),
            ("question en a cow", Kind::Question),
            ("answer en where is the cow?", Kind::Answer),
            ("What is the total?", Kind::Answer),
            ("ocrs", Kind::Answer),
        ] {
            assert_eq!(Kind::of(prompt), kind, "{prompt:?}");
        }
        assert_eq!(Kind::Read.class(1000), "said read");
        assert_eq!(Kind::Caption.class(121), "said long");
        assert_eq!(Kind::Answer.class(3), "said");
    }
}
