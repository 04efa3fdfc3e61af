//! What was measured of this machine's adapters, kept in the user's cache directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args as ClapArgs;
use paligemma_engine::{Tune, Tuned, TuningOptions, Variants};
use serde_json::{Map, Value, json};

/// Version of the file; another one is not read.
const VERSION: u64 = 1;
/// A file that is larger is not ours.
const MOST_BYTES: u64 = 256 << 10;
/// Adapters that are kept. Drivers change, and what was measured with an old one is of no use.
const MOST_ADAPTERS: usize = 32;

#[derive(ClapArgs)]
pub(crate) struct TuningArgs {
    /// Use the usual kernels, whatever was measured of the adapter. By default a GPU that is new is
    /// measured once, within a second or two, and the choice kept in the user's cache directory, in
    /// paligemma/tuning.json
    #[arg(long)]
    pub(crate) no_tuning: bool,
    /// Use these kernels, as `bench` names them: "tiled fours=131072", "cooperative fours=131072 bytes", "tiled fours=131072 norms", "registers lanes=4 subgroups".
    /// What the adapter lacks a feature for becomes what needs none
    #[arg(long, value_name = "NAMES", conflicts_with = "no_tuning")]
    kernels: Option<Variants>,
}

impl TuningArgs {
    /// What is kept, unless nobody wants it.
    pub(crate) fn options(&self) -> TuningOptions {
        let (known, tune) = match (self.no_tuning, self.kernels) {
            (_, Some(variants)) => (Vec::new(), Tune::Given(variants)),
            (true, None) => (Vec::new(), Tune::Never),
            (false, None) => (
                file().map_or_else(Vec::new, |file| read(&file)),
                Tune::Unknown,
            ),
        };
        TuningOptions { known, tune }
    }
}

/// Keeps what was measured, beside what is kept of other adapters.
///
/// # Errors
/// Why it is not kept.
pub(crate) fn keep(tuned: &Tuned) -> Result<(), String> {
    let file = file().ok_or("this system names no cache directory")?;
    let failed = |error: io::Error| {
        format!(
            "{}: {error}; check the folder's permissions and the free space",
            file.display()
        )
    };
    write(&file, tuned).map_err(failed)
}

fn file() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("paligemma").join("tuning.json"))
}

/// What a file says; nothing where there is none or it is not one of ours.
fn read(file: &Path) -> Vec<Tuned> {
    let small = |about: &fs::Metadata| about.is_file() && about.len() <= MOST_BYTES;
    if !fs::metadata(file).as_ref().is_ok_and(small) {
        return Vec::new();
    }
    let text = fs::read(file).unwrap_or_default();
    let kept: Value = serde_json::from_slice(&text).unwrap_or_default();
    let ours = kept["version"].as_u64() == Some(VERSION);
    let adapters = kept["adapters"].as_object().filter(|_| ours);
    let entries = adapters.into_iter().flatten().filter_map(|(key, value)| {
        Some(Tuned {
            adapter: key.clone(),
            variants: value.as_str()?.parse().ok()?,
        })
    });
    entries.collect()
}

/// Under another name first, so that whoever reads meanwhile finds the old file or the new one.
fn write(file: &Path, tuned: &Tuned) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let text = |of: &Tuned| Value::from(of.variants.to_string());
    let mut adapters: BTreeMap<String, Value> = read(file)
        .iter()
        .map(|of| (of.adapter.clone(), text(of)))
        .collect();
    if adapters.len() >= MOST_ADAPTERS {
        adapters.clear();
    }
    adapters.insert(tuned.adapter.clone(), text(tuned));
    let adapters: Map<String, Value> = adapters.into_iter().collect();
    let kept = json!({ "version": VERSION, "adapters": adapters });
    let unfinished = folder.join(format!("tuning.{}.unfinished", std::process::id()));
    let written = fs::write(&unfinished, format!("{kept:#}\n"));
    let written = written.and_then(|()| fs::rename(&unfinished, file));
    if written.is_err() {
        // The failure is what is told.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuned(adapter: &str, variants: &str) -> Tuned {
        Tuned {
            adapter: adapter.to_owned(),
            variants: variants.parse().expect(variants),
        }
    }

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("paligemma-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder.join("deeper/tuning.json")
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let file = scratch("kept");
        let (one, other) = (tuned("a", "tiled lanes=8"), tuned("b", "registers lanes=1"));
        write(&file, &other).expect("a folder for temporary files");
        write(&file, &one).expect("as before");
        assert_eq!(read(&file), [one, other.clone()]);
        let anew = tuned("a", "tiled lanes=16");
        write(&file, &anew).expect("as before");
        assert_eq!(read(&file), [anew, other]);
        for index in 0..2 * MOST_ADAPTERS {
            write(&file, &tuned(&index.to_string(), "tiled lanes=4")).expect("as before");
        }
        let kept = read(&file);
        assert!(kept.len() <= MOST_ADAPTERS);
        let last = (2 * MOST_ADAPTERS - 1).to_string();
        assert!(kept.iter().any(|tuned| tuned.adapter == last));
        let folder = file.parent().and_then(Path::parent).expect("two above");
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn what_is_not_ours_says_nothing() {
        let file = scratch("spoilt");
        assert_eq!(read(&file), []);
        write(&file, &tuned("a", "tiled lanes=8")).expect("a folder for temporary files");
        let nested = "[".repeat(100_000);
        let large = " ".repeat(MOST_BYTES as usize + 1);
        for text in [
            "",
            "{",
            "null",
            "[1]",
            "\u{0}\u{1}",
            &nested,
            &large,
            r#"{"version":2,"adapters":{"a":"tiled lanes=8"}}"#,
            r#"{"adapters":{"a":"tiled lanes=8"}}"#,
            r#"{"version":1,"adapters":["tiled lanes=8"]}"#,
            r#"{"version":1,"adapters":{"a":7,"b":"tiled lanes=3"}}"#,
        ] {
            fs::write(&file, text).expect("as before");
            assert_eq!(read(&file), [], "{text:.40}");
        }
        // The next choice goes there all the same.
        write(&file, &tuned("a", "tiled lanes=8")).expect("as before");
        assert_eq!(read(&file).len(), 1);
        let folder = file.parent().and_then(Path::parent).expect("two above");
        let _ = fs::remove_dir_all(folder);
    }
}
