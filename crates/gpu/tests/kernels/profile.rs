//! Times of single kernels.

use paligemma_gpu::{Gpu, GpuError, GpuOptions, Linear, TimedBy};
use pollster::block_on;

use crate::Q8;
use crate::support::random::Rng;
use crate::support::upload;

fn open(timestamps: bool) -> Gpu {
    let options = GpuOptions {
        timestamps,
        ..GpuOptions::default()
    };
    block_on(Gpu::open(&options)).unwrap()
}

#[test]
fn every_dispatch_is_in_the_profile() {
    for timestamps in [true, false] {
        profile_of(&open(timestamps));
    }
}

fn profile_of(gpu: &Gpu) {
    let mut rng = Rng::new(5);
    let (matrix, _) = upload::matrix(gpu, 24, 64, Q8, &rng.numbers(24 * 64, 1.0));
    let x = upload::tensor(gpu, 64, &rng.numbers(64, 1.0));
    let many = upload::tensor(gpu, 64, &rng.numbers(5 * 64, 1.0));
    let y = gpu.tensor("y", 1, 24).unwrap();
    let ys = gpu.tensor("ys", 5, 24).unwrap();
    let mut r = gpu.recorder();
    for _ in 0..3 {
        r.linear(&x, &matrix, Linear::default(), &y);
    }
    r.linear(&many, &matrix, Linear::default(), &ys);
    r.copy(&y, &gpu.tensor("copy", 1, 24).unwrap());
    let program = r.finish().unwrap();

    gpu.submit(&program);
    let by = gpu.start_profile();
    assert_eq!(by == TimedBy::Timestamps, is_timed(gpu));
    // More than a set of queries holds.
    let times = 600;
    for _ in 0..times {
        gpu.submit(&program);
    }
    let profile = block_on(gpu.take_profile(&|| true)).unwrap();
    assert_eq!(
        profile.iter().map(|kernel| kernel.count).sum::<usize>(),
        4 * times
    );
    let vector: Vec<_> = profile.iter().filter(|k| k.count == 3 * times).collect();
    assert_eq!(vector.len(), 1);
    assert!(vector[0].name.ends_with("_q8"), "{}", vector[0].name);
    assert_eq!(vector[0].multiply_adds, Some(24 * 64));
    // Codes and scales, and at least input and output.
    let weights = 24 * (64 + 64 / 16 * 2);
    assert!(vector[0].bytes >= weights + (64 + 24) * 4);
    assert!(
        profile
            .iter()
            .all(|kernel| kernel.nanoseconds < 60_000_000_000)
    );
    // Some time went by, whatever the clock.
    assert!(profile.iter().any(|kernel| kernel.nanoseconds > 0));

    // It is over.
    gpu.submit(&program);
    assert!(block_on(gpu.take_profile(&|| true)).unwrap().is_empty());
    block_on(gpu.finish()).unwrap();
}

#[test]
fn timestamps_are_taken_only_where_they_were_asked_for() {
    let gpu = open(false);
    assert_eq!(gpu.start_profile(), TimedBy::Repeating);
    assert!(!is_timed(&gpu));
    // Nothing was submitted.
    assert!(block_on(gpu.take_profile(&|| true)).unwrap().is_empty());
    let (x, y) = (
        gpu.tensor("x", 1, 8).unwrap(),
        gpu.tensor("y", 1, 8).unwrap(),
    );
    let mut r = gpu.recorder();
    r.add(&x, &y);
    let program = r.finish().unwrap();
    // Nothing is noted any more, nobody waits, and somebody does.
    gpu.start_profile();
    gpu.drop_profile();
    gpu.submit(&program);
    assert!(block_on(gpu.take_profile(&|| true)).unwrap().is_empty());
    for go_on in [false, true] {
        gpu.start_profile();
        gpu.submit(&program);
        let times = block_on(gpu.take_profile(&|| go_on)).unwrap();
        assert_eq!(times.len(), usize::from(go_on));
    }
}

fn is_timed(gpu: &Gpu) -> bool {
    let features = &gpu.info().features;
    features.iter().any(|name| name == "timestamp-query")
}

#[test]
fn an_adapter_is_chosen_by_a_part_of_its_name() {
    let name = open(false).info().name.clone();
    let open = |part: &str| {
        let options = GpuOptions {
            adapter: Some(part.to_owned()),
            ..GpuOptions::default()
        };
        block_on(Gpu::open(&options))
    };
    let part = name.split_whitespace().next().unwrap().to_uppercase();
    assert!(
        open(&part)
            .unwrap()
            .info()
            .name
            .to_uppercase()
            .contains(&part)
    );
    let Err(error) = open("Voodoo 2") else {
        panic!("there is one");
    };
    assert!(matches!(error, GpuError::UnknownAdapter { .. }));
    let sentence = error.to_string();
    assert!(
        sentence.contains("Voodoo 2") && sentence.contains(&name),
        "{sentence}"
    );
}
