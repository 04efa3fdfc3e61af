//! Kernels that move rows: embed, scatter_rows, patchify.

use paligemma_checkpoint::Precision;

use super::device::{Target, input, open, run};
use crate::support::compare::{Bounded, assert_agrees, assert_differs, assert_same_bits};
use crate::support::random::Rng;
use crate::support::{bounds, upload};
use crate::twins;

pub(crate) fn embed(precision: Precision) {
    let gpu = open();
    let mut rng = Rng::new(60);
    for columns in [1, 3, 8, 13, 64, 65, 511, 521] {
        let columns = upload::columns(precision, columns);
        let (vocabulary, scale) = (1 + rng.below(40), 45.254_833);
        let (w_gpu, w) = upload::matrix(
            &gpu,
            vocabulary,
            columns,
            precision,
            &rng.numbers(vocabulary * columns, 1.0),
        );
        // The last of the vocabulary, one twice, and two that are outside.
        let mut ids: Vec<u32> = (0..7).map(|_| rng.below(vocabulary) as u32).collect();
        ids.extend([vocabulary as u32 - 1, 0, 0, vocabulary as u32, u32::MAX]);
        let before = rng.numbers(ids.len() * columns, 1.0);
        let target = Target::holding(&gpu, columns, &before);
        let ids_gpu = upload::indices(&gpu, &ids);
        run(&gpu, |r| r.embed(&ids_gpu, &w_gpu, scale, &target.view));
        let actual = target.read(&gpu);

        let twin = |ids: &[u32], scale: f32| -> Vec<Bounded> {
            twins::embed::embed(ids, &w, columns, scale)
                .into_iter()
                .zip(before.chunks(columns))
                .flat_map(|(row, before)| match row {
                    Some(row) => row.into_iter().map(bounds::rounded).collect::<Vec<_>>(),
                    None => before.iter().map(|&x| exact(x)).collect(),
                })
                .collect()
        };
        assert_agrees("embed", &actual, &twin(&ids, scale));
        assert_differs("the scale in bf16", &actual, &twin(&ids, 45.25));
    }
}

fn exact(x: f32) -> Bounded {
    Bounded {
        value: f64::from(x),
        bound: 0.0,
    }
}

pub(crate) fn scatter_rows() {
    let gpu = open();
    let mut rng = Rng::new(70);
    for (columns, rows) in [(1, 1), (5, 3), (8, 7), (257, 9), (1031, 2)] {
        let x = rng.numbers(rows * columns, 1.0);
        let before = rng.numbers(13 * columns, 1.0);
        // Distinct, out of order, the first and the last among them.
        let positions: Vec<u32> = [12, 0, 5, 4, 7, 1, 11, 2, 9][..rows].to_vec();
        let target = Target::holding(&gpu, columns, &before);
        let (x_gpu, positions_gpu) = (input(&gpu, columns, &x), upload::indices(&gpu, &positions));
        run(&gpu, |r| {
            r.scatter_rows(&x_gpu, &positions_gpu, &target.view)
        });

        let mut expected = before;
        twins::scatter_rows::scatter_rows(&x, &positions, columns, &mut expected);
        assert_same_bits("scatter_rows", &target.read(&gpu), &expected);
    }
}

pub(crate) fn patchify() {
    let gpu = open();
    let mut rng = Rng::new(80);
    for (channels, side, patch) in [
        (3, 28, 14),
        (1, 1, 1),
        (3, 5, 1),
        (3, 12, 4),
        (2, 21, 7),
        (3, 30, 14), // two columns and rows of pixels are left out
        (4, 26, 13),
    ] {
        let pixels = rng.numbers(channels * side * side, 1.0);
        let pixels_gpu = gpu
            .tensor_with_stride("pixels", channels, side * side, side * side)
            .unwrap();
        gpu.write(&pixels_gpu, 0, &pixels).unwrap();
        let expected = twins::patchify::patchify(&pixels, channels, side, patch);
        let columns = channels * patch * patch;
        let target = Target::poisoned(&gpu, expected.len() / columns, columns);
        run(&gpu, |r| r.patchify(&pixels_gpu, side, patch, &target.view));
        assert_same_bits("patchify", &target.read(&gpu), &expected);
    }
}
