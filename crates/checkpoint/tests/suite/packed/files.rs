//! Files beside the weights that change, or are damaged, between two attempts.

use super::ingest::pack_into;
use super::plan;
use super::shelf::{Hub, Shelf};
use crate::support::{SINGLE, memory, open};
use paligemma_checkpoint::{Checkpoint, IngestError, Kept, MemorySource, Pieces, Recipe};
use pollster::block_on;

/// A configuration of the same length replaced between two attempts is noticed where no commit and
/// no digest would tell; one that was damaged in the store is not taken for that.
#[test]
fn a_replaced_configuration_is_noticed_when_fetching_goes_on() {
    let files = memory(SINGLE);
    let shelf = Shelf::default();
    shelf.room.set(Some(2));
    pack_into(&open(files.clone()), &Recipe::Q4, &shelf).unwrap_err();
    let key = plan(&open(files.clone()), &Recipe::Q4).key();

    let text = String::from_utf8(files.get("config.json").unwrap().to_vec()).unwrap();
    // White space is all it takes: what the model would be does not matter.
    let other = text.replacen(": ", " :", 1);
    assert!(other != text && other.len() == text.len());
    let mut replaced = files.clone();
    replaced.insert("config.json", other);
    let replaced = open(replaced);
    assert_eq!(plan(&replaced, &Recipe::Q4).key(), key, "no key tells");
    shelf.room.set(None);
    let error = pack_into(&replaced, &Recipe::Q4, &shelf).unwrap_err();
    assert!(
        matches!(&error, IngestError::Replaced { path } if path == "config.json"),
        "{error}"
    );
    assert_eq!(shelf.pieces.borrow().len(), 2, "nothing was mixed in");

    let name = (key, "config.json".to_owned());
    shelf.files.borrow_mut().get_mut(&name).unwrap()[7] ^= 1;
    pack_into(&open(files), &Recipe::Q4, &shelf).unwrap();
    // Of a complete model the files are those that were kept: it needs the server's no more.
    pack_into(&replaced, &Recipe::Q4, &shelf).unwrap();
}

/// A tokenizer is too long to be read again at every attempt: an entity tag says when to.
#[test]
fn a_replaced_tokenizer_is_noticed_by_its_validator() {
    let mut files = memory(SINGLE);
    let mut tokenizer = files.get("tokenizer.json").unwrap().to_vec();
    tokenizer.resize(1 << 21, b' ');
    files.insert("tokenizer.json", tokenizer.clone());
    let hub = |files: &MemorySource, tag: &str| {
        let mut hub = Hub::new(files.clone());
        hub.digests.clear();
        let tag = ("tokenizer.json".to_owned(), tag.to_owned());
        hub.validators.extend([tag]);
        open(hub)
    };
    let read = |checkpoint: &Checkpoint<Hub>| {
        let reads = checkpoint.source().reads.borrow();
        reads.iter().any(|(path, _)| path == "tokenizer.json")
    };
    let shelf = Shelf::default();
    shelf.room.set(Some(2));
    let first = hub(&files, "\"1\"");
    let key = plan(&first, &Recipe::Q4).key();
    pack_into(&first, &Recipe::Q4, &shelf).unwrap_err();
    assert!(read(&first));

    // The same tag: not read again. Another one, and the same bytes: read, and no harm done.
    for (tag, is_read) in [("\"1\"", false), ("\"2\"", true), ("\"2\"", false)] {
        shelf.room.set(Some(1));
        let again = hub(&files, tag);
        assert_eq!(plan(&again, &Recipe::Q4).key(), key, "no key tells");
        let error = pack_into(&again, &Recipe::Q4, &shelf).unwrap_err();
        assert!(matches!(error, IngestError::Store(_)), "{error}");
        assert_eq!(read(&again), is_read, "{tag}");
    }

    let last = tokenizer.len() - 1;
    tokenizer[last] = b'\n';
    let mut replaced = files.clone();
    replaced.insert("tokenizer.json", tokenizer);
    shelf.room.set(None);
    let error = pack_into(&hub(&replaced, "\"3\""), &Recipe::Q4, &shelf).unwrap_err();
    assert!(
        matches!(&error, IngestError::Replaced { path } if path == "tokenizer.json"),
        "{error}"
    );
    let manifest = pack_into(&hub(&files, "\"2\""), &Recipe::Q4, &shelf).unwrap();
    assert!(manifest.plan.files.iter().all(|it| it.validator.is_none()));
}

/// Also where the source states no digest: what was stored once is what it is compared with.
#[test]
fn a_damaged_side_file_is_fetched_again() {
    let checkpoint = open(memory(SINGLE));
    let shelf = Shelf::default();
    let manifest = pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap();
    let key = manifest.plan.key();
    let name = (key, "tokenizer.json".to_owned());
    shelf.files.borrow_mut().get_mut(&name).unwrap()[7] ^= 1;
    let kept = block_on(Kept::open(&shelf, key)).unwrap().unwrap();
    let error = block_on(kept.file("tokenizer.json"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("tokenizer.json") && error.contains("damaged"),
        "{error}"
    );
    assert_eq!(
        pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap(),
        manifest
    );
    let original = checkpoint.source().get("tokenizer.json").unwrap();
    assert!(block_on(kept.file("tokenizer.json")).unwrap().unwrap() == original);
}
