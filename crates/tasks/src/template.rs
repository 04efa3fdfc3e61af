//! A prompt with places to fill in.

/// What an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// Words.
    Words,
    /// Boxes, each with a label.
    Boxes,
    /// Boxes with masks, each with a label.
    Masks,
    /// A box with a mask and no label: it is what the prompt refers to.
    UnlabelledMask,
}

/// A place in a template, written `{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// A language's code, such as `en`.
    Language,
    /// A question or a statement.
    Question,
    /// What is looked for: one thing, or several with ` ; ` between.
    Thing,
    /// Choices with ` \t ` between.
    Choices,
    /// Choices as `(A) …, (B) …`.
    Options,
    /// What is known beside the picture.
    Context,
    /// An answer, for which a question is wanted.
    Answer,
    /// Four location tokens.
    Box,
    /// Anything.
    Text,
}

impl Slot {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Language,
        Self::Question,
        Self::Thing,
        Self::Choices,
        Self::Options,
        Self::Context,
        Self::Answer,
        Self::Box,
        Self::Text,
    ];

    /// Its name in a template.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Language => "language",
            Self::Question => "question",
            Self::Thing => "thing",
            Self::Choices => "choices",
            Self::Options => "options",
            Self::Context => "context",
            Self::Answer => "answer",
            Self::Box => "box",
            Self::Text => "text",
        }
    }

    /// What stands in it before a person writes something else.
    pub const fn example(self) -> &'static str {
        match self {
            Self::Language => "en",
            Self::Question => "what is in the picture?",
            Self::Thing => "cat",
            Self::Choices => "a cat \t a dog \t a bird",
            Self::Options => "(A) a cat, (B) a dog",
            Self::Context => "N/A",
            Self::Answer => "a cat",
            Self::Box => "<loc0256><loc0256><loc0768><loc0768>",
            Self::Text => "describe this image",
        }
    }
}

/// One kind of prompt that a checkpoint knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// The words on a button.
    pub title: &'static str,
    /// The prompt, with its [`Slot`]s in braces.
    pub prompt: &'static str,
    /// What the answer is made of.
    pub answer: AnswerKind,
    /// Pictures it is about.
    pub pictures: usize,
    /// Tokens after which an answer is certainly over; more than training answers have.
    pub max_new_tokens: usize,
    /// What else a person has to know, or nothing.
    pub note: &'static str,
}

impl Template {
    /// About one picture, answered in words.
    pub(crate) const fn words(
        title: &'static str,
        prompt: &'static str,
        max_new_tokens: usize,
    ) -> Self {
        Self {
            title,
            prompt,
            answer: AnswerKind::Words,
            pictures: 1,
            max_new_tokens,
            note: "",
        }
    }

    /// With another kind of answer.
    pub(crate) const fn answered_by(self, answer: AnswerKind) -> Self {
        Self { answer, ..self }
    }

    /// With a note.
    pub(crate) const fn noting(self, note: &'static str) -> Self {
        Self { note, ..self }
    }

    /// The pieces between slots, and the slots, in turn: a piece, a slot, a piece, …, a piece.
    fn pieces(&self) -> (Vec<&'static str>, Vec<Slot>) {
        let (mut pieces, mut slots) = (Vec::new(), Vec::new());
        let mut rest = self.prompt;
        while let Some((before, after)) = rest.split_once('{')
            && let Some((name, after)) = after.split_once('}')
            && let Some(slot) = Slot::ALL.into_iter().find(|slot| slot.name() == name)
        {
            pieces.push(before);
            slots.push(slot);
            rest = after;
        }
        pieces.push(rest);
        (pieces, slots)
    }

    /// Its slots, in order.
    pub fn slots(&self) -> Vec<Slot> {
        self.pieces().1
    }

    /// The prompt with each slot filled in: by `filling`, or by [`Slot::example`].
    pub fn compose<'a>(&self, filling: impl Fn(Slot) -> Option<&'a str>) -> String {
        let (pieces, slots) = self.pieces();
        let mut pieces = pieces.into_iter();
        let mut prompt = pieces.next().unwrap_or_default().to_owned();
        for (slot, piece) in slots.into_iter().zip(pieces) {
            prompt.push_str(filling(slot).unwrap_or(slot.example()));
            prompt.push_str(piece);
        }
        prompt
    }

    /// What stands in each slot of a prompt of this form; none if it has another. An empty slot
    /// fits, but for a language, which is one word of letters.
    pub fn read<'a>(&self, prompt: &'a str) -> Option<Vec<(Slot, &'a str)>> {
        let (pieces, slots) = self.pieces();
        let mut pieces = pieces.into_iter();
        let mut rest = prompt.strip_prefix(pieces.next()?)?;
        let mut filled = Vec::new();
        for (slot, piece) in slots.into_iter().zip(pieces.by_ref()) {
            let (value, after) = match piece {
                "" => (rest, ""),
                piece => rest.split_once(piece)?,
            };
            let letters = |c: char| c.is_ascii_alphabetic() || c == '-';
            if slot == Slot::Language && (value.is_empty() || !value.chars().all(letters)) {
                return None;
            }
            filled.push((slot, value));
            rest = after;
        }
        rest.is_empty().then_some(filled)
    }

    /// Bytes of the prompt that are the template's own: the more, the better it fits.
    fn weight(&self) -> usize {
        self.pieces().0.iter().map(|piece| piece.len()).sum()
    }
}

/// The template that a prompt follows: of those that fit, the one that says most of it.
pub fn best_fit(templates: &'static [Template], prompt: &str) -> Option<&'static Template> {
    let prompt = prompt.trim();
    let fitting = templates
        .iter()
        .filter(|template| template.read(prompt).is_some());
    // Of equals the first.
    fitting.rev().max_by_key(|template| template.weight())
}

/// What an object without a label is: that which the prompt refers to, be it bare or after
/// `detect` or `segment`, and after the places of its pictures, `<image>`. Nothing where the prompt refers to several things, or to none.
pub fn referred(prompt: &str) -> Option<&str> {
    let mut prompt = prompt.trim();
    while let Some(after) = prompt.strip_prefix("<image>") {
        prompt = after.trim_start();
    }
    let prefixes = ["detect ", "segment "].iter();
    let mut stripped = prefixes.filter_map(|prefix| prompt.strip_prefix(prefix));
    let thing = stripped.next().unwrap_or(prompt).trim();
    (!thing.is_empty() && !thing.contains(';')).then_some(thing)
}
