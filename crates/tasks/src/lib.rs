//! What each published PaliGemma is asked, as data: prompt templates, what their answers are made
//! of, and how long those get.
//!
//! Pre-trained checkpoints (`pt`) know the prompts of their training, `mix` ones most of these and
//! free text, and each fine-tuned one (`ft`) the one of its task, often without any prefix. So a
//! prompt is never forced into a form: a template is an offer, found by a checkpoint's name
//! ([`templates`]), and a bare prompt is always a prompt.
//!
//! Prompts and lengths are those of Google's big_vision (`configs/proj/paligemma/transfers`), of
//! the reports on PaliGemma and PaliGemma 2, and of the models' own pages.

mod checkpoint;
mod fine_tuned;
mod general;
mod template;

pub use checkpoint::{Checkpoint, Family, Stage, templates};
pub use fine_tuned::{FINE_TUNED, FineTuned};
pub use general::{MIX, PRE_TRAINED};
pub use template::{AnswerKind, Slot, Template, best_fit, referred};

/// Languages of the multilingual captions that the models were trained on (COCO-35L).
pub const LANGUAGES: [&str; 35] = [
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fil", "fr", "he", "hi", "hr",
    "hu", "id", "it", "ja", "ko", "mi", "nl", "no", "pl", "pt", "ro", "ru", "sv", "sw", "te", "th",
    "tr", "uk", "vi", "zh",
];
