use paligemma_gpu::{Attention, CachePrecision, Gpu, Heads, KvCache, Recorder, Tensor};
use pollster::block_on;

use super::attention::{SHAPES, capped, shape, windowed};
use super::bytes::assert_is_packed;
use super::device::{Target, input, named, open, run, run_first};
use crate::support::compare::{assert_agrees, assert_differs, assert_same_bits};
use crate::support::random::{Rng, for_every_cache};
use crate::support::{bounds, upload};
use crate::twins::attention::{self as twin, Shape};

const THETA: f64 = 10_000.0;

/// A row in the middle of a sequence: what is in the cache before it, and its projections.
struct Data {
    x: Vec<f32>, // [heads + 2 * kv_heads, head_dim]
    k: Vec<f32>, // [kv_heads, capacity, head_dim]
    v: Vec<f32>,
}

impl Data {
    fn new(rng: &mut Rng, shape: &Shape, sharpness: f32) -> Self {
        let cache = shape.kv_heads * shape.capacity * shape.head_dim;
        let mut data = Self {
            x: rng.numbers((shape.heads + 2 * shape.kv_heads) * shape.head_dim, 1.0),
            k: rng.numbers(cache, 2.0),
            v: rng.numbers(cache, 2.0),
        };
        for (salt, rows) in [&mut data.x, &mut data.k, &mut data.v]
            .into_iter()
            .enumerate()
        {
            for_every_cache(rows, shape.head_dim, salt);
        }
        let queries = shape.heads * shape.head_dim;
        data.x[..queries].iter_mut().for_each(|x| *x *= sharpness);
        // Its own place, and what is to come.
        for cache in [&mut data.k, &mut data.v] {
            for head in cache.chunks_mut(shape.capacity * shape.head_dim) {
                head[shape.first * shape.head_dim..].fill(f32::NAN);
            }
        }
        data
    }

    /// The caches with the row's key and value in their place.
    fn filled(&self, shape: &Shape) -> [Vec<f32>; 2] {
        let heads = [shape.heads, shape.heads + shape.kv_heads];
        let mut caches = [self.k.clone(), self.v.clone()];
        for (cache, first) in caches.iter_mut().zip(heads) {
            for head in 0..shape.kv_heads {
                let to = (head * shape.capacity + shape.first) * shape.head_dim;
                let from = (first + head) * shape.head_dim;
                let own = &self.x[from..from + shape.head_dim];
                cache[to..to + shape.head_dim].copy_from_slice(own);
            }
        }
        caches
    }
}

/// Shapes of a single row, and what only this kernel has: several parts of the keys.
fn shapes() -> Vec<Shape> {
    let singles = SHAPES.into_iter().filter(|shape| shape.rows == 1);
    singles
        .chain([
            shape([4, 2, 22], [1, 0, 0, 5]),
            shape([8, 1, 256], [1, 300, 256, 320]),
            shape([8, 4, 256], [1, 63, 20, 70]),
            shape([32, 16, 128], [1, 64, 20, 70]),
            windowed(20, shape([6, 3, 40], [1, 200, 33, 201])),
            capped(2.0, shape([3, 1, 5], [1, 130, 33, 140])),
        ])
        .collect()
}

fn attend(
    gpu: &Gpu,
    precision: CachePrecision,
    shape: &Shape,
    data: &Data,
    parts: usize,
) -> (Vec<f32>, [Vec<f32>; 2]) {
    let (y, caches, ()) = attend_and(gpu, precision, shape, data, parts, |_, _| ());
    (y, caches)
}

/// The same with what else is recorded, of the answer.
fn attend_and<T>(
    gpu: &Gpu,
    precision: CachePrecision,
    shape: &Shape,
    data: &Data,
    parts: usize,
    then: impl FnOnce(&mut Recorder, &Tensor) -> T,
) -> (Vec<f32>, [Vec<f32>; 2], T) {
    let cache = gpu
        .kv_cache(shape.kv_heads, shape.capacity, shape.head_dim, precision)
        .unwrap();
    gpu.write_cache(&cache, [&data.k, &data.v]).unwrap();
    let x = input(gpu, data.x.len(), &data.x);
    let span = upload::indices(gpu, &[shape.first as u32, shape.prefix as u32]);
    let target = Target::poisoned(gpu, 1, shape.heads * shape.head_dim);
    let (layout, how) = hows(shape);
    let mut more = None;
    let kernel = match gpu.is_serial() {
        true => named("decode_attention_serial", precision),
        false => named("decode_attention", precision),
    };
    run_first(gpu, &kernel, |r| {
        r.decode_attention_in(parts, &x, layout, &cache, &span, how, &target.view);
        more = Some(then(r, &target.view));
    });
    let caches = block_on(gpu.read_cache(&cache, shape.capacity)).unwrap();
    (target.read(gpu), caches, more.unwrap())
}

fn hows(shape: &Shape) -> (Heads<'static>, Attention) {
    let layout = Heads {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        rotary: None,
    };
    let how = Attention {
        heads: shape.heads,
        scale: shape.scale,
        soft_cap: shape.cap,
        window: shape.window,
    };
    (layout, how)
}

pub(crate) fn decode_attention(cache: CachePrecision, serial: bool) {
    let gpu = open();
    gpu.set_serial(serial);
    let mut rng = Rng::new(110);
    for (i, shape) in shapes().iter().enumerate() {
        for sharpness in [0.01, 1.0, 20.0] {
            let data = Data::new(&mut rng, shape, sharpness);
            let (actual, caches) = attend(&gpu, cache, shape, &data, 1);
            let filled = data.filled(shape);
            assert_same_bits("keys", &caches[0], &filled[0]);
            assert_same_bits("values", &caches[1], &filled[1]);
            let queries = &data.x[..shape.heads * shape.head_dim];
            let expected = twin::attention(shape, queries, &filled[0], &filled[1]);
            let expected = bounds::attention(&expected, shape.head_dim, shape.cap);
            assert_agrees(&format!("shape {i}"), &actual, &expected);
        }
    }
    own_key_and_group(&gpu, cache, &mut rng);
    turned(&gpu, cache, &mut rng);
}

pub(crate) fn merge_attention() {
    let gpu = open();
    let mut rng = Rng::new(115);
    for (i, shape) in shapes().iter().enumerate() {
        // More parts than there are keys among them.
        for (parts, cache) in [
            (2, CachePrecision::F32),
            (3, CachePrecision::F16),
            (16, CachePrecision::Int8),
            (64, CachePrecision::F16),
        ] {
            let data = Data::new(&mut rng, shape, 3.0);
            let filled = data.filled(shape);
            let queries = &data.x[..shape.heads * shape.head_dim];
            let expected = twin::attention(shape, queries, &filled[0], &filled[1]);
            let expected = bounds::attention(&expected, shape.head_dim, shape.cap);
            for serial in [false, true] {
                gpu.set_serial(serial);
                let (actual, caches) = attend(&gpu, cache, shape, &data, parts);
                assert_same_bits("keys", &caches[0], &filled[0]);
                let name = format!("shape {i} in {parts} parts, serial {serial}");
                assert_agrees(&name, &actual, &expected);
            }
        }
    }
}

/// The same with its answer packed, of heads of whole groups of 32 numbers; of others nobody packs it on
/// the way.
pub(crate) fn merge_attention_packs() {
    let gpu = open();
    let mut rng = Rng::new(116);
    for (heads, parts) in [
        ([2, 1, 32], 2),
        ([8, 4, 256], 16),
        ([4, 2, 96], 64),
        ([32, 16, 128], 3),
        ([4, 2, 24], 2),
    ] {
        let shape = shape(heads, [1, 63, 20, 70]);
        let data = Data::new(&mut rng, &shape, 3.0);
        let pack = |r: &mut Recorder, y: &Tensor| {
            let step = r.step_count();
            let packed = r.packed_form(y).unwrap();
            (packed, r.step_count() - step)
        };
        let (actual, _, (packed, more)) =
            attend_and(&gpu, CachePrecision::F16, &shape, &data, parts, pack);
        let filled = data.filled(&shape);
        let queries = &data.x[..shape.heads * shape.head_dim];
        let expected = twin::attention(&shape, queries, &filled[0], &filled[1]);
        let expected = bounds::attention(&expected, shape.head_dim, shape.cap);
        assert_agrees(&format!("{heads:?}"), &actual, &expected);
        assert_is_packed(&gpu, &packed, &actual);
        assert_eq!(more, usize::from(heads[2] == 24), "{heads:?}");
    }
}

/// What the bounds must not let through.
fn own_key_and_group(gpu: &Gpu, cache: CachePrecision, rng: &mut Rng) {
    let shape = shape([4, 2, 20], [1, 9, 5, 12]);
    let data = Data::new(rng, &shape, 1.0);
    let (actual, _) = attend(gpu, cache, &shape, &data, 1);
    let [k, v] = data.filled(&shape);
    let queries = &data.x[..shape.heads * shape.head_dim];
    let with = |visible: fn(&Shape, usize, usize) -> bool, head: fn(&Shape, usize) -> usize| {
        let out = twin::attention_with(&shape, queries, &k, &v, visible, head);
        bounds::attention(&out, shape.head_dim, shape.cap)
    };
    assert_agrees("all", &actual, &with(Shape::visible, Shape::kv_head));
    let without = with(|_, i, j| j < i, Shape::kv_head);
    assert_differs("its own key", &actual, &without);
    let interleaved = with(Shape::visible, |shape, head| head % shape.kv_heads);
    assert_differs("another grouping", &actual, &interleaved);
}

/// With rotary embedding: the same bits as the two kernels that it stands for put into the cache,
/// and the answer of a twin that sees them.
fn turned(gpu: &Gpu, precision: CachePrecision, rng: &mut Rng) {
    for (heads, first) in [([4, 2, 22], 17), ([8, 1, 256], 70), ([2, 2, 14], 0)] {
        let shape = shape(heads, [1, first, first, first + 3]);
        let data = Data::new(rng, &shape, 1.0);
        let table = gpu
            .rotary_table(1 + shape.capacity, shape.head_dim, THETA)
            .unwrap();
        let (layout, how) = hows(&shape);
        let layout = Heads {
            rotary: Some((&table, 1)),
            ..layout
        };
        let x = input(gpu, data.x.len(), &data.x);
        let span = upload::indices(gpu, &[first as u32, first as u32]);
        let cache = |precision| {
            let cache = gpu
                .kv_cache(shape.kv_heads, shape.capacity, shape.head_dim, precision)
                .unwrap();
            gpu.write_cache(&cache, [&data.k, &data.v]).unwrap();
            cache
        };
        // What is not rounded for the cache: the row's own key and value are seen as they are.
        let exact = cache(CachePrecision::F32);
        let (fused, apart) = (cache(precision), cache(precision));
        let [y, y_apart, y_exact] = [(); 3].map(|()| Target::poisoned(gpu, 1, heads[0] * heads[2]));
        let q = gpu.queries(heads[0], 1, heads[2]).unwrap();
        run(gpu, |r| {
            r.decode_attention(&x, layout, &fused, &span, how, &y.view);
            r.split_heads(&x, 0, layout, &span, &q, &apart);
            r.attention(&q, &apart, &span, how, &y_apart.view);
            r.split_heads(&x, 0, layout, &span, &q, &exact);
            r.attention(&q, &exact, &span, how, &y_exact.view);
        });
        let rows = |cache: &KvCache| block_on(gpu.read_cache(cache, shape.capacity)).unwrap();
        let ([keys, values], [keys_apart, values_apart]) = (rows(&fused), rows(&apart));
        assert_same_bits("keys", &keys, &keys_apart);
        assert_same_bits("values", &values, &values_apart);
        let queries = block_on(gpu.read_tensor(&q)).unwrap();
        let twin = |[k, v]: &[Vec<f32>; 2]| {
            let out = twin::attention(&shape, &queries, k, v);
            bounds::attention(&out, shape.head_dim, shape.cap)
        };
        let [expected, rounded] = [&exact, &apart].map(|cache| twin(&rows(cache)));
        assert_agrees("fused", &y.read(gpu), &expected);
        assert_agrees("exact", &y_exact.read(gpu), &expected);
        assert_agrees("apart", &y_apart.read(gpu), &rounded);
    }
}
