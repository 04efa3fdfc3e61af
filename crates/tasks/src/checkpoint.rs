//! A published checkpoint, recognized by its name.

use crate::fine_tuned::FineTuned;
use crate::general::{MIX, PRE_TRAINED};
use crate::template::Template;

/// Which of the two families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// PaliGemma.
    PaliGemma1,
    /// PaliGemma 2.
    PaliGemma2,
}

/// How far a checkpoint was trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// `pt`: to be trained further.
    PreTrained,
    /// `mix`: on a mixture of tasks, ready to use.
    Mix,
    /// `ft`: for one task.
    FineTuned(&'static FineTuned),
}

/// What a checkpoint's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its family.
    pub family: Family,
    /// `3b`, `10b` or `28b`.
    pub size: &'static str,
    /// How far it was trained.
    pub stage: Stage,
    /// Side of the square it sees, in pixels.
    pub side: u32,
}

const FAMILIES: [(&str, Family); 2] = [
    ("paligemma2-", Family::PaliGemma2),
    ("paligemma-", Family::PaliGemma1),
];
const SIZES: [&str; 3] = ["3b-", "10b-", "28b-"];
const SIDES: [u32; 3] = [224, 448, 896];

impl Checkpoint {
    /// Reads `google/paligemma2-3b-mix-224` and its like, wherever in `name` it stands: in a
    /// path, in a link, before an ending such as `-q4`. The last one counts.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let starts = name.rmatch_indices("paligemma").map(|(start, _)| start);
        starts
            .into_iter()
            .find_map(|start| Self::read(&name[start..]))
    }

    fn read(text: &str) -> Option<Self> {
        let (rest, family) = FAMILIES
            .into_iter()
            .find_map(|(prefix, family)| Some((text.strip_prefix(prefix)?, family)))?;
        let (rest, size) = SIZES
            .into_iter()
            .find_map(|size| Some((rest.strip_prefix(size)?, size.trim_end_matches('-'))))?;
        let (rest, stage) = if let Some(rest) = rest.strip_prefix("pt-") {
            (rest, Stage::PreTrained)
        } else if let Some(rest) = rest.strip_prefix("mix-") {
            (rest, Stage::Mix)
        } else {
            let rest = rest.strip_prefix("ft-")?;
            let tasks = crate::FINE_TUNED.iter();
            let mut fitting = tasks.filter_map(|known| {
                let rest = rest.strip_prefix(known.task)?.strip_prefix('-')?;
                Some((rest, Stage::FineTuned(known)))
            });
            fitting.next()?
        };
        let side = SIDES.into_iter().find(|side| {
            let after = rest.strip_prefix(&side.to_string());
            after.is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_digit()))
        })?;
        Some(Self {
            family,
            size,
            stage,
            side,
        })
    }

    /// Its prompts.
    pub fn templates(&self) -> &'static [Template] {
        match self.stage {
            Stage::PreTrained => &PRE_TRAINED,
            Stage::Mix => &MIX,
            Stage::FineTuned(task) => task.templates,
        }
    }
}

/// The prompts of the checkpoint of this name: those of `mix` where the name says nothing.
pub fn templates(name: &str) -> &'static [Template] {
    Checkpoint::named(name).map_or(&MIX, |checkpoint| checkpoint.templates())
}
