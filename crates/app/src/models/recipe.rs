//! The recipes that a person can choose, in a line each.

/// How a model's weights are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecipeChoice {
    /// As the engine calls it.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) title: &'static str,
    /// What it costs. Overlaps are the mean box IoU with the answers of unpacked weights that
    /// benches/FIDELITY.md gives for the demo model.
    pub(crate) cost: &'static str,
}

/// What is chosen unless a person says otherwise.
pub(crate) const DEFAULT: &str = "q4";

/// All of them, the default first.
pub(crate) const RECIPES: [RecipeChoice; 5] = [
    RecipeChoice {
        name: DEFAULT,
        title: "4 bits (q4)",
        cost: "4 bits a weight in the decoder, 8 elsewhere. On the demo model its boxes overlap \
               those of unpacked weights by 98 %, and as many are right.",
    },
    RecipeChoice {
        name: "q4-small",
        title: "4 bits, small (q4-small)",
        cost: "As q4, with 4 bits in the vocabulary, too: the smallest. On the demo model \
               its boxes overlap those of unpacked weights by 96 %, and as many are right.",
    },
    RecipeChoice {
        name: "q8",
        title: "8 bits (q8)",
        cost: "8 bits a weight everywhere. On the demo model its boxes overlap those of unpacked \
               weights by 99.7 %.",
    },
    RecipeChoice {
        name: "f16",
        title: "Half precision (f16)",
        cost: "16 bits a weight: the same answers as unpacked weights on the demo model, three \
               times the size of q4.",
    },
    RecipeChoice {
        name: "as-stored",
        title: "As published (as-stored)",
        cost: "Nothing is packed: the weights as they are in the files.",
    },
];

/// The recipe of this name, among those that can be chosen.
pub(crate) fn named(name: &str) -> Option<RecipeChoice> {
    RECIPES.into_iter().find(|recipe| recipe.name == name)
}
