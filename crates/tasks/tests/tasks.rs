//! The table of prompts, and how a checkpoint finds its own.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use paligemma_tasks::{
    AnswerKind, Checkpoint, FINE_TUNED, Family, FineTuned, LANGUAGES, MIX, PRE_TRAINED, Slot,
    Stage, Template, best_fit, referred, templates,
};

fn prompts(name: &str) -> Vec<String> {
    let all = templates(name).iter();
    all.map(|template| template.compose(|_| None)).collect()
}

/// Prompt and most tokens of a fine-tuned checkpoint.
fn only(name: &str) -> (&'static str, usize) {
    let [template] = templates(name) else {
        panic!("{name} has one prompt");
    };
    (template.prompt, template.max_new_tokens)
}

#[test]
fn each_task_has_the_prompt_of_its_training() {
    let question = ("answer en {question}", 32);
    for (task, wanted) in [
        ("cococap", ("caption en", 32)),
        ("textcaps", ("caption en", 32)),
        ("scicap", ("caption en", 96)),
        ("screen2words", ("caption en", 32)),
        ("widgetcap", ("caption en", 32)),
        ("coco35l", ("caption {language}", 32)),
        ("vqav2", question),
        ("okvqa", question),
        ("gqa", question),
        ("textvqa", question),
        ("stvqa", question),
        ("ocrvqa", question),
        ("tallyqa", question),
        ("vizwizvqa", question),
        ("rsvqa-hr", question),
        ("rsvqa-lr", question),
        ("aokvqa-da", question),
        ("infovqa", ("answer en {question}", 48)),
        ("nlvr2", ("answer en {question}", 64)),
        ("docvqa", ("{question}", 32)),
        ("chartqa", ("{question}", 48)),
        ("refcoco-seg", ("{thing}", 48)),
        ("ai2d", ("answer en {question} choose from: {choices}", 128)),
        (
            "aokvqa-mc",
            ("answer en {question} choose from: {choices}", 128),
        ),
        (
            "science-qa",
            (
                "Question: {question}\nContext: {context}\nOptions: {options}\nAnswer:",
                512,
            ),
        ),
        ("xgqa", ("answer {language} {question}", 32)),
        ("marvl", ("answer {language} {question}", 64)),
    ] {
        assert_eq!(
            only(&format!("google/paligemma-3b-ft-{task}-224")),
            wanted,
            "{task}"
        );
    }
    assert_eq!(
        prompts("google/paligemma2-10b-ft-docci-448"),
        ["caption en", "describe en"]
    );
    for two in ["nlvr2", "marvl"] {
        let [template] = FineTuned::named(two).unwrap().templates else {
            panic!("{two} has one prompt");
        };
        assert_eq!(template.pictures, 2);
    }
    let [refcoco] = FineTuned::named("refcoco-seg").unwrap().templates else {
        panic!("RefCOCO has one prompt");
    };
    assert_eq!(refcoco.answer, AnswerKind::UnlabelledMask);
    let [ai2d] = FineTuned::named("ai2d").unwrap().templates else {
        panic!("AI2D has one prompt");
    };
    let filled = |slot| match slot {
        Slot::Question => Some("what is this?"),
        Slot::Choices => Some("a \t b"),
        _ => None,
    };
    assert_eq!(
        ai2d.compose(filled),
        "answer en what is this? choose from: a \t b"
    );
}

#[test]
fn names_are_recognized_wherever_they_stand() {
    let read = |name: &str| Checkpoint::named(name).map(|it| (it.family, it.size, it.side));
    for name in [
        "google/paligemma2-10b-mix-448",
        "/models/PaliGemma2-10B-mix-448/",
        "models--google--paligemma2-10b-mix-448/snapshots/0123",
        "paligemma2-10b-mix-448-q4",
        "https://huggingface.co/google/paligemma2-10b-mix-448/tree/main",
        // The last one counts.
        "paligemma-3b-pt-224/paligemma2-10b-mix-448",
    ] {
        assert_eq!(read(name), Some((Family::PaliGemma2, "10b", 448)), "{name}");
        assert_eq!(Checkpoint::named(name).unwrap().stage, Stage::Mix);
    }
    for name in [
        "",
        "gemma-3b-mix-224",
        "paligemma",
        "paligemma-3b-mix",
        "paligemma-3b-mix-2240",
        "paligemma-3b-ft-224",
        "paligemma-3b-ft-unknown-224",
        "paligemma3-3b-mix-224",
        "paligemma-7b-mix-224",
        "päligemma-3b-mix-224",
    ] {
        assert_eq!(Checkpoint::named(name), None, "{name}");
        // Of such a model everything is offered, free text among it.
        assert_eq!(templates(name), &MIX[..]);
    }
    assert_eq!(templates("google/paligemma-3b-pt-896"), &PRE_TRAINED[..]);
}

#[test]
fn every_published_fine_tune_finds_its_own_task() {
    let mut published = 0;
    for known in &FINE_TUNED {
        for side in [224, 448, 896] {
            let name = format!("google/paligemma-3b-ft-{}-{side}", known.task);
            let found = Checkpoint::named(&name).unwrap();
            assert_eq!(found.stage, Stage::FineTuned(known), "{name}");
            assert_eq!(found.side, side);
            published += usize::from(known.sides.contains(&side));
        }
    }
    // 24 tasks in two sizes, six of them in a third.
    assert_eq!(published, 24 * 2 + 6);
    assert!(FINE_TUNED.is_sorted_by_key(|known| known.task));
}

#[test]
fn templates_read_back_what_they_composed() {
    let fine_tuned = FINE_TUNED.iter().flat_map(|known| known.templates);
    for template in MIX.iter().chain(&PRE_TRAINED).chain(fine_tuned) {
        let prompt = template.compose(|_| None);
        let read = template.read(&prompt).unwrap();
        let wanted: Vec<_> = template
            .slots()
            .into_iter()
            .map(|s| (s, s.example()))
            .collect();
        assert_eq!(read, wanted, "{}", template.prompt);
        assert!((1..=512).contains(&template.max_new_tokens));
        assert!(!prompt.contains(['{', '}']), "{prompt}");
        assert!(!template.title.is_empty() && template.title.len() < 16);
    }
}

#[test]
fn a_prompt_finds_the_template_it_follows() {
    let title = |all: &'static [Template], prompt| best_fit(all, prompt).map(|it| it.title);
    assert_eq!(title(&MIX, "detect cat ; dog"), Some("Detect"));
    assert_eq!(title(&MIX, " caption de "), Some("Caption"));
    assert_eq!(title(&MIX, "ocr"), Some("Read text"));
    assert_eq!(title(&MIX, "answer en how many?"), Some("Answer"));
    assert_eq!(title(&MIX, "how many?"), Some("Free text"));
    // `caption` without a language, and with what is no language.
    assert_eq!(title(&MIX, "caption"), Some("Free text"));
    assert_eq!(title(&MIX, "caption the cat"), Some("Free text"));
    assert_eq!(title(&PRE_TRAINED, "how many?"), None);
    let boxed = "caption <loc0001><loc0002><loc0003><loc0004>";
    assert_eq!(title(&PRE_TRAINED, boxed), Some("Caption a box"));
    let science = FineTuned::named("science-qa").unwrap().templates;
    let block = "Question: why?\nContext: N/A\nOptions: (A) x, (B) y\nAnswer:";
    assert_eq!(title(science, block), Some("Question"));
    assert_eq!(title(science, "why?"), None);
}

#[test]
fn what_has_no_label_is_what_was_referred_to() {
    assert_eq!(referred(" left person "), Some("left person"));
    assert_eq!(referred("segment left person"), Some("left person"));
    assert_eq!(referred("detect cat"), Some("cat"));
    assert_eq!(referred("<image>detect cat"), Some("cat"));
    assert_eq!(
        referred("<image> <image>\nleft person"),
        Some("left person")
    );
    assert_eq!(referred("<image>"), None);
    assert_eq!(referred("detect cat ; dog"), None);
    assert_eq!(referred("segment "), Some("segment"));
    assert_eq!(referred("  "), None);
}

#[test]
fn languages_are_codes() {
    assert!(LANGUAGES.is_sorted());
    let code = |language: &&str| {
        (2..=3).contains(&language.len()) && language.bytes().all(|b| b.is_ascii_lowercase())
    };
    assert!(LANGUAGES.iter().all(code));
}
