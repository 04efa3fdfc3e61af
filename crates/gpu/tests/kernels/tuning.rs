//! Kernels are chosen among those that compute the same, and what was chosen is used. Nothing is
//! said about which of them is fast.

use paligemma_gpu::{
    Candidate, ChosenBy, Gpu, GpuOptions, MatmulVariant, Tune, Tuned, Tuning, TuningOptions,
    Variants,
};
use pollster::block_on;

use super::device::{open, open_by_subgroups};

fn open_tuned(tune: Tune, known: &[Tuned]) -> Gpu {
    let options = GpuOptions {
        baseline_limits: true,
        tuning: TuningOptions {
            known: known.to_vec(),
            tune,
        },
        ..GpuOptions::default()
    };
    block_on(Gpu::open_tuned(&options)).expect("these tests need a GPU adapter")
}

/// Kernels for a single row that are tried on an adapter without subgroups: on one that computes on the CPU
/// five numbers of lanes, on a GPU two, and four in fours, which may read bytes, and two of which may have norms.
fn tried(gpu: &Gpu) -> usize {
    if gpu.info().is_software { 5 } else { 12 }
}

fn assert_is_a_choice(gpu: &Gpu, tuning: &Tuning) {
    let (chosen, ms) = (tuning.variants, tuning.ms);
    assert_eq!(tuning.matmul.len(), 3);
    assert_eq!(tuning.matvec.len(), tried(gpu));
    // Every kernel here has a twin that it agrees with, so they agree with each other.
    for candidate in tuning.matmul.iter().chain(&tuning.matvec) {
        assert!(candidate.agrees, "{candidate:?}");
        assert!(candidate.ms.is_some_and(|ms| ms > 0.0), "{candidate:?}");
    }
    let mut matmul = tuning.matmul.iter().map(|it| it.variants.matmul);
    assert!(matmul.any(|it| it == chosen.matmul), "{tuning:?}");
    let mut lanes = tuning.matvec.iter().map(|it| it.variants.matvec_lanes);
    assert!(lanes.any(|it| it == chosen.matvec_lanes), "{tuning:?}");
    assert!(ms > 0.0);
}

#[test]
fn a_run_sets_one_of_its_candidates() {
    let gpu = open();
    let tuning = block_on(gpu.tune()).unwrap();
    assert_is_a_choice(&gpu, &tuning);
    assert_eq!(gpu.variants(), tuning.variants);
}

#[test]
fn what_needs_a_feature_is_tried_where_there_is_one() {
    let (gpu, fitting) = open_by_subgroups();
    let tuning = block_on(gpu.tune()).unwrap();
    let (by_subgroups, others): (Vec<_>, Vec<_>) =
        tuning.matvec.iter().partition(|it| it.variants.subgroups);
    assert_eq!(others.len(), tried(&gpu));
    let half = |it: &&Candidate| it.variants.matmul == MatmulVariant::Half;
    let half: Vec<_> = tuning.matmul.iter().filter(half).collect();
    assert_eq!(half.len(), usize::from(gpu.has_f16()));
    assert!(half.iter().all(|it| it.agrees), "{half:?}");
    assert!(!by_subgroups.is_empty());
    for candidate in by_subgroups {
        assert!(fitting.contains(&candidate.variants.matvec_lanes));
        assert!(candidate.agrees, "{candidate:?}");
    }
    assert_eq!(gpu.variants(), tuning.variants);
    // Where there are none, what was kept of an adapter with some is read all the same.
    let baseline = open();
    baseline.set_variants("half lanes=4 subgroups".parse().unwrap());
    assert_eq!(baseline.variants().to_string(), "tiled lanes=4");
    // Bytes need no feature.
    baseline.set_variants("half fours=4096 bytes".parse().unwrap());
    assert_eq!(baseline.variants().to_string(), "tiled fours=4096 bytes");
    baseline.set_variants("half fours=4096 norms".parse().unwrap());
    assert_eq!(baseline.variants().to_string(), "tiled fours=4096 norms");
}

/// What a GPU tries agrees as well: fours by themselves, with norms inside and of bytes.
#[test]
fn what_gpus_try_agrees() {
    let options = GpuOptions {
        gpu_kernels: true,
        ..GpuOptions::default()
    };
    let gpu = block_on(Gpu::open(&options)).unwrap();
    let tuning = block_on(gpu.tune()).unwrap();
    let of = |is: fn(&Variants) -> bool| {
        let candidates = tuning.matvec.iter().filter(|it| is(&it.variants));
        let agreeing = candidates.clone().filter(|it| it.agrees && it.ms.is_some());
        assert_eq!(candidates.count(), agreeing.clone().count(), "{tuning:?}");
        agreeing.count()
    };
    let counts = [
        of(|it| it.fours > 0 && !it.norms && !it.bytes),
        of(|it| it.norms),
        of(|it| it.bytes),
    ];
    let fours = counts[0];
    assert!(fours > 0);
    assert_eq!(counts, [fours, fours.min(2), fours]);
}

#[test]
fn what_is_known_is_used_without_a_run() {
    let key = open().adapter_key();
    assert!(key.contains(&open().info().name), "{key}");
    // Nobody's usual choice.
    let variants = Variants {
        matmul: MatmulVariant::Tiled,
        matvec_lanes: 2,
        subgroups: false,
        fours: 0,
        bytes: false,
        norms: false,
    };
    let other = Tuned {
        adapter: "another adapter".to_owned(),
        variants: "registers lanes=64".parse().unwrap(),
    };
    let this = Tuned {
        adapter: key,
        variants,
    };
    for tune in [Tune::Unknown, Tune::Never] {
        let gpu = open_tuned(tune, &[other.clone(), this.clone()]);
        assert_eq!(gpu.variants(), variants);
        assert_eq!(gpu.choice().origin, ChosenBy::Known);
        assert_eq!(gpu.measured(), None);
        assert!(gpu.kernels().contains("tiled lanes=2"), "{}", gpu.kernels());
    }
    let gpu = open_tuned(Tune::Never, &[other]);
    assert_eq!(gpu.variants(), Variants::usual(gpu.is_serial()));
    assert_eq!(gpu.choice().origin, ChosenBy::Usual);
}

#[test]
fn an_unknown_adapter_is_measured_where_that_pays() {
    let gpu = open_tuned(Tune::Unknown, &[]);
    let is_measured = matches!(gpu.choice().origin, ChosenBy::Measured(_));
    assert_eq!(is_measured, !gpu.info().is_software);
}

#[test]
fn a_run_that_is_asked_for_is_to_be_kept() {
    let gpu = open_tuned(Tune::Always, &[]);
    let ChosenBy::Measured(tuning) = gpu.choice().origin else {
        panic!("{:?}", gpu.choice());
    };
    assert_is_a_choice(&gpu, &tuning);
    assert_eq!(gpu.variants(), tuning.variants);
    let kept = gpu.measured().unwrap();
    assert_eq!(kept.variants, tuning.variants);
    let again = open_tuned(Tune::Unknown, std::slice::from_ref(&kept));
    assert_eq!(again.choice().origin, ChosenBy::Known);
    assert_eq!(again.variants(), kept.variants);
}
