//! Products of a single row whose inputs are read as bytes, and who packs those.

use paligemma_checkpoint::Precision;
use paligemma_gpu::{Gpu, Indices, Linear, Matrix, Recorder, Tensor, Variants};

use super::device::{Target, input, open, open_with, read, read_indices, run};
use super::linear::{Case, ENOUGH, check_of, rounds_to};
use super::misfits::refused;
use super::{WIDE_Q4, geglu};
use crate::support::bounds::U;
use crate::support::compare::assert_same_bits;
use crate::support::random::{Rng, for_every_cache};
use crate::support::upload;

/// One group of 32, padded or not, several, and more than a team reads at a time.
const COLUMNS: [usize; 9] = [25, 32, 60, 64, 96, 160, 512, 1152, 4608];

fn in_bytes(gpu: &Gpu, fours: u32) {
    gpu.set_variants(Variants {
        fours,
        bytes: true,
        ..gpu.variants()
    });
    assert!(gpu.variants().bytes && gpu.variants().fours == fours);
}

/// Where 32 inputs are whole multiples of a 127th of the largest, products are as good as any: sums of
/// bytes are whole numbers, and exact. A step is that 127th twice rounded, which the bound of as many
/// products as there are inputs has room for. Other inputs are rounded to such multiples first.
pub(crate) fn matvec(precisions: [Precision; 3]) {
    let gpu = open();
    let mut rng = Rng::new(60);
    for (i, columns) in COLUMNS.into_iter().enumerate() {
        for (j, (outputs, fours)) in [
            (1, 1 << 10),
            (7, 1 << 12),
            (9, 1 << 10),
            (ENOUGH, 1 << 10 << i),
        ]
        .into_iter()
        .enumerate()
        {
            in_bytes(&gpu, fours);
            let precision = precisions[(i + j) % precisions.len()];
            let recorded = kernels(&gpu, precision, columns, Linear::default());
            let [packs, reads] = &recorded[..] else {
                panic!("{recorded:?}");
            };
            assert_eq!(*packs, "pack_row");
            assert!(reads.starts_with("matvec_fours_") && reads.ends_with("_wide_bytes"));
            let case = case(columns, outputs, i);
            // Of several sizes, from 32 inputs to the next, and from one time to the next.
            let mut x = rng.numbers(columns, 2.0);
            for_every_cache(&mut x, 32, i);
            let size = 2f32.powi([0, -30, 60][j % 3]);
            x.iter_mut().for_each(|x| *x *= size);
            check_of(&gpu, &mut rng, precision, &case, &x, 0.0);
        }
    }
    let split = open_with(Some(16_384));
    in_bytes(&split, 1 << 10);
    let mut x = rng.numbers(256, 2.0);
    for_every_cache(&mut x, 32, 0);
    check_of(&split, &mut rng, precisions[0], &case(256, 150, 2), &x, 0.0);
    for precision in precisions {
        rounded(&gpu, precision);
    }
    not_everywhere(&gpu, precisions[0]);
}

fn case(columns: usize, outputs: usize, turn: usize) -> Case {
    Case {
        rows: 1,
        columns,
        outputs,
        bias: outputs > 2,
        gelu: turn.is_multiple_of(2),
        accumulate: outputs == 9,
    }
}

/// Inputs between multiples go to the nearer one; zeros stay zeros.
fn rounded(gpu: &Gpu, precision: Precision) {
    let columns = 192;
    let mut whole = vec![0.0; columns];
    let mut x = whole.clone();
    // The last groups are zeros.
    for i in 0..128 {
        let step = 2f32.powi(i as i32 / 32 * 9 - 20);
        // Whole multiples up to 127, and up to 0.4 of one beside.
        let (steps, aside) = match i % 32 {
            0 => (127.0, 0.0),
            other => (
                ((other * 37) % 253) as f32 - 126.0,
                [0.0, 0.4, -0.4, 0.25][other % 4],
            ),
        };
        whole[i] = steps * step;
        x[i] = (steps + aside) * step;
    }
    rounds_to(gpu, precision, columns, &x, &whole);
}

/// What is not rounded: numbers that are none, matrices of other groups, what has to be exact.
fn not_everywhere(gpu: &Gpu, precision: Precision) {
    let (columns, outputs) = (96, 5);
    let ones = vec![1.0; outputs * columns];
    let (w, _) = upload::matrix(gpu, outputs, columns, precision, &ones);
    let product = |numbers: &[f32]| {
        let x = input(gpu, columns, numbers);
        let y = gpu.tensor("y", 1, outputs).unwrap();
        run(gpu, |r| r.linear(&x, &w, Linear::default(), &y));
        read(gpu, &y)
    };
    for broken in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
        let mut numbers = vec![1.0; columns];
        numbers[39] = broken;
        assert!(product(&numbers).iter().all(|y| !y.is_finite()), "{broken}");
    }
    assert_eq!(product(&vec![0.0; columns]), [0.0; 5]);
    let narrow = Precision::Q8 { group: 16 };
    let exact = Linear {
        exact: true,
        ..Linear::default()
    };
    for recorded in [
        kernels(gpu, narrow, 64, Linear::default()),
        kernels(gpu, precision, 40, Linear::default()),
        kernels(gpu, precision, 64, exact),
        kernels(gpu, Precision::BF16, 64, Linear::default()),
        kernels(gpu, Precision::Int4 { group: 64 }, 64, Linear::default()),
    ] {
        let [only] = &recorded[..] else {
            panic!("{recorded:?}");
        };
        assert!(!only.ends_with("_bytes"), "{only}");
    }
    gpu.set_variants(Variants {
        fours: 0,
        ..gpu.variants()
    });
    assert!(!gpu.variants().bytes);
}

/// What is recorded for a product.
fn kernels(gpu: &Gpu, precision: Precision, columns: usize, then: Linear<'_>) -> Vec<&'static str> {
    let w = gpu.matrix("w", 3, columns, precision).unwrap();
    let x = gpu.tensor("x", 1, columns).unwrap();
    let y = gpu.tensor("y", 1, 3).unwrap();
    names(gpu, |r| r.linear(&x, &w, then, &y))
}

fn names(gpu: &Gpu, record: impl FnOnce(&mut Recorder)) -> Vec<&'static str> {
    let mut recorder = gpu.recorder();
    record(&mut recorder);
    recorder.finish().unwrap().kernels().collect()
}

/// As it is written for floats, of numbers that bytes hold.
pub(crate) fn geglu(precision: Precision) {
    let gpu = open();
    let mut rng = Rng::new(62);
    for (i, (outputs, columns)) in [1, 2, 5, 33, 101, ENOUGH]
        .into_iter()
        .zip([64, 25, 160, 1152, 96, 512])
        .enumerate()
    {
        in_bytes(&gpu, 1 << 10 << i);
        let mut x = rng.numbers(columns, 2.0);
        for_every_cache(&mut x, 32, i);
        let last = |r: &mut Recorder, _: &Tensor| r.step_count();
        let (_, steps) = geglu::check_of(&gpu, &mut rng, precision, outputs, &x, last);
        assert_eq!(steps, 2);
    }
}

/// The same, packed while it is written.
pub(crate) fn geglu_packs(precisions: [Precision; 2]) {
    let gpu = open();
    let mut rng = Rng::new(63);
    for (i, (outputs, columns)) in [25, 32, 60, 64, 96, 1152]
        .into_iter()
        .zip([32, 64, 1152, 96, 25, 512])
        .enumerate()
    {
        // From eight invocations a team to more than pack.
        for fours in [1 << 10, 1 << 13, 1 << 18] {
            in_bytes(&gpu, fours);
            let mut x = rng.numbers(columns, 2.0);
            for_every_cache(&mut x, 32, i);
            let pack = |r: &mut Recorder, y: &Tensor| {
                let packed = r.packed_form(y).unwrap();
                assert_eq!(r.step_count(), 2);
                packed
            };
            let precision = precisions[i % 2];
            let (y, packed) = geglu::check_of(&gpu, &mut rng, precision, outputs, &x, pack);
            assert_is_packed(&gpu, &packed, &y);
        }
    }
    let y = gpu.tensor("y", 1, 33).unwrap();
    run(&gpu, |r| assert!(r.packed_form(&y).is_none()));
}

/// The bytes are the numbers', to the nearest multiple of a 127th of the largest of 32, as it is
/// computed: 127 / largest is off by 2.5 u, each of 127 products by one more.
pub(crate) fn assert_is_packed(gpu: &Gpu, packed: &(Indices, Tensor), numbers: &[f32]) {
    let words = read_indices(gpu, &packed.0);
    let steps = read(gpu, &packed.1);
    assert_eq!(words.len(), 8 * steps.len());
    assert_eq!(steps.len(), numbers.len().div_ceil(32));
    let mut codes = words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .map(|byte| f64::from(byte as i8));
    for (group, step) in numbers.chunks(32).zip(steps) {
        let codes: Vec<f64> = codes.by_ref().take(32).collect();
        if group.iter().any(|x| !x.is_finite()) {
            assert!(step.is_nan(), "{step} of {group:?}");
            continue;
        }
        let largest = group.iter().fold(1e-30, |most: f32, x| most.max(x.abs()));
        let exact = f64::from(largest) / 127.0;
        assert!((f64::from(step) - exact).abs() <= 2.0 * U * exact, "{step}");
        for (x, code) in group.iter().zip(&codes) {
            let distance = (f64::from(*x) / exact - code).abs();
            assert!(distance <= 0.5 + 3.5 * U * 127.0, "{code} for {x}");
        }
        assert!(codes[group.len()..].iter().all(|code| *code == 0.0));
    }
}

pub(crate) fn pack_row() {
    let gpu = open();
    let mut rng = Rng::new(64);
    for columns in [25, 32, 60, 64, 96, 1152, 4096, 4128, 9216] {
        for strange in [None, Some(f32::NAN), Some(f32::NEG_INFINITY)] {
            let mut x = rng.numbers(columns, 1.0);
            for (i, group) in x.chunks_mut(32).enumerate() {
                // Of every size up to the largest, next to nothing, and nothing.
                let size = [1.0, 8e37, 0.0, 1e-3, 1e-20, 1e-33, 70_000.0][(i + columns) % 7];
                group.iter_mut().for_each(|x| *x *= size);
            }
            if let Some(strange) = strange {
                x[columns / 2] = strange;
            }
            let stride = columns.next_multiple_of(32);
            let x_gpu = input(&gpu, columns, &x);
            let bytes = upload::indices(&gpu, &vec![0xabab_abab; stride / 4 + 3]);
            let steps = upload::tensor(&gpu, stride / 32 + 2, &vec![7.0; stride / 32 + 2]);
            run(&gpu, |r| r.pack_row(&x_gpu, &bytes, &steps));
            let (words, all_steps) = (read_indices(&gpu, &bytes), read(&gpu, &steps));
            assert_eq!(words[stride / 4..], [0xabab_abab; 3]);
            assert_eq!(all_steps[stride / 32..], [7.0; 2]);
            let bytes = upload::indices(&gpu, &words[..stride / 4]);
            let steps = upload::tensor(&gpu, stride / 32, &all_steps[..stride / 32]);
            assert_is_packed(&gpu, &(bytes, steps), &x);
        }
    }
}

#[test]
fn what_no_row_packs_into_is_refused() {
    let gpu = open();
    let t = |rows, columns| gpu.tensor("t", rows, columns).unwrap();
    // Two rows, one that is not of whole groups of 32, too few bytes, too few steps.
    for (x, words, steps) in [
        (t(2, 64), 16, 2),
        (t(1, 40), 16, 2),
        (t(1, 64), 15, 2),
        (t(1, 64), 16, 1),
    ] {
        let bytes = gpu.indices("bytes", words).unwrap();
        refused(&gpu, "pack_row", |r| r.pack_row(&x, &bytes, &t(1, steps)));
    }
}

/// Tensors of a step: a row, a matrix for it, and where products go.
struct Step {
    gpu: Gpu,
    w: Matrix,
    scale: Tensor,
    rows: [Tensor; 3],
}

const WIDTH: usize = 64;

impl Step {
    fn new() -> Self {
        let gpu = open();
        gpu.set_serial(false);
        in_bytes(&gpu, 1 << 10);
        let mut rng = Rng::new(65);
        let numbers = rng.numbers(WIDTH * WIDTH, 1.0);
        let (w, _) = upload::matrix(&gpu, WIDTH, WIDTH, WIDE_Q4, &numbers);
        let rows = [(); 3].map(|()| upload::tensor(&gpu, WIDTH, &rng.numbers(WIDTH, 1.0)));
        let scale = upload::tensor(&gpu, WIDTH, &rng.numbers(WIDTH, 1.0));
        Self {
            gpu,
            w,
            scale,
            rows,
        }
    }

    fn product(&self, r: &mut Recorder, x: &Tensor, y: &Tensor) {
        r.linear(x, &self.w, Linear::default(), y);
    }

    /// What comes of a row that holds these numbers, in a program of its own.
    fn of(&self, numbers: &[f32]) -> Vec<f32> {
        let x = upload::tensor(&self.gpu, WIDTH, numbers);
        let y = self.gpu.tensor("y", 1, WIDTH).unwrap();
        run(&self.gpu, |r| self.product(r, &x, &y));
        read(&self.gpu, &y)
    }
}

#[test]
fn a_row_is_packed_by_whoever_wrote_it_and_once() {
    let step = Step::new();
    let [x, y, other] = &step.rows;
    let recorded = names(&step.gpu, |r| {
        r.rms_norm(x, &step.scale, 1e-6, false, y);
        step.product(r, y, other);
        step.product(r, y, other);
        step.product(r, x, other);
        step.product(r, y, x);
        step.product(r, other, y);
        r.rms_norm(x, &step.scale, 1e-6, false, y);
        r.add(x, y);
    });
    let product = "matvec_fours_q4_wide_bytes";
    let expected = [
        "rms_norm_packs",
        product,
        product,
        "pack_row",
        product,
        product,
        "pack_row",
        product,
        // Nobody asks for its bytes.
        "rms_norm",
        "add",
    ];
    assert_eq!(recorded, expected);
    // Nor of floats.
    step.gpu.set_variants(Variants {
        bytes: false,
        ..step.gpu.variants()
    });
    let recorded = names(&step.gpu, |r| {
        r.rms_norm(x, &step.scale, 1e-6, false, y);
        step.product(r, y, other);
    });
    assert_eq!(recorded, ["rms_norm", "matvec_fours_q4_wide"]);
}

/// Whatever writes a row, its product is of what it holds then.
#[test]
fn stale_bytes_are_never_read() {
    let step = Step::new();
    let gpu = &step.gpu;
    gpu.set_serial(false);
    let mut rng = Rng::new(66);
    type Writes = fn(&Step, &mut Recorder, &Tensor, &Tensor);
    let writers: [(&str, Writes); 8] = [
        ("add", |_, r, from, to| r.add(from, to)),
        ("copy", |_, r, from, to| r.copy(from, to)),
        ("copy_row", |_, r, from, to| r.copy_row(from, 0, to)),
        ("gather_rows", |_, r, from, to| {
            r.gather_rows(from, &[0], to);
        }),
        ("soft_cap", |_, r, _, to| r.soft_cap(to, 0.5)),
        ("linear", |step, r, from, to| step.product(r, from, to)),
        ("layer_norm", |step, r, from, to| {
            r.layer_norm(from, &step.scale, &step.scale, 1e-6, to);
        }),
        ("some columns", |_, r, from, to| {
            // A view of the same memory, of another size.
            let from = from.slice_columns(8..24).unwrap();
            r.copy(&from, &to.slice_columns(0..16).unwrap());
        }),
    ];
    for (name, write) in writers {
        // The row of a taller tensor, so that it is known by its place and not by its buffer.
        let target = Target::holding(gpu, WIDTH, &rng.numbers(WIDTH, 1.0));
        let x = &target.view;
        let from = upload::tensor(gpu, WIDTH, &rng.numbers(WIDTH, 1.0));
        let [first, second] = [(); 2].map(|()| gpu.tensor("y", 1, WIDTH).unwrap());
        let before = read(gpu, x);
        let mut recorder = gpu.recorder();
        step.product(&mut recorder, x, &first);
        write(&step, &mut recorder, &from, x);
        step.product(&mut recorder, x, &second);
        let program = recorder.finish().unwrap();
        gpu.submit(&program);
        assert_same_bits(name, &read(gpu, &first), &step.of(&before));
        let after = target.read(gpu);
        assert_ne!(before, after, "{name}");
        assert_same_bits(name, &read(gpu, &second), &step.of(&after));
        // Again, with what it holds now.
        let numbers = rng.numbers(WIDTH, 1.0);
        gpu.write(x, 0, &numbers).unwrap();
        gpu.submit(&program);
        assert_same_bits(name, &read(gpu, &first), &step.of(&numbers));
        assert_same_bits(name, &read(gpu, &second), &step.of(&target.read(gpu)));
    }
}

/// Bytes of several rows are there side by side, each time a row is packed the ones of then.
#[test]
fn rows_have_bytes_of_their_own() {
    let step = Step::new();
    let gpu = &step.gpu;
    let [a, b, _] = &step.rows;
    let [held_a, held_b] = [a, b].map(|x| read(gpu, x));
    let [y0, y1, y2, y3] = [(); 4].map(|()| gpu.tensor("y", 1, WIDTH).unwrap());
    run(gpu, |r| {
        step.product(r, a, &y0);
        step.product(r, b, &y1);
        step.product(r, a, &y2);
        r.copy(b, a);
        step.product(r, a, &y3);
    });
    assert_same_bits("a", &read(gpu, &y0), &step.of(&held_a));
    assert_same_bits("b", &read(gpu, &y1), &step.of(&held_b));
    assert_same_bits("a again", &read(gpu, &y2), &step.of(&held_a));
    assert_same_bits("b in a", &read(gpu, &y3), &step.of(&held_b));
}
