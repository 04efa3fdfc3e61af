//! Prompts of checkpoints that were fine-tuned for one task.
//!
//! Lengths are the most tokens that big_vision lets a model of the task write: 32 where nothing
//! else is said.

use crate::template::{AnswerKind, Template};

/// A task that Google has fine-tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FineTuned {
    /// As in `google/paligemma-3b-ft-docvqa-448`.
    pub task: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// Its prompts.
    pub templates: &'static [Template],
    /// Sides of the published PaliGemma 1 checkpoints in pixels; none where there are none.
    pub sides: &'static [u32],
}

const DEFAULT: usize = 32;

const CAPTION: &[Template] = &[Template::words("Caption", "caption en", DEFAULT)];
const QUESTION: &[Template] = &[Template::words("Question", "answer en {question}", DEFAULT)];
const CHOICES: &[Template] =
    &[
        Template::words("Choice", "answer en {question} choose from: {choices}", 128)
            .noting("Choices have a space, a tab and a space between them."),
    ];
const LONG_QUESTION: &[Template] = &[Template::words("Question", "answer en {question}", 48)];
/// PaliGemma 1's videos are sixteen pictures.
const FRAMES: usize = 16;

const BOTH: &[u32] = &[224, 448];
const ALL: &[u32] = &[224, 448, 896];

const fn task(
    task: &'static str,
    title: &'static str,
    templates: &'static [Template],
    sides: &'static [u32],
) -> FineTuned {
    FineTuned {
        task,
        title,
        templates,
        sides,
    }
}

/// Every one, by name.
pub static FINE_TUNED: [FineTuned; 37] = [
    task(
        "activitynet-cap",
        "ActivityNet captions",
        VIDEO_CAPTION,
        &[],
    ),
    task(
        "activitynet-qa",
        "ActivityNet questions",
        VIDEO_QUESTION,
        &[],
    ),
    task("ai2d", "AI2D", CHOICES, BOTH),
    task("aokvqa-da", "A-OKVQA, direct answers", QUESTION, BOTH),
    task("aokvqa-mc", "A-OKVQA, multiple choice", CHOICES, BOTH),
    task("chartqa", "ChartQA", BARE_LONG_QUESTION, &[]),
    task("coco35l", "COCO-35L captions", ANY_LANGUAGE, BOTH),
    task("cococap", "COCO captions", CAPTION, BOTH),
    task("detection", "Detection of all classes", EVERY_CLASS, &[]),
    task("docci", "DOCCI descriptions", DESCRIPTION, &[]),
    task("docvqa", "DocVQA", BARE_QUESTION, ALL),
    task("gqa", "GQA", QUESTION, BOTH),
    task("infovqa", "InfographicVQA", LONG_QUESTION, ALL),
    task("marvl", "MaRVL", TWO_IN_ANY_LANGUAGE, &[]),
    task("msrvtt-cap", "MSR-VTT captions", VIDEO_CAPTION, &[]),
    task("msrvtt-qa", "MSR-VTT questions", VIDEO_QUESTION, &[]),
    task("msvd-qa", "MSVD questions", VIDEO_QUESTION, &[]),
    task("nlvr2", "NLVR2", TWO, BOTH),
    task("nocaps", "NoCaps", CAPTION, &[]),
    task("ocrvqa", "OCR-VQA", QUESTION, ALL),
    task("okvqa", "OK-VQA", QUESTION, BOTH),
    task("pope", "POPE", QUESTION, &[]),
    task("refcoco-seg", "RefCOCO segmentation", EXPRESSION, ALL),
    task("rsvqa-hr", "RSVQA, high resolution", QUESTION, BOTH),
    task("rsvqa-lr", "RSVQA, low resolution", QUESTION, BOTH),
    task("scicap", "SciCap", SCIENTIFIC_CAPTION, BOTH),
    task("science-qa", "ScienceQA", SCIENCE, BOTH),
    task("screen2words", "Screen2Words", CAPTION, BOTH),
    task("stvqa", "ST-VQA", QUESTION, ALL),
    task("tallyqa", "TallyQA", QUESTION, BOTH),
    task("textcaps", "TextCaps", CAPTION, BOTH),
    task("textvqa", "TextVQA", QUESTION, ALL),
    task("vatex", "VATEX captions", VIDEO_CAPTION, &[]),
    task("vizwizvqa", "VizWiz-VQA", QUESTION, BOTH),
    task("vqav2", "VQAv2", QUESTION, BOTH),
    task("widgetcap", "WidgetCap", WIDGET, BOTH),
    task("xgqa", "xGQA", QUESTION_IN_ANY_LANGUAGE, &[]),
];

const ANY_LANGUAGE: &[Template] = &[Template::words("Caption", "caption {language}", DEFAULT)];
const QUESTION_IN_ANY_LANGUAGE: &[Template] = &[Template::words(
    "Question",
    "answer {language} {question}",
    DEFAULT,
)];
const BARE_QUESTION: &[Template] = &[Template::words("Question", "{question}", DEFAULT)
    .noting("The question alone, without a word before it.")];
const BARE_LONG_QUESTION: &[Template] = &[Template::words("Question", "{question}", 48)
    .noting("The question alone, without a word before it.")];
const EVERY_CLASS: &[Template] =
    &[Template::words("Detect", "detect all classes", 256).answered_by(AnswerKind::Boxes)];
const DESCRIPTION: &[Template] = &[
    Template::words("Caption", "caption en", 192),
    Template::words("Describe", "describe en", 192),
];
const EXPRESSION: &[Template] = &[Template::words("Refer", "{thing}", 48)
    .answered_by(AnswerKind::UnlabelledMask)
    .noting("What is looked for alone, without segment before it; the answer has no label.")];
const SCIENCE: &[Template] = &[Template::words(
    "Question",
    "Question: {question}\nContext: {context}\nOptions: {options}\nAnswer:",
    512,
)
.noting("The answer ends with “The answer is A.”")];
const SCIENTIFIC_CAPTION: &[Template] = &[Template::words("Caption", "caption en", 96)];
const WIDGET: &[Template] = &[Template::words("Caption", "caption en", DEFAULT)
    .noting("What is to be described has a red box around it in the picture.")];
const TWO: &[Template] = &[Template {
    pictures: 2,
    ..Template::words("Two pictures", "answer en {question}", 64)
        .noting("The statement is about two pictures; the answer is True or False.")
}];
const TWO_IN_ANY_LANGUAGE: &[Template] = &[Template {
    pictures: 2,
    ..Template::words("Two pictures", "answer {language} {question}", 64)
        .noting("The statement is about two pictures; the answer is True or False.")
}];
const VIDEO_CAPTION: &[Template] = &[Template {
    pictures: FRAMES,
    ..Template::words("Caption", "caption en", DEFAULT).noting("Sixteen pictures of a video.")
}];
const VIDEO_QUESTION: &[Template] = &[Template {
    pictures: FRAMES,
    ..Template::words("Question", "answer en {question}", DEFAULT)
        .noting("Sixteen pictures of a video.")
}];

impl FineTuned {
    /// The task of this name.
    pub fn named(task: &str) -> Option<&'static Self> {
        FINE_TUNED.iter().find(|known| known.task == task)
    }
}
