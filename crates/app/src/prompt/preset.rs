//! The tasks that the demo model knows, as prompts a person can read and edit.
//!
//! The prompt's text is the only state: which task and which things are chosen is read from it,
//! so a prompt that was typed lights the same buttons as one that was clicked.

use paligemma_scenes::Kind;

/// What a prompt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// `detect cat ; dog`
    Detect,
    /// `segment cat`
    Segment,
    /// `caption en`
    Caption,
    /// `answer en how many cats are there?`
    Count,
    /// `answer en how many objects are there?`
    CountAll,
    /// `answer en is there a cat?`
    Exists,
}

const CAPTION: &str = "caption en";
const COUNT_ALL: &str = "answer en how many objects are there?";

impl Task {
    /// Every task, in the order of the buttons.
    pub(crate) const ALL: [Task; 6] = [
        Task::Detect,
        Task::Segment,
        Task::Caption,
        Task::Count,
        Task::CountAll,
        Task::Exists,
    ];

    /// The words on the button.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Task::Detect => "Detect",
            Task::Segment => "Segment",
            Task::Caption => "Caption",
            Task::Count => "Count",
            Task::CountAll => "Count all",
            Task::Exists => "Is there?",
        }
    }

    /// Whether the answer has boxes.
    pub(crate) fn has_boxes(self) -> bool {
        matches!(self, Task::Detect | Task::Segment)
    }

    /// The prompt for these things. `cat` stands in where a thing is needed and none is given;
    /// only `detect` takes more than one.
    pub(crate) fn compose(self, things: &[&str]) -> String {
        let first = things.first().copied().unwrap_or("cat");
        let kind = Kind::named(first);
        match self {
            Task::Detect if things.is_empty() => format!("detect {first}"),
            Task::Detect => format!("detect {}", things.join(" ; ")),
            Task::Segment => format!("segment {first}"),
            Task::Caption => CAPTION.to_owned(),
            Task::Count => {
                let plural =
                    kind.map_or_else(|| format!("{first}s"), |kind| kind.plural.to_owned());
                format!("answer en how many {plural} are there?")
            }
            Task::CountAll => COUNT_ALL.to_owned(),
            Task::Exists => {
                let one = kind.map_or_else(|| format!("a {first}"), Kind::with_article);
                format!("answer en is there {one}?")
            }
        }
    }
}

/// What a prompt asks for, and about which things; none when it is not one of the tasks.
pub(crate) fn read(prompt: &str) -> Option<(Task, Vec<String>)> {
    let prompt = prompt.trim();
    let one = |name: &str| vec![name.trim().to_owned()];
    if prompt == CAPTION {
        return Some((Task::Caption, Vec::new()));
    }
    if prompt == COUNT_ALL {
        return Some((Task::CountAll, Vec::new()));
    }
    if let Some(list) = prompt.strip_prefix("detect ") {
        let things = list
            .split(';')
            .map(str::trim)
            .filter(|thing| !thing.is_empty());
        return Some((Task::Detect, things.map(str::to_owned).collect()));
    }
    if let Some(thing) = prompt.strip_prefix("segment ") {
        return Some((Task::Segment, one(thing)));
    }
    let between = |start: &str, end: &str| prompt.strip_prefix(start)?.strip_suffix(end);
    if let Some(plural) = between("answer en how many ", " are there?") {
        let name = Kind::with_plural(plural).map_or(plural, |kind| kind.name);
        return Some((Task::Count, one(name)));
    }
    let thing = between("answer en is there an ", "?").or(between("answer en is there a ", "?"))?;
    Some((Task::Exists, one(thing)))
}

/// The prompt for another task about the same things, or about `fallback` where the present
/// prompt names none.
pub(crate) fn switch_task(prompt: &str, task: Task, fallback: &[&str]) -> String {
    let things = read(prompt).map(|(_, things)| things).unwrap_or_default();
    if things.is_empty() {
        task.compose(fallback)
    } else {
        task.compose(&things.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

/// The prompt after a click on a thing: `detect` gains or loses it, another task asks about it
/// instead, and where the prompt is about no thing it becomes `detect`.
pub(crate) fn toggle_thing(prompt: &str, thing: &str) -> String {
    match read(prompt) {
        Some((Task::Detect, mut things)) => {
            match things.iter().position(|known| known == thing) {
                Some(at) if things.len() > 1 => drop(things.remove(at)),
                Some(_) => {}
                None => things.push(thing.to_owned()),
            }
            Task::Detect.compose(&things.iter().map(String::as_str).collect::<Vec<_>>())
        }
        Some((task @ (Task::Segment | Task::Count | Task::Exists), _)) => task.compose(&[thing]),
        Some((Task::Caption | Task::CountAll, _)) | None => Task::Detect.compose(&[thing]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_reads_back_what_it_composed() {
        for kind in paligemma_scenes::KINDS {
            for task in Task::ALL {
                let (read_task, things) = read(&task.compose(&[kind.name])).unwrap();
                assert_eq!(read_task, task);
                let about_nothing = matches!(task, Task::Caption | Task::CountAll);
                assert_eq!(
                    things,
                    if about_nothing {
                        vec![]
                    } else {
                        vec![kind.name]
                    }
                );
            }
        }
    }

    #[test]
    fn prompts_are_those_of_the_training() {
        assert_eq!(Task::Detect.compose(&["cat", "dog"]), "detect cat ; dog");
        assert_eq!(Task::Segment.compose(&["cat", "dog"]), "segment cat");
        assert_eq!(
            Task::Count.compose(&["bus"]),
            "answer en how many buses are there?"
        );
        assert_eq!(
            Task::Exists.compose(&["apple"]),
            "answer en is there an apple?"
        );
        // Every prompt stored with the samples is read as one of the tasks.
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/demo/samples");
        let mut prompts = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let text = std::fs::read_to_string(path).unwrap();
                let sample: serde_json::Value = serde_json::from_str(&text).unwrap();
                for output in sample["outputs"].as_array().unwrap() {
                    let prompt = output["prompt"].as_str().unwrap();
                    let (task, things) = read(prompt).unwrap();
                    let things: Vec<&str> = things.iter().map(String::as_str).collect();
                    assert_eq!(task.compose(&things), prompt);
                    prompts += 1;
                }
            }
        }
        assert_eq!(prompts, 84);
    }

    #[test]
    fn free_text_is_left_alone() {
        assert_eq!(read("what is this?"), None);
        assert_eq!(read("answer en is there"), None);
        assert_eq!(read("  detect  red hat;Ärger ;; "), {
            Some((Task::Detect, vec!["red hat".to_owned(), "Ärger".to_owned()]))
        });
    }

    #[test]
    fn switching_keeps_the_things() {
        assert_eq!(
            switch_task("detect fish ; cat", Task::Count, &[]),
            "answer en how many fish are there?"
        );
        assert_eq!(
            switch_task("caption en", Task::Detect, &["pig", "car"]),
            "detect pig ; car"
        );
        assert_eq!(switch_task("hello", Task::Segment, &[]), "segment cat");
    }

    #[test]
    fn clicking_a_thing_adds_replaces_or_removes_it() {
        assert_eq!(toggle_thing("detect cat", "dog"), "detect cat ; dog");
        assert_eq!(toggle_thing("detect cat ; dog", "cat"), "detect dog");
        assert_eq!(toggle_thing("detect cat", "cat"), "detect cat");
        assert_eq!(
            toggle_thing("answer en is there a cat?", "apple"),
            "answer en is there an apple?"
        );
        assert_eq!(toggle_thing("caption en", "moon"), "detect moon");
        assert_eq!(toggle_thing("", "moon"), "detect moon");
    }
}
