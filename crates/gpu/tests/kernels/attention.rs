use paligemma_gpu::{Attention, CachePrecision, Gpu};

use super::device::{Target, named, open, run_first};
use crate::support::compare::{Bounded, assert_agrees, assert_differs};
use crate::support::random::{Rng, for_every_cache};
use crate::support::{bounds, upload};
use crate::twins::attention::{self as twin, Shape};

/// Heads, key and value heads, head dimension; rows, index of the first, prefix, capacity.
pub(crate) const fn shape(heads: [usize; 3], rows: [usize; 4]) -> Shape {
    Shape {
        heads: heads[0],
        kv_heads: heads[1],
        head_dim: heads[2],
        rows: rows[0],
        first: rows[1],
        prefix: rows[2],
        capacity: rows[3],
        scale: 0.25,
        cap: None,
        window: None,
    }
}

pub(crate) const fn windowed(window: usize, shape: Shape) -> Shape {
    Shape {
        window: Some(window),
        ..shape
    }
}

pub(crate) const fn capped(cap: f32, shape: Shape) -> Shape {
    Shape {
        cap: Some(cap),
        ..shape
    }
}

pub(crate) const SHAPES: [Shape; 24] = [
    // Everything sees everything, as in the vision tower; around a tile of 64 keys.
    shape([1, 1, 1], [1, 0, 1, 1]),
    shape([2, 2, 14], [7, 0, 7, 7]),
    shape([3, 3, 72], [63, 0, 63, 63]),
    shape([2, 2, 20], [64, 0, 64, 64]),
    shape([2, 1, 22], [65, 0, 65, 65]),
    // A prefix in a cache with room, grouped and with a single key and value head.
    shape([4, 2, 20], [33, 0, 33, 40]),
    shape([8, 1, 256], [5, 0, 5, 9]),
    // A prefix that is longer than the rows at hand.
    shape([4, 2, 14], [5, 10, 40, 41]),
    // What follows the prefix, in one go with it and alone; without a prefix.
    shape([4, 2, 22], [50, 0, 33, 50]),
    windowed(4, shape([4, 2, 22], [50, 0, 33, 50])),
    windowed(17, shape([2, 1, 5], [50, 0, 33, 50])),
    shape([3, 1, 3], [9, 0, 0, 9]),
    windowed(3, shape([3, 1, 3], [9, 0, 0, 9])),
    // A single row: windows below, at and above the sequence, and around a tile.
    shape([4, 2, 14], [1, 70, 33, 99]),
    windowed(1, shape([4, 2, 14], [1, 70, 33, 99])),
    windowed(5, shape([4, 2, 14], [1, 70, 33, 99])),
    windowed(64, shape([4, 2, 14], [1, 70, 33, 99])),
    windowed(65, shape([4, 2, 14], [1, 70, 33, 99])),
    windowed(70, shape([4, 2, 14], [1, 70, 33, 99])),
    windowed(71, shape([4, 2, 14], [1, 70, 33, 99])),
    windowed(4096, shape([4, 2, 14], [1, 70, 33, 99])),
    // Soft caps: that of Gemma 2, and one that bites.
    capped(50.0, shape([8, 4, 256], [1, 128, 100, 130])),
    capped(2.0, windowed(7, shape([8, 4, 20], [40, 0, 33, 40]))),
    capped(2.0, shape([2, 2, 72], [131, 0, 131, 131])),
];

pub(crate) struct Data {
    pub(crate) q: Vec<f32>,
    pub(crate) k: Vec<f32>,
    v: Vec<f32>,
}

impl Data {
    pub(crate) fn new(rng: &mut Rng, shape: &Shape, sharpness: f32) -> Self {
        let cache = shape.kv_heads * shape.capacity * shape.head_dim;
        let mut data = Self {
            q: rng.numbers(shape.heads * shape.rows * shape.head_dim, sharpness),
            k: rng.numbers(cache, 2.0),
            v: rng.numbers(cache, 2.0),
        };
        for_every_cache(&mut data.k, shape.head_dim, 0);
        for_every_cache(&mut data.v, shape.head_dim, 2);
        // Positions that nobody may see yet.
        let seen = shape.prefix.max(shape.first + shape.rows);
        for cache in [&mut data.k, &mut data.v] {
            for head in cache.chunks_mut(shape.capacity * shape.head_dim) {
                head[seen * shape.head_dim..].fill(f32::NAN);
            }
        }
        data
    }
}

pub(crate) fn attention(cache: CachePrecision, serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(100);
    for (i, shape) in SHAPES.iter().enumerate() {
        // Scores from nearly equal to so far apart that most weights vanish.
        for sharpness in [0.01, 1.0, 20.0] {
            let data = Data::new(&mut rng, shape, sharpness);
            let actual = attend(&gpu, cache, shape, &data);
            let expected = twin::attention(shape, &data.q, &data.k, &data.v);
            let expected = bounds::attention(&expected, shape.head_dim, shape.cap);
            assert_agrees(&format!("shape {i}"), &actual, &expected);
        }
    }
    masks(&gpu, cache, &mut rng);
    groups_scales_and_caps(&gpu, cache, &mut rng);
}

fn attend(gpu: &Gpu, precision: CachePrecision, shape: &Shape, data: &Data) -> Vec<f32> {
    let cache = gpu
        .kv_cache(shape.kv_heads, shape.capacity, shape.head_dim, precision)
        .unwrap();
    gpu.write_cache(&cache, [&data.k, &data.v]).unwrap();
    let q = gpu
        .queries(shape.heads, shape.rows, shape.head_dim)
        .unwrap();
    gpu.write(&q, 0, &data.q).unwrap();
    let span = upload::indices(gpu, &[shape.first as u32, shape.prefix as u32]);
    let target = Target::poisoned(gpu, shape.rows, shape.heads * shape.head_dim);
    let how = Attention {
        heads: shape.heads,
        scale: shape.scale,
        soft_cap: shape.cap,
        window: shape.window,
    };
    let kernel = match gpu.is_serial() {
        true => named("attention", precision),
        false => named("attention_sixteens", precision),
    };
    run_first(gpu, &kernel, |r| {
        r.attention(&q, &cache, &span, how, &target.view);
    });
    target.read(gpu)
}

/// Masks that are off by one, causal prefixes, windows over the prefix.
fn masks(gpu: &Gpu, cache: CachePrecision, rng: &mut Rng) {
    let shape = windowed(4, shape([4, 2, 20], [50, 0, 33, 50]));
    let data = Data::new(rng, &shape, 1.0);
    let actual = attend(gpu, cache, &shape, &data);
    let with = |visible: &dyn Fn(usize, usize) -> bool| -> Vec<Bounded> {
        let visible = |_: &Shape, i: usize, j: usize| visible(i, j);
        let out = twin::attention_with(&shape, &data.q, &data.k, &data.v, visible, Shape::kv_head);
        bounds::attention(&out, shape.head_dim, shape.cap)
    };
    let right = |i: usize, j: usize| (i < 33 && j < 33) || (j <= i && j + 4 > i);
    assert_agrees("the mask", &actual, &with(&right));
    assert_differs(
        "a window of one more",
        &actual,
        &with(&|i, j| (i < 33 && j < 33) || (j <= i && j + 5 > i)),
    );
    assert_differs(
        "a window of one less",
        &actual,
        &with(&|i, j| (i < 33 && j < 33) || (j <= i && j + 3 > i)),
    );
    assert_differs(
        "a window over the prefix",
        &actual,
        &with(&|i, j| (j <= i || (i < 33 && j < 33)) && j + 4 > i),
    );
    assert_differs(
        "a causal prefix",
        &actual,
        &with(&|i, j| j <= i && (i < 33 || j + 4 > i)),
    );
    assert_differs(
        "a prefix of one more",
        &actual,
        &with(&|i, j| (i < 34 && j < 34) || (j <= i && j + 4 > i)),
    );
    assert_differs(
        "a prefix that is always seen",
        &actual,
        &with(&|i, j| j < 33 || (j <= i && j + 4 > i)),
    );
}

fn groups_scales_and_caps(gpu: &Gpu, cache: CachePrecision, rng: &mut Rng) {
    let right = capped(2.0, shape([4, 2, 20], [9, 0, 9, 9]));
    let data = Data::new(rng, &right, 1.0);
    let actual = attend(gpu, cache, &right, &data);
    let with = |shape: &Shape, kv_head: fn(&Shape, usize) -> usize| {
        let out = twin::attention_with(shape, &data.q, &data.k, &data.v, Shape::visible, kv_head);
        bounds::attention(&out, shape.head_dim, shape.cap)
    };
    assert_agrees("groups", &actual, &with(&right, Shape::kv_head));
    assert_differs(
        "interleaved key and value heads",
        &actual,
        &with(&right, |shape, head| head % shape.kv_heads),
    );
    let uncapped = Shape { cap: None, ..right };
    assert_differs("no cap", &actual, &with(&uncapped, Shape::kv_head));
    // One part in a thousand.
    let scaled = Shape {
        scale: 0.250_25,
        ..right
    };
    assert_differs("another scale", &actual, &with(&scaled, Shape::kv_head));
    let other_cap = Shape {
        cap: Some(2.002),
        ..right
    };
    assert_differs("another cap", &actual, &with(&other_cap, Shape::kv_head));
}
