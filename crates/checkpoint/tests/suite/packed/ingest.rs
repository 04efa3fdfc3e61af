use super::shelf::{Hub, Shelf};
use super::{expected_piece, plan};
use crate::support::{FIXTURES, SHARDED, SINGLE, memory, open};
use paligemma_checkpoint::{
    Checkpoint, Digest, Folder, FolderStore, Ingest, IngestError, Kept, Manifest, MemorySource,
    PackedSource, Pieces, Recipe, Source, Stage, State, Store, StoreError,
};
use pollster::block_on;

/// Brings a checkpoint into a store, in small pieces.
pub(super) fn pack_into<S: Source, T: Store>(
    checkpoint: &Checkpoint<S>,
    recipe: &Recipe,
    store: &T,
) -> Result<Manifest, IngestError> {
    let ingest = Ingest::quantize(checkpoint, plan(checkpoint, recipe), store);
    block_on(ingest.run(&mut |_| ()))
}

#[test]
fn every_piece_is_what_whole_tensors_come_to() {
    for fixture in FIXTURES {
        for recipe in [Recipe::AS_STORED, Recipe::Q4, Recipe::INT4_G128] {
            let checkpoint = open(memory(fixture));
            let plan = plan(&checkpoint, &recipe);
            let shelf = Shelf::default();
            let manifest = pack_into(&checkpoint, &recipe, &shelf).unwrap();
            let kept = block_on(Kept::open(&shelf, plan.key())).unwrap().unwrap();
            assert_eq!(kept.manifest(), &manifest);
            for index in 0..plan.pieces() {
                let piece = block_on(kept.piece(index)).unwrap();
                let expected = expected_piece(&checkpoint, &plan, index);
                assert!(piece == expected, "{fixture} {recipe} piece {index}");
                assert_eq!(manifest.digests[index], Digest::of(&expected));
            }
            let tokenizer = block_on(kept.file("tokenizer.json")).unwrap().unwrap();
            let original = checkpoint.source().get("tokenizer.json").unwrap();
            assert!(tokenizer == original);
            assert_eq!(block_on(kept.file("model.safetensors")).unwrap(), None);
        }
    }
}

/// Cut again and again, in whatever place: what comes out is the same, and of the weights nothing
/// is read twice but what the cut piece had begun with.
#[test]
fn it_goes_on_where_it_was_cut() {
    let whole = {
        let checkpoint = open(Hub::new(memory(SHARDED)));
        let before = checkpoint.source().given();
        let shelf = Shelf::default();
        pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap();
        let digests: Vec<_> = shelf
            .pieces
            .borrow()
            .values()
            .map(|(m, _)| m.sha256)
            .collect();
        (digests, checkpoint.source().given() - before)
    };
    for step in [210_000, 260_000, 333_333] {
        let shelf = Shelf::default();
        let (mut cuts, mut read) = (0, 0);
        loop {
            // A new visit: headers are read again, and nothing is remembered but what is stored.
            let checkpoint = open(Hub::new(memory(SHARDED)));
            checkpoint.source().until.set(step);
            let before = checkpoint.source().given();
            let outcome = pack_into(&checkpoint, &Recipe::Q4, &shelf);
            read += checkpoint.source().given() - before;
            match outcome {
                Ok(_) => break,
                Err(error) => assert!(error.to_string().contains("connection was cut"), "{error}"),
            }
            cuts += 1;
            assert!(cuts < 1000, "no progress with {step}");
        }
        assert!(cuts > 2, "{step}");
        let pieces = shelf.pieces.borrow();
        let digests: Vec<_> = pieces.values().map(|(mark, _)| mark.sha256).collect();
        assert_eq!(digests, whole.0);
        // At most the piece that was under way: 4 bits and a scale hold at most 32 / 4.5 times as
        // many bytes of f32.
        let largest = 8 * super::PIECE as u64;
        assert!(
            read - whole.1 <= cuts * largest,
            "{step}: {} over",
            read - whole.1
        );
    }
}

#[test]
fn a_full_store_keeps_what_it_has() {
    let checkpoint = open(Hub::new(memory(SHARDED)));
    let shelf = Shelf::default();
    shelf.room.set(Some(3));
    let error = pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap_err();
    assert!(
        matches!(error, IngestError::Store(StoreError::Full { .. })),
        "{error}"
    );
    assert_eq!(shelf.pieces.borrow().len(), 3);
    let record = shelf.records.borrow().values().next().cloned().unwrap();
    assert_eq!(record.state, State::Partial);
    assert!(
        block_on(Kept::open(&shelf, record.key()))
            .unwrap()
            .is_none()
    );
    shelf.room.set(None);
    pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap();
}

/// A file with other bytes than its publisher says: nothing of it stays, nothing is complete.
#[test]
fn a_damaged_file_is_noticed_by_its_digest() {
    let mut files = memory(SHARDED);
    let names: Vec<String> = files.paths().map(str::to_owned).collect();
    let shards: Vec<&String> = names
        .iter()
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    assert_eq!(shards.len(), 2);
    let honest = Hub::new(files.clone()).digests;
    let mut bytes = files.get(shards[1]).unwrap().to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    files.insert(shards[1].as_str(), bytes);
    let mut hub = Hub::new(files);
    hub.digests = honest;
    let checkpoint = open(hub);
    let shelf = Shelf::default();
    // Also when it was interrupted in between.
    checkpoint.source().until.set(300_000);
    pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap_err();
    checkpoint.source().until.set(u64::MAX);
    let error = pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap_err();
    assert!(
        matches!(&error, IngestError::Changed { path } if path == shards[1]),
        "{error}"
    );
    let plan = plan(&checkpoint, &Recipe::Q4);
    for (tensor, info) in plan.tensors.iter().zip(checkpoint.tensors()) {
        for span in tensor.spans.iter().filter(|_| &info.file == shards[1]) {
            assert!(
                !shelf
                    .pieces
                    .borrow()
                    .contains_key(&(plan.key(), span.piece))
            );
        }
    }
    assert_eq!(shelf.records.borrow()[&plan.key()].state, State::Partial);
}

/// A whole file is hashed although it is read over several visits.
#[test]
fn digests_are_checked_across_visits() {
    let checkpoint = open(Hub::new(memory(SHARDED)));
    let shelf = Shelf::default();
    for _ in 0..4 {
        checkpoint.source().until.set(150_000);
        pack_into(&checkpoint, &Recipe::Q8, &shelf).unwrap_err();
    }
    checkpoint.source().until.set(u64::MAX);
    pack_into(&checkpoint, &Recipe::Q8, &shelf).unwrap();
    // The state after the last piece is that of the last file, read to its end.
    let pieces = shelf.pieces.borrow();
    let (mark, _) = pieces.values().last().unwrap();
    let last = checkpoint.files().last().unwrap();
    assert_eq!(mark.hashing[..8], last.bytes.to_le_bytes());
}

#[test]
fn a_damaged_piece_is_found_and_fetched_alone() {
    let checkpoint = open(Hub::new(memory(SHARDED)));
    let shelf = Shelf::default();
    let manifest = pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap();
    let key = manifest.plan.key();
    let damage = |index: usize| {
        let mut pieces = shelf.pieces.borrow_mut();
        pieces.get_mut(&(key, index)).unwrap().1[5] ^= 4;
    };
    damage(2);
    let kept = block_on(Kept::open(&shelf, key)).unwrap().unwrap();
    let error = block_on(kept.piece(2)).unwrap_err().to_string();
    assert!(
        error.contains("pieces/00002.bin") && error.contains("download it again"),
        "{error}"
    );
    let before = checkpoint.source().given();
    assert_eq!(
        pack_into(&checkpoint, &Recipe::Q4, &shelf).unwrap(),
        manifest
    );
    let tensors = checkpoint.tensors();
    let needed: u64 = manifest
        .plan
        .spans_of(2)
        .map(|(tensor, span)| span.rows as u64 * tensors[tensor].row_bytes() as u64)
        .sum();
    assert_eq!(checkpoint.source().given() - before, needed);
    block_on(kept.piece(2)).unwrap();

    // The source has other weights by now: the piece is not mixed in.
    damage(1);
    let mut files = memory(SHARDED);
    let (tensor, span) = manifest.plan.spans_of(1).next().unwrap();
    let info = &tensors[tensor];
    let mut bytes = files.get(&info.file).unwrap().to_vec();
    // The exponent of the first weight of the piece's first row.
    bytes[info.range.start as usize + span.row * info.row_bytes() + info.dtype.size() - 1] ^= 1;
    files.insert(info.file.as_str(), bytes);
    let mut hub = Hub::new(files);
    hub.digests.clone_from(&checkpoint.source().digests);
    let error = pack_into(&open(hub), &Recipe::Q4, &shelf).unwrap_err();
    assert!(
        matches!(error, IngestError::Different { index: 1 }),
        "{error}"
    );
}

#[test]
fn progress_ends_with_everything() {
    let checkpoint = open(Hub::new(memory(SHARDED)));
    let shelf = Shelf::default();
    let plan = plan(&checkpoint, &Recipe::Q4);
    let mut seen = Vec::new();
    let ingest = Ingest::quantize(&checkpoint, plan.clone(), &shelf);
    block_on(ingest.run(&mut |progress| seen.push(progress))).unwrap();
    let stages: Vec<Stage> = seen.iter().map(|progress| progress.stage).collect();
    assert!(stages.is_sorted_by_key(|stage| *stage as u8));
    let last = seen.last().unwrap();
    assert_eq!(
        (last.stage, last.read_bytes),
        (Stage::Checking, checkpoint.total_bytes())
    );
    assert_eq!(
        (last.stored_bytes, last.total_stored_bytes),
        (plan.bytes, plan.bytes)
    );
}

/// Into a folder, from there into another store: the same pieces under the same key.
#[test]
fn a_folder_is_a_packed_model() {
    let root = tempfile::tempdir().unwrap();
    let checkpoint = open(Hub::new(memory(SHARDED)));
    let plan = plan(&checkpoint, &Recipe::Q4);
    let store = FolderStore::new(root.path());
    // Cut twice on the way.
    for until in [200_000, 500_000] {
        checkpoint.source().until.set(until);
        pack_into(&checkpoint, &Recipe::Q4, &store).unwrap_err();
        assert!(!root.path().join("manifest.json").exists());
    }
    assert!(!block_on(store.marks(&plan.key())).unwrap().is_empty());
    checkpoint.source().until.set(u64::MAX);
    let manifest = pack_into(&checkpoint, &Recipe::Q4, &store).unwrap();
    let mut there: Vec<String> = std::fs::read_dir(root.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("tokenizer") && !name.ends_with("config.json"))
        .collect();
    there.sort();
    assert_eq!(there, ["manifest.json", "pieces"]);

    let packed = block_on(PackedSource::open(Folder::new(root.path()))).unwrap();
    assert_eq!(packed.manifest().digests, manifest.digests);
    assert_eq!(packed.manifest().plan.tensors, manifest.plan.tensors);
    let shelf = Shelf::default();
    let copied = block_on(Ingest::copy(&packed, &shelf).run(&mut |_| ())).unwrap();
    assert_eq!(copied.digests, manifest.digests);
    // What was packed elsewhere is known by its pieces as well.
    let key = copied.plan.key();
    assert_ne!(key, plan.key());
    for index in 0..plan.pieces() {
        let piece = std::fs::read(root.path().join(Manifest::piece_file(index))).unwrap();
        assert_eq!(piece.len(), plan.piece_len(index));
        assert!(shelf.pieces.borrow()[&(key, index)].1 == piece);
    }

    // A byte that fell over on the disk is noticed, and mended from the original.
    let file = root.path().join(Manifest::piece_file(3));
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let error = block_on(packed.piece(3)).unwrap_err().to_string();
    assert!(
        error.contains("pieces/00003.bin") && error.contains("damaged"),
        "{error}"
    );
    assert_eq!(
        pack_into(&checkpoint, &Recipe::Q4, &store).unwrap(),
        manifest
    );
    block_on(packed.piece(3)).unwrap();

    // Another model does not go into the same folder.
    let error = pack_into(&checkpoint, &Recipe::Q8, &store)
        .unwrap_err()
        .to_string();
    assert!(error.contains("another packed model"), "{error}");

    block_on(store.delete(&plan.key())).unwrap();
    let left = std::fs::read_dir(root.path().join("pieces"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

/// Two fine-tunes of one shape, packed without a word on where they came from.
#[test]
fn packed_models_of_one_shape_are_told_apart_by_their_pieces() {
    let key_of = |files: MemorySource| {
        let root = tempfile::tempdir().unwrap();
        pack_into(&open(files), &Recipe::Q4, &FolderStore::new(root.path())).unwrap();
        let packed = block_on(PackedSource::open(Folder::new(root.path()))).unwrap();
        packed.manifest().plan.key()
    };
    let original = key_of(memory(SINGLE));
    assert_eq!(key_of(memory(SINGLE)), original);
    let mut tuned = memory(SINGLE);
    let mut bytes = tuned.get("model.safetensors").unwrap().to_vec();
    // The exponent of the last weight of all.
    *bytes.last_mut().unwrap() ^= 1;
    tuned.insert("model.safetensors", bytes);
    assert_ne!(key_of(tuned), original);
}

/// The power went while a mark was being written: the piece counts as missing, and what is written
/// afterwards is not spoilt by it.
#[test]
fn a_torn_mark_is_no_mark() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::new(root.path());
    let checkpoint = open(Hub::new(memory(SHARDED)));
    checkpoint.source().until.set(500_000);
    pack_into(&checkpoint, &Recipe::Q4, &store).unwrap_err();
    let marks = root.path().join("partial-marks.jsonl");
    let text = std::fs::read(&marks).unwrap();
    std::fs::write(&marks, &text[..text.len() - 20]).unwrap();
    checkpoint.source().until.set(u64::MAX);
    let manifest = pack_into(&checkpoint, &Recipe::Q4, &store).unwrap();
    let packed = block_on(PackedSource::open(Folder::new(root.path()))).unwrap();
    assert_eq!(packed.manifest().digests, manifest.digests);
    for index in 0..manifest.plan.pieces() {
        block_on(packed.piece(index)).unwrap();
    }
}

/// The weights changed between two attempts, with the same header: nothing of the first is used.
#[test]
fn a_changed_folder_is_another_model() {
    let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = memory(SINGLE);
    for path in files.paths() {
        std::fs::write(root.path().join(path), files.get(path).unwrap()).unwrap();
    }
    let store = FolderStore::new(out.path());
    let first = pack_into(&open(Folder::new(root.path())), &Recipe::Q4, &store).unwrap();
    let weights = root.path().join("model.safetensors");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options()
        .write(true)
        .open(&weights)
        .unwrap()
        .set_modified(later)
        .unwrap();
    let checkpoint = open(Folder::new(root.path()));
    assert_ne!(plan(&checkpoint, &Recipe::Q4).key(), first.plan.key());
    let error = pack_into(&checkpoint, &Recipe::Q4, &store).unwrap_err();
    assert!(
        error.to_string().contains("another packed model"),
        "{error}"
    );
}

/// Two programs must not write to one folder; what a killed one left behind is no obstacle.
#[test]
fn a_folder_has_one_writer() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("packed");
    let store = FolderStore::new(&out);
    let lock = store.lock().unwrap();
    let error = store.lock().unwrap_err().to_string();
    assert!(
        error.contains("packed") && error.contains("another program is writing"),
        "{error}"
    );
    drop(lock);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    // A program that was killed leaves the file, and no lock on it.
    std::fs::write(out.join("partial.lock"), "").unwrap();
    drop(store.lock().unwrap());
    drop(store.lock().unwrap());
}
