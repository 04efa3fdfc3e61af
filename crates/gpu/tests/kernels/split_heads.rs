use paligemma_gpu::{Attention, CachePrecision, Gpu, Heads};

use super::device::{input, open, read_padded, run};
use crate::support::compare::{Bounded, assert_agrees, assert_differs, assert_same_bits};
use crate::support::random::Rng;
use crate::support::{bounds, upload};
use crate::twins::split_heads::{Rotated, by_head, rotate, rotate_pairs};

const THETA: f64 = 10_000.0;

struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rows: usize,
    /// Sequence index of the first row.
    first: usize,
    capacity: usize,
    /// Rotary position of sequence index 0.
    rotary: Option<usize>,
}

impl Case {
    const fn new(heads: [usize; 3], rows: [usize; 3], rotary: Option<usize>) -> Self {
        Self {
            heads: heads[0],
            kv_heads: heads[1],
            head_dim: heads[2],
            rows: rows[0],
            first: rows[1],
            capacity: rows[2],
            rotary,
        }
    }
}

const CASES: [Case; 9] = [
    Case::new([1, 1, 1], [1, 0, 1], None),
    Case::new([2, 2, 14], [9, 0, 9], None),
    Case::new([16, 16, 72], [3, 0, 5], None),
    Case::new([3, 1, 5], [2, 1, 7], None),
    Case::new([4, 2, 20], [33, 0, 40], Some(1)),
    Case::new([4, 2, 22], [5, 2, 7], Some(0)),
    Case::new([8, 1, 256], [1, 300, 301], Some(1)),
    Case::new([2, 2, 14], [1, 17, 40], Some(1)),
    Case::new([6, 3, 2], [31, 3, 65], Some(5)),
];

/// Query, key and value `[rows, heads, head_dim]`.
struct Projections {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

/// Queries and caches, padded rows and all.
struct Laid {
    q: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

pub(crate) fn split_heads(precision: CachePrecision) {
    let gpu = open();
    let mut rng = Rng::new(90);
    for case in CASES {
        let width = case.rows * case.head_dim;
        let given = Projections {
            query: rng.numbers(width * case.heads, 1.0),
            key: rng.numbers(width * case.kv_heads, 1.0),
            value: rng.numbers(width * case.kv_heads, 1.0),
        };
        let laid = run_case(&gpu, precision, &case, &given);
        let wide = case.head_dim.next_multiple_of(4);

        let query = |rotation| expected(&case, &given.query, case.heads, rotation);
        let key = |rotation| {
            let exact = expected(&case, &given.key, case.kv_heads, rotation);
            rounded(precision, exact, case.head_dim)
        };
        let right = case.rotary.map(|first| first + case.first);
        let rows = q_rows(&case);
        assert_heads(
            "q",
            &laid.q,
            &rows,
            wide,
            &query(Rotation::half_split(right)),
        );
        let rows = cache_rows(&case);
        assert_heads(
            "keys",
            &laid.keys,
            &rows,
            wide,
            &key(Rotation::half_split(right)),
        );
        let value = expected(
            &case,
            &given.value,
            case.kv_heads,
            Rotation::half_split(None),
        );
        let value = rounded(precision, value, case.head_dim);
        assert_heads("values", &laid.values, &rows, wide, &value);

        let Some(right) = right else { continue };
        let actual = pick(&laid.q, &q_rows(&case), wide, case.head_dim);
        assert_differs("no rotation", &actual, &query(Rotation::half_split(None)));
        let late = Rotation::half_split(Some(right + 1));
        assert_differs("a position too far", &actual, &query(late));
        if case.head_dim > 2 {
            let interleaved = Rotation {
                interleaved: true,
                ..Rotation::half_split(Some(right))
            };
            assert_differs("interleaved pairs", &actual, &query(interleaved));
            let other_theta = Rotation {
                theta: 9_000.0,
                ..Rotation::half_split(Some(right))
            };
            assert_differs("another theta", &actual, &query(other_theta));
        }
    }
}

/// Rows of zeros, of next to nothing, with something infinite or without a number: bytes are what the
/// CPU makes of them, whether they come of many rows or of one.
#[test]
fn rows_without_a_usual_size_become_bytes() {
    let gpu = open();
    let (tiny, infinite) = (1e-30, f32::INFINITY);
    let rows: [[f32; 6]; 6] = [
        [0.0; 6],
        [0.0, -0.0, 0.0, 0.0, 0.0, 1.0],
        [tiny, -tiny, 0.0, 0.3 * tiny, 0.25 * tiny, tiny],
        [infinite, 1.0, -infinite, 0.0, 3.0, f32::MAX],
        [1.0, 2.0, f32::NAN, 0.0, infinite, 3.0],
        [1.0, 2.0, 3.1, -4.0, 5.0, -6.0],
    ];
    let reversed = rows.map(|row| {
        let mut row = row;
        row.reverse();
        row
    });
    let (keys, values) = (rows.concat(), reversed.concat());
    let cache = || gpu.kv_cache(1, 6, 6, CachePrecision::Int8).unwrap();
    let [by_cpu, together, one_by_one] = [cache(), cache(), cache()];
    gpu.write_cache(&by_cpu, [&keys, &values]).unwrap();

    let query = [1.0f32; 6];
    let x: Vec<f32> = rows
        .iter()
        .zip(&reversed)
        .flat_map(|(key, value)| [&query[..], key, value].concat())
        .collect();
    let x_gpu = input(&gpu, 18, &x);
    let q = gpu.queries(1, 6, 6).unwrap();
    let how = Heads {
        heads: 1,
        kv_heads: 1,
        head_dim: 6,
        rotary: None,
    };
    let attention = Attention {
        heads: 1,
        scale: 1.0,
        soft_cap: None,
        window: None,
    };
    let span = upload::indices(&gpu, &[0, 0]);
    run(&gpu, |r| {
        r.split_heads(&x_gpu, 0, how, &span, &q, &together)
    });
    for (i, row) in x.chunks(18).enumerate() {
        let (row, y) = (input(&gpu, 18, row), gpu.tensor("y", 1, 6).unwrap());
        let span = upload::indices(&gpu, &[i as u32, 0]);
        run(&gpu, |r| {
            r.decode_attention(&row, how, &one_by_one, &span, attention, &y);
        });
    }
    let read = |cache| pollster::block_on(gpu.read_cache(cache, 6)).unwrap();
    let wanted = read(&by_cpu);
    // The tests above would not see it if the CPU were wrong.
    assert_eq!(wanted[0][..6], [0.0; 6]);
    assert!((wanted[0][11] - 1.0).abs() < 1e-6 && wanted[0][6..11] == [0.0; 5]);
    assert!(wanted[0][18] > 3e38 && wanted[0][19] == 0.0 && wanted[0][20] < -3e38);
    assert!(wanted[0][24..30].iter().all(|x| x.is_nan()));
    for (what, cache) in [("together", &together), ("one by one", &one_by_one)] {
        for (found, wanted) in read(cache).iter().zip(&wanted) {
            for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                let same = match wanted.is_nan() {
                    true => found.is_nan(),
                    // No quotient here is half-way between two codes.
                    false => (found - wanted).abs() <= 1e-6 * wanted.abs(),
                };
                assert!(same, "{what}: number {i} is {found}, not {wanted}");
            }
        }
    }
}

fn run_case(gpu: &Gpu, precision: CachePrecision, case: &Case, given: &Projections) -> Laid {
    let width = case.heads * case.head_dim;
    let kv_width = case.kv_heads * case.head_dim;
    let x: Vec<f32> = (0..case.rows)
        .flat_map(|row| {
            let of = |numbers: &[f32], width: usize| numbers[row * width..][..width].to_vec();
            let [key, value] = [&given.key, &given.value].map(|numbers| of(numbers, kv_width));
            [of(&given.query, width), key, value].concat()
        })
        .collect();
    let whole = width + 2 * kv_width;
    // In two goes where there are rows enough, as long prompts are laid out.
    let first = if case.rows > 8 { 8 } else { 0 };
    let [x, rest] = [&x[..first * whole], &x[first * whole..]].map(|x| input(gpu, whole, x));
    let span = upload::indices(gpu, &[case.first as u32, 0]);
    let cache = gpu
        .kv_cache(case.kv_heads, case.capacity, case.head_dim, precision)
        .unwrap();
    let q = gpu.queries(case.heads, case.rows, case.head_dim).unwrap();
    let table = case.rotary.map(|first| {
        let positions = first + case.capacity;
        let table = gpu.rotary_table(positions, case.head_dim, THETA).unwrap();
        (table, first)
    });
    // The padding of queries and caches is poisoned too: attention reads it, so it must be zeroed
    // where a head is written.
    let poison = [&q, &cache.keys, &cache.values].map(|target| {
        let wide = gpu
            .tensor_with_stride("poison", target.rows(), target.stride(), target.stride())
            .unwrap();
        gpu.write(&wide, 0, &vec![f32::NAN; target.rows() * target.stride()])
            .unwrap();
        (wide, target)
    });
    run(gpu, |r| {
        for (wide, target) in &poison {
            r.copy(wide, target);
        }
        let how = Heads {
            heads: case.heads,
            kv_heads: case.kv_heads,
            head_dim: case.head_dim,
            rotary: table.as_ref().map(|(table, first)| (table, *first)),
        };
        if first > 0 {
            r.split_heads(&x, 0, how, &span, &q, &cache);
        }
        r.split_heads(&rest, first, how, &span, &q, &cache);
    });
    Laid {
        q: read_padded(gpu, &q),
        keys: numbers(
            precision,
            read_padded(gpu, &cache.keys),
            cache.keys.stride(),
        ),
        values: numbers(
            precision,
            read_padded(gpu, &cache.values),
            cache.keys.stride(),
        ),
    }
}

/// The numbers in a cache's rows of so many words; a row of poison is poison.
fn numbers(precision: CachePrecision, words: Vec<f32>, row: usize) -> Vec<f32> {
    let halves = |word: f32| match word.is_nan() {
        true => [f32::NAN; 2],
        false => {
            let bits = word.to_bits();
            [bits as u16, (bits >> 16) as u16].map(|half| half::f16::from_bits(half).to_f32())
        }
    };
    match precision {
        CachePrecision::F32 => words,
        CachePrecision::F16 => words.into_iter().flat_map(halves).collect(),
        CachePrecision::Int8 => words
            .chunks(row)
            .flat_map(|words| {
                let (step, codes) = words.split_last().unwrap();
                let codes = codes.iter().flat_map(|word| word.to_bits().to_le_bytes());
                codes.map(move |code| match step.is_nan() {
                    true => f32::NAN,
                    false => step * f32::from(code as i8),
                })
            })
            .collect(),
    }
}

/// What a cache makes of rows of `head_dim` numbers. 16 bits: off by half a unit in the eleventh
/// place. Bytes: by half a step, which is the largest of a row over 127, and by what rounding the
/// step and the quotient adds to 127 of them, a few times 2^-24.
fn rounded(precision: CachePrecision, exact: Vec<Bounded>, head_dim: usize) -> Vec<Bounded> {
    let round = |of: Bounded| Bounded {
        value: of.value,
        bound: of.bound + (of.value.abs() + of.bound) * 2f64.powi(-11) + 2f64.powi(-25),
    };
    match precision {
        CachePrecision::F32 => exact,
        CachePrecision::F16 => exact.into_iter().map(round).collect(),
        CachePrecision::Int8 => exact
            .chunks(head_dim)
            .flat_map(|row| {
                let largest = |of: &Bounded| of.value.abs() + of.bound;
                let step = row.iter().map(largest).fold(0.0, f64::max) / 127.0;
                row.iter().map(move |of| Bounded {
                    value: of.value,
                    bound: of.bound + step * (0.5 + 127.0 * 2f64.powi(-21)),
                })
            })
            .collect(),
    }
}

#[derive(Clone, Copy)]
struct Rotation {
    /// Rotary position of the first row.
    first: Option<usize>,
    interleaved: bool,
    theta: f64,
}

impl Rotation {
    fn half_split(first: Option<usize>) -> Self {
        Self {
            first,
            interleaved: false,
            theta: THETA,
        }
    }
}

/// `[heads, rows, head_dim]` of numbers `[rows, heads, head_dim]`.
fn expected(case: &Case, numbers: &[f32], heads: usize, how: Rotation) -> Vec<Bounded> {
    let rotated: Vec<Rotated> = numbers
        .chunks(case.head_dim)
        .enumerate()
        .flat_map(|(i, head)| match how.first {
            Some(first) if how.interleaved => {
                rotate_pairs(head, first + i / heads, how.theta, |i| (2 * i, 2 * i + 1))
            }
            Some(first) => rotate(head, first + i / heads, how.theta),
            // Moved as it is, bit for bit.
            None => head
                .iter()
                .map(|x| Rotated {
                    value: f64::from(*x),
                    magnitude: 0.0,
                    angle: 0.0,
                })
                .collect(),
        })
        .collect();
    let bounded = bounds::rotary(&rotated, how.theta);
    let lay = |of: fn(&Bounded) -> f64| {
        let numbers: Vec<f64> = bounded.iter().map(of).collect();
        by_head(&numbers, heads, case.head_dim)
    };
    lay(|of| of.value)
        .into_iter()
        .zip(lay(|of| of.bound))
        .map(|(value, bound)| Bounded { value, bound })
        .collect()
}

fn q_rows(case: &Case) -> Vec<usize> {
    (0..case.heads * case.rows).collect()
}

/// Rows of the cache that are written: the sequence indices from `first` on, of each head.
fn cache_rows(case: &Case) -> Vec<usize> {
    (0..case.kv_heads)
        .flat_map(|head| {
            let start = head * case.capacity + case.first;
            start..start + case.rows
        })
        .collect()
}

/// The unpadded numbers of some rows.
fn pick(all: &[f32], rows: &[usize], wide: usize, head_dim: usize) -> Vec<f32> {
    rows.iter()
        .flat_map(|row| &all[row * wide..][..head_dim])
        .copied()
        .collect()
}

/// The rows hold what is expected, their padding is zero, and the others are poison still.
fn assert_heads(what: &str, all: &[f32], rows: &[usize], wide: usize, expected: &[Bounded]) {
    let head_dim = expected.len() / rows.len();
    assert_agrees(what, &pick(all, rows, wide, head_dim), expected);
    for (i, row) in all.chunks(wide).enumerate() {
        if rows.contains(&i) {
            let zeros = vec![0.0; wide - head_dim];
            assert_same_bits(what, &row[head_dim..], &zeros);
        } else {
            assert_same_bits(what, row, &vec![f32::NAN; wide]);
        }
    }
}
