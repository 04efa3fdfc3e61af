//! Prompts of checkpoints that know several tasks.

use crate::template::{AnswerKind, Template};

/// A sentence or two.
const SHORT: usize = 100;
/// A paragraph; ten boxes with their labels.
const LONG: usize = 256;
/// Twenty masks.
const MASKS: usize = 512;

const CAPTION: Template = Template::words("Caption", "caption {language}", SHORT);
const DESCRIBE: Template = Template::words("Describe", "describe {language}", LONG);
const READ: Template = Template::words("Read text", "ocr", LONG);
const ANSWER: Template = Template::words("Answer", "answer {language} {question}", SHORT);
const DETECT: Template =
    Template::words("Detect", "detect {thing}", LONG).answered_by(AnswerKind::Boxes);
const SEGMENT: Template =
    Template::words("Segment", "segment {thing}", MASKS).answered_by(AnswerKind::Masks);

/// Prompts of pre-trained checkpoints.
pub static PRE_TRAINED: [Template; 9] = [
    DETECT,
    SEGMENT,
    CAPTION,
    Template::words("Short caption", "cap {language}", SHORT),
    DESCRIBE,
    READ,
    ANSWER,
    Template::words("Ask back", "question {language} {answer}", SHORT)
        .noting("The model asks the question that has this answer."),
    Template::words("Caption a box", "caption {box}", SHORT)
        .noting("The box is top, left, bottom, right in 1024ths of the picture."),
];

/// Prompts of `mix` checkpoints; also of those whose name says nothing.
pub static MIX: [Template; 7] = [
    DETECT,
    SEGMENT,
    CAPTION,
    DESCRIBE,
    READ,
    ANSWER,
    Template::words("Free text", "{text}", LONG)
        .noting("Only detect and segment need their word; anything else may be asked freely."),
];
