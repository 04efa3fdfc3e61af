//! Packed models: the plan, the way into a store, the way out, and what is noticed on the way.

mod files;
mod ingest;
mod manifest;
pub(crate) mod shelf;

use crate::support::{FIXTURES, folder, open};
use paligemma_checkpoint::{
    Checkpoint, Digest, Folder, MemorySource, Origin, Packed, Plan, Precision, Recipe, Source,
    Storage, pack,
};

/// Small, so that the fixtures have many pieces; large enough for their longest row.
const PIECE: usize = 32 << 10;

pub(crate) fn plan<S: Source>(checkpoint: &Checkpoint<S>, recipe: &Recipe) -> Plan {
    let plan = Plan::in_pieces_of(PIECE, checkpoint, Origin::default(), recipe);
    pollster::block_on(plan).unwrap()
}

/// A piece as the plan describes it, made from whole tensors: what the streaming way must come to.
fn expected_piece(checkpoint: &Checkpoint<MemorySource>, plan: &Plan, index: usize) -> Vec<u8> {
    let mut piece = vec![0; plan.piece_len(index)];
    for (tensor, span) in plan.spans_of(index) {
        let info = &checkpoint.tensors()[tensor];
        let file = checkpoint.source().get(&info.file).unwrap();
        let bytes = &file[info.range.start as usize..info.range.end as usize];
        let mut packed = Packed::default();
        let to = match plan.tensors[tensor].storage {
            Storage::Matrix(precision) => precision,
            Storage::Numbers => Precision::F32,
        };
        // A row of numbers has no padding, that of a matrix in f32 does: cut it off.
        pack(to, info.dtype, info.cols(), bytes, &mut packed).unwrap();
        let row = packed.weights.len() / info.rows();
        let (weight_bytes, scale_bytes) = plan.tensors[tensor].row_bytes();
        for i in 0..span.rows {
            let from = &packed.weights[(span.row + i) * row..][..weight_bytes];
            piece[span.weights + i * weight_bytes..][..weight_bytes].copy_from_slice(from);
            let from = &packed.scales[(span.row + i) * scale_bytes..][..scale_bytes];
            piece[span.scales + i * scale_bytes..][..scale_bytes].copy_from_slice(from);
        }
    }
    piece
}

#[test]
fn a_plan_places_every_row_once_and_none_across_an_end() {
    for fixture in FIXTURES {
        let checkpoint = open(Folder::new(folder(fixture)));
        for recipe in Recipe::ALL {
            let plan = plan(&checkpoint, &recipe);
            let mut used = vec![Vec::new(); plan.pieces()];
            for (tensor, info) in plan.tensors.iter().zip(checkpoint.tensors()) {
                assert_eq!(tensor.name, info.name);
                let (weights, scales) = tensor.row_bytes();
                let mut next = 0;
                for span in &tensor.spans {
                    assert_eq!(span.row, next, "{fixture} {recipe} {}", tensor.name);
                    assert!(span.weights % 16 == 0 && (scales == 0 || span.scales % 16 == 0));
                    next += span.rows;
                    used[span.piece].push(span.weights..span.weights + span.rows * weights);
                    used[span.piece].push(span.scales..span.scales + span.rows * scales);
                }
                assert_eq!(next, info.rows(), "{fixture} {recipe} {}", tensor.name);
            }
            let mut waste = 0;
            for (index, mut ranges) in used.into_iter().enumerate() {
                ranges.retain(|range| !range.is_empty());
                ranges.sort_by_key(|range| range.start);
                for pair in ranges.windows(2) {
                    assert!(
                        pair[0].end <= pair[1].start,
                        "{fixture} {recipe} piece {index}"
                    );
                }
                let end = ranges.last().unwrap().end;
                assert!(end <= plan.piece_len(index));
                let bytes: usize = ranges.iter().map(ExactSizeIterator::len).sum();
                waste += plan.piece_len(index) - bytes;
            }
            let weights = recipe.bytes(checkpoint.config(), checkpoint.tensors()[0].dtype);
            // The types of a fixture are all one, so the recipe's sum is the plan's without padding.
            assert_eq!(plan.bytes - waste as u64, weights, "{fixture} {recipe}");
        }
    }
}

/// Every piece but the last has the one size, and at the product's size little of it is padding:
/// at most a row and the alignment of two planes a tensor.
#[test]
fn pieces_are_of_one_size() {
    let checkpoint = open(Folder::new(folder("web/demo/model")));
    let plan = plan(&checkpoint, &Recipe::Q4);
    let last = plan.pieces() - 1;
    assert!(last > 10);
    assert!((0..last).all(|index| plan.piece_len(index) == PIECE));
    assert!((1..=PIECE).contains(&plan.piece_len(last)));
    assert_eq!(plan.piece_len(last + 1), 0);
}

#[test]
fn the_key_is_that_of_what_matters() {
    let key = |fixture: &str, recipe: &Recipe, change: fn(&mut Plan)| {
        let mut plan = plan(&open(Folder::new(folder(fixture))), recipe);
        change(&mut plan);
        plan.key()
    };
    let same = key(FIXTURES[0], &Recipe::Q4, |_| ());
    // When a side file's digest becomes known does not matter.
    let learned = |plan: &mut Plan| plan.files[0].sha256 = Some(Digest([1; 32]));
    assert_eq!(same, key(FIXTURES[0], &Recipe::Q4, learned));
    let tagged = |plan: &mut Plan| plan.files[0].validator = Some("\"1\"".into());
    assert_eq!(same, key(FIXTURES[0], &Recipe::Q4, tagged));
    for other in [
        key(FIXTURES[0], &Recipe::Q8, |_| ()),
        key(FIXTURES[1], &Recipe::Q4, |_| ()),
        key(FIXTURES[0], &Recipe::Q4, |plan| {
            plan.origin.commit = Some("0".repeat(40))
        }),
        key(FIXTURES[0], &Recipe::Q4, |plan| plan.inputs[0].bytes += 1),
        key(FIXTURES[0], &Recipe::Q4, |plan| {
            plan.inputs[0].sha256 = Some(Digest([1; 32]))
        }),
        key(FIXTURES[0], &Recipe::Q4, |plan| {
            plan.inputs[0].validator = Some("\"1\"".into())
        }),
        key(FIXTURES[0], &Recipe::Q4, |plan| plan.files[0].bytes += 1),
    ] {
        assert_ne!(same, other);
    }
}
