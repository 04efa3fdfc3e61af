//! Weights a few rows at a time.

use crate::support::{FIXTURES, Recording, SINGLE, Weights, memory, open, single_with};
use paligemma_checkpoint::{Checkpoint, MemorySource, Slice, Source, SourceError};
use std::cell::Cell;
use std::ops::Range;

fn all_slices<S: Source>(checkpoint: &Checkpoint<S>, max_bytes: usize) -> Vec<Slice> {
    let mut slices = checkpoint.slices(max_bytes);
    let mut all = Vec::new();
    while let Some(slice) = pollster::block_on(slices.next()).unwrap() {
        all.push(slice);
    }
    assert_eq!(pollster::block_on(slices.next()).unwrap(), None);
    all
}

/// The bytes of each tensor of a checkpoint, put together from its slices,
/// which must be whole rows, without gap or repetition, and within bounds.
fn put_together<S: Source>(checkpoint: &Checkpoint<S>, max_bytes: usize) -> Vec<Vec<u8>> {
    let infos = checkpoint.tensors();
    let mut tensors: Vec<Vec<u8>> = vec![Vec::new(); infos.len()];
    let mut next = (0, 0);
    for slice in all_slices(checkpoint, max_bytes) {
        let info = &infos[slice.tensor];
        assert_eq!((slice.tensor, slice.rows.start), next);
        assert!(!slice.rows.is_empty());
        assert_eq!(slice.bytes.len(), slice.rows.len() * info.row_bytes());
        assert!(slice.bytes.len() <= max_bytes || slice.rows.len() == 1);
        tensors[slice.tensor].extend(slice.bytes);
        next = match slice.rows.end == info.rows() {
            true => (slice.tensor + 1, 0),
            false => (slice.tensor, slice.rows.end),
        };
    }
    assert_eq!(next, (infos.len(), 0));
    tensors
}

#[test]
fn slices_are_the_tensors_whatever_their_size() {
    for fixture in FIXTURES {
        let source = Recording::new(memory(fixture));
        let checkpoint = open(&source);
        let expected: Vec<Vec<u8>> = checkpoint
            .tensors()
            .iter()
            .map(|info| {
                let file = source.inner.get(&info.file).unwrap();
                let file = safetensors::SafeTensors::deserialize(file).unwrap();
                file.tensor(&info.stored_name).unwrap().data().to_vec()
            })
            .collect();
        let rows = checkpoint.tensors().iter().map(|info| info.row_bytes());
        let longest = rows.max().unwrap();
        for max_bytes in [0, 1, 1000, 4096, 65_537, 1 << 20, usize::MAX] {
            source.reads.borrow_mut().clear();
            let tensors = put_together(&checkpoint, max_bytes);
            assert!(tensors == expected, "{fixture} by {max_bytes}");

            let reads = source.reads.borrow();
            let bound = max_bytes.max(longest) as u64;
            assert!(
                reads
                    .iter()
                    .all(|(_, range)| range.end - range.start <= bound)
            );
            // Every piece but a file's last leaves less than a row of room.
            let files = source
                .inner
                .paths()
                .filter(|p| p.ends_with(".safetensors"))
                .count();
            if max_bytes > longest {
                let least = (max_bytes - longest) as u64;
                let most = checkpoint.total_bytes() / least + files as u64;
                assert!(
                    reads.len() as u64 <= most,
                    "{} reads of {most}",
                    reads.len()
                );
            }
        }
    }
}

#[test]
fn a_slice_never_holds_a_large_tensor_whole() {
    let checkpoint = open(memory(SINGLE));
    let embedding = checkpoint
        .tensors()
        .iter()
        .position(|info| info.shape[0] == 3776);
    let slices = all_slices(&checkpoint, 100_000);
    let parts = slices
        .iter()
        .filter(|slice| Some(slice.tensor) == embedding);
    // 3776 rows of 320 bytes, 312 rows at most a slice.
    assert!(parts.clone().count() >= 13);
    assert!(parts.clone().all(|slice| slice.rows.len() <= 312));
}

#[test]
fn a_vector_is_one_row() {
    let checkpoint = open(memory(SINGLE));
    for slice in all_slices(&checkpoint, 1) {
        let info = &checkpoint.tensors()[slice.tensor];
        if info.shape.len() == 1 {
            assert_eq!((info.rows(), info.cols()), (1, info.shape[0]));
            assert_eq!(slice.rows, 0..1);
        } else {
            assert_eq!(
                info.rows() * info.cols(),
                info.shape.iter().product::<usize>()
            );
        }
    }
}

/// Reads of a checkpoint whose last needed tensor follows `unneeded` bytes.
fn reads_around(unneeded: usize) -> Vec<Range<u64>> {
    let source = Recording::new(single_with(|weights: &mut Weights| {
        let norm = "language_model.model.norm.weight";
        let (begin, end) = weights.offsets(norm);
        let bytes = weights.data[begin as usize..end as usize].to_vec();
        weights.rename(|name| {
            if name == norm {
                "unneeded".into()
            } else {
                name.into()
            }
        });
        weights.append("padding", "U8", &[unneeded as u64], &vec![0; unneeded]);
        weights.append(norm, "F32", &[80], &bytes);
    }));
    let checkpoint = open(&source);
    source.reads.borrow_mut().clear();
    let tensors = put_together(&checkpoint, usize::MAX);
    assert_eq!(tensors.last().unwrap().len(), 320);
    let reads = source.reads.borrow();
    reads.iter().map(|(_, range)| range.clone()).collect()
}

#[test]
fn small_gaps_are_read_and_wide_ones_are_not() {
    assert_eq!(reads_around(64 * 1024).len(), 1);
    let reads = reads_around(64 * 1024 + 1);
    assert_eq!(reads.len(), 2);
    assert_eq!(reads[1].start - reads[0].end, 64 * 1024 + 1);
}

/// A source that fails every other read once it is told to.
struct Flaky {
    inner: MemorySource,
    failing: Cell<bool>,
    reads: Cell<u32>,
}

impl Source for Flaky {
    async fn size(&self, path: &str) -> Result<Option<u64>, SourceError> {
        self.inner.size(path).await
    }

    async fn read(&self, path: &str, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        self.reads.set(self.reads.get() + 1);
        if self.failing.get() && self.reads.get() % 2 == 1 {
            return Err(SourceError::Failed {
                path: path.to_owned(),
                reason: "the network is down".to_owned(),
            });
        }
        self.inner.read(path, range).await
    }
}

#[test]
fn a_failed_read_can_be_tried_again() {
    let checkpoint = open(Flaky {
        inner: memory(SINGLE),
        failing: Cell::new(false),
        reads: Cell::new(0),
    });
    let expected = all_slices(&checkpoint, 200_000);
    checkpoint.source().failing.set(true);
    checkpoint.source().reads.set(0);
    let mut slices = checkpoint.slices(200_000);
    let mut all = Vec::new();
    let mut errors = 0;
    loop {
        match pollster::block_on(slices.next()) {
            Ok(Some(slice)) => all.push(slice),
            Ok(None) => break,
            Err(error) => {
                assert!(error.to_string().contains("the network is down"));
                errors += 1;
            }
        }
    }
    assert!(errors > 10, "{errors} errors");
    assert!(all == expected);
}
