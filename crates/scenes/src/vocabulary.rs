//! The 32 kinds of things that the demo model was trained on.

/// A kind of thing, by the model's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Singular, as in `detect cat`.
    pub name: &'static str,
    /// Plural, as in `how many cats are there?`.
    pub plural: &'static str,
    /// How many different sprites show it: `{name}_0.png`, `{name}_1.png`, ….
    pub sprites: usize,
}

impl Kind {
    /// `a cat`, `an apple`.
    #[must_use]
    pub fn with_article(&self) -> String {
        let article = if self.name.starts_with(['a', 'e', 'i', 'o', 'u']) {
            "an"
        } else {
            "a"
        };
        format!("{article} {}", self.name)
    }

    /// The kind with this singular.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The kind with this plural.
    #[must_use]
    pub fn with_plural(plural: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.plural == plural)
    }
}

const fn kind(name: &'static str, plural: &'static str, sprites: usize) -> Kind {
    Kind {
        name,
        plural,
        sprites,
    }
}

/// In alphabetical order, which is also the order of the model's captions.
pub const KINDS: [Kind; 32] = [
    kind("apple", "apples", 2),
    kind("ball", "balls", 2),
    kind("balloon", "balloons", 1),
    kind("banana", "bananas", 1),
    kind("bird", "birds", 1),
    kind("boat", "boats", 1),
    kind("bus", "buses", 1),
    kind("butterfly", "butterflies", 1),
    kind("cake", "cakes", 1),
    kind("car", "cars", 2),
    kind("cat", "cats", 2),
    kind("clock", "clocks", 1),
    kind("cup", "cups", 1),
    kind("dog", "dogs", 2),
    kind("elephant", "elephants", 1),
    kind("fish", "fish", 2),
    kind("flower", "flowers", 2),
    kind("frog", "frogs", 1),
    kind("guitar", "guitars", 1),
    kind("heart", "hearts", 2),
    kind("house", "houses", 1),
    kind("moon", "moons", 1),
    kind("mushroom", "mushrooms", 1),
    kind("penguin", "penguins", 1),
    kind("pig", "pigs", 1),
    kind("pizza", "pizzas", 1),
    kind("rocket", "rockets", 1),
    kind("star", "stars", 1),
    kind("strawberry", "strawberries", 1),
    kind("tree", "trees", 2),
    kind("turtle", "turtles", 1),
    kind("umbrella", "umbrellas", 1),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn is_what_the_checkpoint_says() {
        let published: serde_json::Value =
            serde_json::from_str(include_str!("../../../web/demo/model/classes.json")).unwrap();
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        let plurals: Vec<&str> = KINDS.iter().map(|kind| kind.plural).collect();
        assert_eq!(published["names"], serde_json::json!(names));
        assert_eq!(published["plurals"], serde_json::json!(plurals));
    }

    #[test]
    fn every_sprite_is_there_and_none_is_forgotten() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/demo/sprites");
        let mut expected: Vec<String> = KINDS
            .iter()
            .flat_map(|kind| (0..kind.sprites).map(move |n| format!("{}_{n}.png", kind.name)))
            .collect();
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".png"))
            .collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn articles_follow_the_first_letter() {
        assert_eq!(Kind::named("apple").unwrap().with_article(), "an apple");
        assert_eq!(Kind::named("cat").unwrap().with_article(), "a cat");
        assert_eq!(Kind::with_plural("buses").unwrap().name, "bus");
        assert_eq!(Kind::named("zebra"), None);
    }
}
