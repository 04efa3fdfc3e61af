//! Answers that are kept, a line of JSON for each scene.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use paligemma_engine::Detection;
use serde::{Deserialize, Serialize};

/// What answers depend on, as far as it can be seen; those of other conditions are not used.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// What computed.
    pub(crate) adapter: String,
    /// A hash of the weights.
    pub(crate) model: String,
    /// Name and every precision.
    pub(crate) recipe: String,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Reply {
    pub(crate) ids: Vec<u32>,
    pub(crate) text: String,
    pub(crate) detections: Vec<Detection>,
}

/// The answers about one scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answers {
    pub(crate) seed: u32,
    pub(crate) detect: Reply,
    pub(crate) caption: Reply,
    pub(crate) count: Reply,
}

/// The answers of one recipe: a file whose first line is the conditions.
pub(crate) struct Log {
    file: File,
    answers: BTreeMap<u32, Answers>,
}

impl Log {
    /// Opens the file, or starts it when it is not there or has other conditions. What an
    /// interrupted run left half-written is dropped.
    ///
    /// # Errors
    /// A file that can be neither read nor written, or that another run is writing.
    pub(crate) fn open(path: &Path, conditions: &Conditions) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        file.try_lock().map_err(|error| {
            io::Error::other(format!(
                "cannot have {} to itself, is another measurement running? ({error})",
                path.display()
            ))
        })?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;

        let mut answers = BTreeMap::new();
        let mut lines = text
            .split_inclusive('\n')
            .take_while(|line| line.ends_with('\n'));
        let first = lines.next().unwrap_or_default();
        if serde_json::from_str(first).is_ok_and(|found: Conditions| found == *conditions) {
            let mut whole = first.len();
            for line in lines {
                let Ok(found) = serde_json::from_str::<Answers>(line) else {
                    break;
                };
                answers.insert(found.seed, found);
                whole += line.len();
            }
            file.set_len(whole as u64)?;
        } else {
            file.set_len(0)?;
            let line = serde_json::to_string(conditions)? + "\n";
            file.write_all(line.as_bytes())?;
        }
        Ok(Self { file, answers })
    }

    /// The answers about a scene, if they are there.
    pub(crate) fn get(&self, seed: u32) -> Option<&Answers> {
        self.answers.get(&seed)
    }

    /// Keeps answers, on disk first.
    ///
    /// # Errors
    /// A disk that is full or gone.
    pub(crate) fn add(&mut self, answers: Answers) -> io::Result<()> {
        let line = serde_json::to_string(&answers)? + "\n";
        self.file.write_all(line.as_bytes())?;
        self.answers.insert(answers.seed, answers);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(seed: u32) -> Answers {
        let reply = Reply {
            ids: vec![seed, 7],
            text: "a cat".to_owned(),
            detections: vec![Detection {
                label: "cat".to_owned(),
                bbox: [0.1, 2.0, 3.7, 4.0],
                ..Detection::default()
            }],
        };
        Answers {
            seed,
            detect: reply.clone(),
            caption: reply.clone(),
            count: reply,
        }
    }

    fn conditions(adapter: &str) -> Conditions {
        Conditions {
            adapter: adapter.to_owned(),
            model: "m".to_owned(),
            recipe: "r".to_owned(),
        }
    }

    #[test]
    fn what_was_kept_is_there_again_but_for_a_half_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/q8.jsonl");
        let mut log = Log::open(&path, &conditions("a")).unwrap();
        log.add(answers(1)).unwrap();
        log.add(answers(2)).unwrap();
        // While it is open nobody else may write to it.
        assert!(Log::open(&path, &conditions("a")).is_err());
        drop(log);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 9]).unwrap();

        let mut log = Log::open(&path, &conditions("a")).unwrap();
        assert_eq!(log.get(1), Some(&answers(1)));
        assert_eq!(log.get(2), None);
        log.add(answers(2)).unwrap();
        drop(log);
        let log = Log::open(&path, &conditions("a")).unwrap();
        assert_eq!(log.get(2), Some(&answers(2)));
    }

    #[test]
    fn answers_of_other_conditions_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q8.jsonl");
        Log::open(&path, &conditions("a"))
            .unwrap()
            .add(answers(1))
            .unwrap();
        let log = Log::open(&path, &conditions("b")).unwrap();
        assert_eq!(log.get(1), None);
    }
}
