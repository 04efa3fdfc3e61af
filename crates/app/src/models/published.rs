//! The checkpoints that Google publishes, and what they cost.

use paligemma_tasks::{FINE_TUNED, FineTuned};

use crate::wording;

/// What a model is, before anything is asked of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    size: &'static Size,
    /// `mix`, ready to use, `pt`, to be trained further, or `ft`, for one task.
    pub(crate) stage: &'static str,
    /// The task, where it was trained for one.
    task: Option<&'static FineTuned>,
    /// Side of the square the model sees, in pixels.
    pub(crate) side: u32,
}

/// What checkpoints of the same width have in common.
#[derive(Debug, PartialEq, Eq)]
struct Size {
    family: &'static str,
    /// As in `google/paligemma2-3b-mix-224`, up to the stage.
    prefix: &'static str,
    /// As people say it.
    name: &'static str,
    /// Number of weights with pictures of 224 pixels.
    weights: u64,
    /// Bytes a weight in the files that the revision `main` has.
    main_bytes: u64,
    /// Bytes when kept as `q4` and `q4-small`, as `paligemma inspect` computes them.
    kept: [u64; 2],
}

/// The licence of all of them.
pub(crate) const LICENCE: &str = "Gemma Terms of Use";
/// The branch of PaliGemma 1's repositories whose files have two bytes a weight; `main` has four.
pub(crate) const HALF_BRANCH: &str = "bfloat16";

/// Width of the vision tower: weights of a row of the position embedding.
const VISION_WIDTH: u64 = 1152;

const V2_3B: Size = Size {
    family: "PaliGemma 2",
    prefix: "google/paligemma2-3b",
    name: "3B",
    weights: 3_032_242_416,
    main_bytes: 2,
    kept: [2_180_000_000, 1_890_000_000],
};
const V1_3B: Size = Size {
    family: "PaliGemma",
    prefix: "google/paligemma-3b",
    name: "3B",
    weights: 2_923_466_480,
    main_bytes: 4,
    kept: [2_090_000_000, 1_830_000_000],
};
const V2_10B: Size = Size {
    family: "PaliGemma 2",
    prefix: "google/paligemma2-10b",
    name: "10B",
    weights: 9_662_638_832,
    main_bytes: 2,
    kept: [6_070_000_000, 5_610_000_000],
};
const V2_28B: Size = Size {
    family: "PaliGemma 2",
    prefix: "google/paligemma2-28b",
    name: "28B",
    weights: 27_650_487_024,
    main_bytes: 2,
    kept: [16_310_000_000, 15_720_000_000],
};

/// Those that know several tasks, the ones that most people want first.
pub(crate) fn all() -> impl Iterator<Item = Published> {
    const KINDS: [(&str, u32); 5] = [
        ("mix", 224),
        ("mix", 448),
        ("pt", 224),
        ("pt", 448),
        ("pt", 896),
    ];
    [&V2_3B, &V1_3B, &V2_10B, &V2_28B]
        .into_iter()
        .flat_map(|size| {
            KINDS.map(|(stage, side)| Published {
                size,
                stage,
                task: None,
                side,
            })
        })
}

/// Every shape that is published, by the name under which it can be measured, and what it is.
pub(crate) fn shapes() -> impl Iterator<Item = (String, String)> {
    let pretrained = all().filter(|it| it.stage == "pt");
    pretrained.map(|it| {
        let name = it.repository().replace("google/", "").replace("-pt-", "-");
        let Size {
            family,
            name: size,
            kept,
            ..
        } = it.size;
        let kept = wording::bytes(kept[0]);
        (name, format!("{family} {size}, {} px: {kept}", it.side))
    })
}

/// Those that were fine-tuned for one task, by task.
pub(crate) fn fine_tuned() -> impl Iterator<Item = Published> {
    let published = |size, task, side| Published {
        size,
        stage: "ft",
        task: Some(task),
        side,
    };
    // Of PaliGemma 2 there is one task.
    let second = FineTuned::named("docci").into_iter();
    let second =
        second.flat_map(move |task| [&V2_3B, &V2_10B].map(|size| published(size, task, 448)));
    let first = FINE_TUNED.iter().flat_map(move |task| {
        let sides = task.sides.iter();
        sides.map(move |side| published(&V1_3B, task, *side))
    });
    second.chain(first)
}

/// The one of this name.
pub(crate) fn named(repository: &str) -> Option<Published> {
    all()
        .chain(fine_tuned())
        .find(|it| it.repository() == repository)
}

impl Published {
    /// `google/paligemma2-3b-mix-224`
    pub(crate) fn repository(self) -> String {
        let Size { prefix, .. } = self.size;
        match self.task {
            Some(task) => format!("{prefix}-{}-{}-{}", self.stage, task.task, self.side),
            None => format!("{prefix}-{}-{}", self.stage, self.side),
        }
    }

    /// `PaliGemma 2 3B mix 224`
    pub(crate) fn title(self) -> String {
        let Size { family, name, .. } = self.size;
        match self.task {
            Some(task) => format!("{}: {family} {name} {}", task.title, self.side),
            None => format!("{family} {name} {} {}", self.stage, self.side),
        }
    }

    /// What a person should know about how it was trained.
    pub(crate) fn trained(self) -> String {
        match (self.stage, self.task) {
            ("pt", _) => {
                " A pt checkpoint is meant to be trained further; mix answers directly.".to_owned()
            }
            (_, Some(task)) => {
                let prompts = task.templates.iter().map(|template| template.prompt);
                let prompts = prompts.collect::<Vec<_>>().join("” or “");
                format!(
                    " It was fine-tuned for {} alone and wants prompts of the form “{prompts}”.",
                    task.title
                )
            }
            _ => String::new(),
        }
    }

    /// Number of weights.
    fn weights(self) -> u64 {
        let rows = |side: u32| u64::from(side / 14).pow(2);
        self.size.weights + (rows(self.side) - rows(224)) * VISION_WIDTH
    }

    /// Bytes to fetch of this revision, about.
    pub(crate) fn fetch_bytes(self, revision: &str) -> u64 {
        let bytes = match revision {
            "bfloat16" | "float16" => 2,
            _ => self.size.main_bytes,
        };
        self.weights() * bytes
    }

    /// Bytes it takes when kept by this recipe, about; none for recipes it does not know.
    pub(crate) fn kept_bytes(self, recipe: &str, revision: &str) -> Option<u64> {
        match recipe {
            "q4" => Some(self.size.kept[0]),
            "q4-small" => Some(self.size.kept[1]),
            // 8 bits, and 16 more for each 64 weights.
            "q8" => Some(self.weights() / 64 * 66),
            "f16" => Some(self.weights() * 2),
            "as-stored" => Some(self.fetch_bytes(revision)),
            _ => None,
        }
    }

    /// The revision to read: of PaliGemma 1 the branch that is half as large.
    pub(crate) fn best_revision(self) -> &'static str {
        if self.size.main_bytes == 4 {
            HALF_BRANCH
        } else {
            "main"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_hubs() {
        let names: Vec<String> = all().map(Published::repository).collect();
        assert_eq!(names.len(), 20);
        assert_eq!(names[0], "google/paligemma2-3b-mix-224");
        assert_eq!(names[5], "google/paligemma-3b-mix-224");
        assert_eq!(names[19], "google/paligemma2-28b-pt-896");
        for name in &names {
            assert_eq!(named(name).map(Published::repository).as_ref(), Some(name));
        }
        assert_eq!(named("google/paligemma2-3b-mix-896"), None);
    }

    #[test]
    fn shapes_are_named_without_a_stage() {
        let shapes: Vec<_> = shapes().collect();
        assert_eq!(shapes.len(), 12);
        assert_eq!(shapes[0].0, "paligemma2-3b-224");
        assert_eq!(shapes[0].1, "PaliGemma 2 3B, 224 px: 2.18 GB");
        assert_eq!(shapes[11].0, "paligemma2-28b-896");
    }

    #[test]
    fn fine_tuned_ones_are_named_by_their_task() {
        let names: Vec<String> = fine_tuned().map(Published::repository).collect();
        assert_eq!(names.len(), 56);
        for name in [
            "google/paligemma2-3b-ft-docci-448",
            "google/paligemma2-10b-ft-docci-448",
            "google/paligemma-3b-ft-docvqa-896",
            "google/paligemma-3b-ft-refcoco-seg-224",
            "google/paligemma-3b-ft-science-qa-448",
        ] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        for name in &names {
            let known = named(name).unwrap();
            // The name leads to the prompts as well.
            assert_eq!(
                paligemma_tasks::templates(name),
                known.task.unwrap().templates
            );
            assert!(known.trained().contains("fine-tuned"), "{name}");
        }
        assert_eq!(named("google/paligemma-3b-ft-cococap-896"), None);
    }

    #[test]
    fn weights_are_those_of_the_files() {
        // Counted from the shapes in the published files.
        let weights = |name| named(name).unwrap().weights();
        assert_eq!(weights("google/paligemma2-3b-pt-448"), 3_033_127_152);
        assert_eq!(weights("google/paligemma-3b-pt-896"), 2_927_890_160);
        assert_eq!(weights("google/paligemma2-28b-pt-896"), 27_654_910_704);
    }

    #[test]
    fn paligemma_1_is_half_as_large_in_its_branch() {
        let first = named("google/paligemma-3b-mix-224").unwrap();
        let branch = first.best_revision();
        assert_eq!(first.fetch_bytes(branch) * 2, first.fetch_bytes("main"));
        let second = named("google/paligemma2-3b-mix-224").unwrap();
        assert_eq!(second.best_revision(), "main");
        assert_eq!(second.fetch_bytes("main"), 6_064_484_832);
    }

    #[test]
    fn fewer_bits_take_less_room() {
        for model in all() {
            let kept = ["q4-small", "q4", "q8", "f16"]
                .map(|recipe| model.kept_bytes(recipe, "bfloat16").unwrap());
            assert!(kept.is_sorted(), "{}: {kept:?}", model.title());
        }
        assert_eq!(all().next().unwrap().kept_bytes("q1", "main"), None);
    }
}
